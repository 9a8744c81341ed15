# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe networks: their records, their missing parts on the host, and their users. Change nothing."""

from __future__ import annotations

import typing as t

from .._base.errors import Conflict
from .._network_spec.differences import Observed, bridges_of
from .._network_spec.parse import Request, check_name
from .._network_spec.plan import Plan
from . import firewall, in_use, observe
from .networks import Networks, Outcome, check_root, kernel_errors


class Known(t.NamedTuple):
    """A recorded network. ``outcome``: what its task would change, without warnings. ``conflict``: why that would fail, or empty.
    ``users``: the processes in its namespace."""

    outcome: Outcome
    conflict: str = ""
    users: t.Sequence[in_use.User] = ()


class Survey(Networks):
    """The networks of one state directory and one run directory."""

    def names(self) -> list[str]:
        """Return the sorted names of recorded networks."""
        return sorted(self._records.all())

    def describe(self, name: str) -> Known:
        """Describe a network and change nothing. Raises LongshoreError."""
        check_root()
        check_name(name)
        with kernel_errors(name):
            histories, changed = self._records.all(), self._records.changed()
            former = histories.pop(name, ())
            if not former or former[0].removing:
                return Known(Outcome(Plan(), None, {}))
            others = self._there(histories, changed)
            # As for a removal: a foreign namespace is no error.
            seen = observe.look(
                Request(name, absent=True),
                former[0],
                changed.namespaces.get(name),
                self._state_dir,
                lambda: self._store,
            )
            users = self._users(name, seen)
            try:
                observe.refuse_bridges(former[0], bridges_of(former[:1]), seen)
                observe.refuse_foreign(name, seen, lambda: self._store)
                observe.refuse_strangers(former[0], seen)
            except Conflict as exc:
                return Known(Outcome(Plan(), former[0], self._ends(former[0])), str(exc), users)
            compared = self._compare(former[0], former, others, seen, changed, firewall.digest(self._table))
            return Known(self._outcome(compared, ()), users=users)

    def _users(self, name: str, seen: Observed) -> list[in_use.User]:
        if seen.detached:
            return in_use.described(seen.detached.pids, self._store)
        return in_use.users(name, self._store) if seen.namespace else []
