# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks for containers: observe, plan and apply.

A network is a named network namespace with veth pairs to bridges of the host. One nftables table has the rules for all
networks. If a task is killed at any point, the next one finds and completes its work: the record is created first and removed
last.

Modules that only a change needs are imported by that change, as in the engine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import Conflict, LongshoreError, MissingPrerequisite, reason_of
from .._base.files import is_busy
from .._netlink import netns
from .._network_spec import names
from .._network_spec.differences import Observed, Target, bridges_of
from .._network_spec.parse import Request, check_name, resolve
from .._network_spec.plan import Action, Plan, plan, plan_removal
from .._network_spec.record import NetworkRecord
from .._network_spec.ruleset import ruleset
from . import firewall, forwarding, observe
from .records import Changed, History, Records

if t.TYPE_CHECKING:
    from .._state.store import Store

_LOCK = ".networks"  # No container has such a name.
_SECONDS = 60  # for a whole task: the kernel needs far less, so this is mostly the wait for other tasks


class Outcome(t.NamedTuple):
    """The result. ``record``: the network after the task, predicted in check mode, or None. ``ends``: the ends of its interfaces on
    the host, by their names."""

    plan: Plan
    record: NetworkRecord | None
    ends: t.Mapping[str, str]
    warnings: tuple[str, ...] = ()


class _Decision(t.NamedTuple):
    plan: Plan
    record: NetworkRecord | None
    rules: str = ""  # of nftables, for all networks
    warnings: t.Sequence[str] = ()


def check_root() -> None:
    if os.geteuid() != 0:
        hint = "Other users can connect a container with network_helper of oci_container."
        raise MissingPrerequisite("Only root can create networks, and get information about them.", hint=hint)


class Networks:
    """The networks of one state directory and one run directory. The constructor does no I/O."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self._given_state_dir, self._run_dir = state_dir, run_dir

    @functools.cached_property
    def _state_dir(self) -> str:
        """Return the real path: the names of Longshore's links and tables depend on it."""
        return os.path.realpath(self._given_state_dir)

    @functools.cached_property
    def _records(self) -> Records:
        return Records(state_dir=self._state_dir, run_dir=self._run_dir)

    @functools.cached_property
    def _table(self) -> str:
        return names.table(self._state_dir)

    @functools.cached_property
    def _store(self) -> Store:
        from .._state.store import Store

        return Store(state_dir=self._state_dir, run_dir=self._run_dir)

    def converge(self, request: Request, *, check: bool = False) -> Outcome:
        """Bring a network to the requested state. Raises LongshoreError. Impossible requests fail before the network is changed.

        A failure in the middle of the change leaves the network as it is then, and the next task continues.
        """
        check_root()
        check_name(request.name)
        with kernel_errors(request.name):
            decided = self._look(request)
            # Another task may be in the middle of a change: wait for it.
            if check or (decided and not decided.plan.actions and not is_busy(self._run_dir, _LOCK)):
                decided = decided or self._decide(request)
                return self._outcome(decided, self._warnings(decided))
            deadline = Deadline(_SECONDS)
            with self._store.locked(_LOCK, deadline, "the networks of this host"):
                self._records.sweep()
                decided = self._decide(request)
                warnings = self._warnings(decided)
                if decided.plan.actions:
                    from .apply import Applier

                    Applier(self._records, self._store, self._table, deadline).carry_out(decided.plan.operations)
            return self._outcome(decided, warnings)

    def _look(self, request: Request) -> _Decision | None:
        """Return None if the host is in a transient state that a concurrent task may have caused; the caller retries under the
        lock."""
        try:
            return self._decide(request)
        except (Conflict, OSError):
            return None

    def _outcome(self, decided: _Decision, warnings: t.Iterable[str]) -> Outcome:
        return Outcome(decided.plan, decided.record, self._ends(decided.record), (*decided.warnings, *warnings))

    def _ends(self, record: NetworkRecord | None) -> dict[str, str]:
        if record is None:
            return {}
        return {each.name: names.host_interface(self._state_dir, record.name, each.name) for each in record.interfaces}

    def _decide(self, request: Request) -> _Decision:
        histories, changed = self._records.all(), self._records.changed()
        former = histories.pop(request.name, ())
        others = self._there(histories, changed)
        old = former[0] if former else None
        seen = observe.look(request, old, changed.namespaces.get(request.name), self._state_dir, lambda: self._store)
        if request.absent:
            if seen.namespace or seen.detached:
                from . import in_use

                if seen.detached:
                    raise in_use.in_use(request.name, seen.detached.pids, self._store)
                in_use.check_unused(request.name, self._store)
            elif not former and not seen.ends:
                return _Decision(Plan(), None)
            seen, target = self._compared(seen, others, seen.host, changed, firewall.digest(self._table))
            return _Decision(plan_removal(request.name, former, others, seen, target), None)
        if old:
            observe.refuse_bridges(old, {each.bridge for each in request.interfaces}, seen)
        around = observe.surroundings(seen, {name: history[0] for name, history in histories.items()})
        wanted = resolve(request, around, old)
        observe.refuse_strangers(wanted, seen)
        listed = firewall.digest(self._table)
        warnings = self._check_ports(wanted, old, listed)
        decided = self._compare(wanted, former, others, seen, changed, listed)
        if decided.rules:
            firewall.program()
        return decided._replace(warnings=warnings)

    def _there(self, histories: t.Mapping[str, History], changed: Changed) -> list[NetworkRecord]:
        records = [each for each, *_former in histories.values() if not each.removing]
        return [each for each in records if netns.exists(each.name) or self._lives(each, changed)]

    def _lives(self, record: NetworkRecord, changed: Changed) -> bool:
        inode = changed.namespaces.get(record.name)
        if not inode:
            return False
        from . import detached

        return detached.lives(record, inode, self._state_dir, self._store)

    def _compared(
        self, seen: Observed, records: t.Sequence[NetworkRecord], bridges: t.Collection[str], changed: Changed, listed: str
    ) -> tuple[Observed, Target]:  # fmt: skip
        """Return the host compared with the needs of all networks, and those needs. ``records``: the networks that
        exist, or will exist. ``bridges``: likewise, on the host. ``listed``: the digest of the table that the kernel
        lists."""
        needed, rules = forwarding.needed(records, bridges), ruleset(self._table, records)
        obsolete = any(not forwarding.is_kept(path, needed) for path in changed.sysctls)
        loaded = changed.rules == (firewall.text_digest(rules), listed)
        loaded = loaded and (not rules or os.path.exists(self._records.kept_rules))
        seen = seen._replace(sysctls=forwarding.differing(needed), obsolete_sysctls=obsolete, rules=loaded)
        return seen, Target(needed, rules, self._state_dir)

    def _compare(
        self, wanted: NetworkRecord, former: History, others: t.Sequence[NetworkRecord], seen: Observed, changed: Changed, listed: str
    ) -> _Decision:  # fmt: skip
        if seen.locked and not seen.detached:
            from . import in_use

            seen = seen._replace(locked=not in_use.checkpointed(wanted.name, self._store))
        seen, target = self._compared(seen, [*others, wanted], {*seen.host, *bridges_of([wanted])}, changed, listed)
        return _Decision(plan(wanted, former, others, seen, target), wanted, target.rules)

    def _check_ports(self, wanted: NetworkRecord, old: NetworkRecord | None, listed: str) -> list[str]:
        known = old.publish if old else ()
        fresh = tuple(entry for entry in wanted.publish if entry not in known)
        if not listed:
            # For example after a reboot: another program may have taken the ports.
            fresh = wanted.publish
        if not fresh:
            return []
        from . import in_use

        gateways = [text for each in wanted.interfaces for text in each.host_gateways]
        return in_use.check_ports(fresh, gateways, self._store)

    def _warnings(self, decided: _Decision) -> list[str]:
        """Return warnings about rules of other programs, only with a change of the rules: later, others may accept the
        packets."""
        if not (decided.record and decided.rules and Action.RULES in decided.plan.actions):
            return []
        from . import foreign_rules

        return foreign_rules.warnings(sorted(bridges_of([decided.record])), self._table)


@contextlib.contextmanager
def kernel_errors(name: str) -> t.Iterator[None]:
    """Raise an LongshoreError with the name of the network for an OSError."""
    try:
        yield
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        raise LongshoreError(f"Cannot work on the network {name}: {reason_of(exc)}{where}.") from exc
