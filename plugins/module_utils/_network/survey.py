# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as they are: what is kept of them, what of that is not on the host, and who uses them. Nothing is changed."""

from __future__ import annotations

import typing as t

from .._base.errors import Conflict
from .._network_spec.parse import Request, check_name
from .._network_spec.plan import Plan
from . import firewall, in_use, observe
from .networks import Networks, Outcome, check_root, told_of


class Known(t.NamedTuple):
    """A network that is kept. ``outcome``: what its task would have to mend, and so no warnings. ``conflict``: why that could not
    be done, empty where it could. ``users``: who is in its namespace."""

    outcome: Outcome
    conflict: str = ""
    users: t.Sequence[in_use.User] = ()


class Survey(Networks):
    """The networks of one pair of directories."""

    def names(self) -> list[str]:
        """Of those that are kept, sorted."""
        return sorted(self._records.all())

    def describe(self, name: str) -> Known:
        """Changes nothing. Raises EngineError."""
        check_root()
        check_name(name)
        with told_of(name):
            records = self._records.all()
            former = self._records.former(records.pop(name, None))
            if not former or former[0].get("removing"):
                return Known(Outcome(Plan((), {}), None, {}))
            others, changed = self._there(records), self._records.changed()
            try:
                seen = observe.look(Request(name), former[0], changed.namespaces.get(name), self._state_dir)
                observe.refuse_strangers(former[0], seen)
            except Conflict as exc:
                return Known(Outcome(Plan((), {}), former[0], self._ends(former[0])), str(exc))
            compared = self._compare(former[0], former, others, seen, changed, firewall.digest(self._table))
            users = in_use.users(name, self._store) if seen.namespace else []
            return Known(self._outcome(compared, ()), users=users)
