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
import hashlib
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import Conflict, EngineError, InvalidInput, reason_of
from .._base.files import is_busy
from .._netlink import netns
from .._network_spec import names
from .._network_spec.parse import Request, check_name, resolve
from .._network_spec.plan import Action, Observed, Plan, bridges_of, plan
from .._network_spec.publishing import Record
from .._network_spec.ruleset import ruleset
from . import firewall, forwarding, observe
from .records import Changed, Records

if t.TYPE_CHECKING:
    from .._state.store import Store

_LOCK = ".networks"  # No container has such a name.
_SECONDS = 60  # for a whole task: the kernel needs far less, so this is mostly the wait for other tasks


class Outcome(t.NamedTuple):
    """The result. ``record``: the network after the task, predicted in check mode, or None. ``ends``: the ends of its interfaces on
    the host, by their names."""

    plan: Plan
    record: Record | None
    ends: t.Mapping[str, str]
    warnings: tuple[str, ...] = ()


class _Decision(t.NamedTuple):
    name: str
    plan: Plan
    record: Record | None
    former: t.Sequence[Record]  # earlier records, the latest first
    others: t.Sequence[Record]  # of the other existing networks
    seen: Observed
    sysctls: t.Mapping[str, str]  # the sysctls for all wanted networks, and the rules
    rules: str
    warnings: t.Sequence[str] = ()

    @property
    def own(self) -> list[Record]:
        return [self.record] if self.record else []

    @property
    def all(self) -> list[Record]:
        """Return the records of all wanted networks."""
        return [*self.others, *self.own]


def check_root() -> None:
    if os.geteuid() != 0:
        hint = "Other users can connect a container with network_helper of oci_container."
        raise InvalidInput("Only root can create networks, and get information about them.", hint=hint)


class Networks:
    """The networks of one state directory and one run directory. The constructor does no I/O."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        # In its canonical form, because names depend on it.
        state_dir = os.path.realpath(state_dir)
        self._state_dir, self._run_dir = state_dir, run_dir
        self._records = Records(state_dir=state_dir, run_dir=run_dir)
        self._table = names.table(state_dir)

    @functools.cached_property
    def _store(self) -> Store:
        from .._state.store import Store

        return Store(state_dir=self._state_dir, run_dir=self._run_dir)

    def converge(self, request: Request, *, check: bool = False) -> Outcome:
        """Bring a network to the requested state. Raises EngineError. Impossible requests fail before anything is changed."""
        check_root()
        check_name(request.name)
        with told_of(request.name):
            decided = self._look(request)
            # Another task may be in the middle of a change: wait for it.
            if check or (decided and not decided.plan.actions and not is_busy(self._run_dir, _LOCK)):
                decided = decided or self._decide(request)
                return self._outcome(decided, self._warnings(decided))
            deadline = Deadline(_SECONDS)
            with self._store.locked(_LOCK, deadline, "the networks of this host"):
                self._records.sweep()
                decided = self._decide(request)
                warnings = list(self._warnings(decided))
                if decided.plan.actions:
                    self._apply(request.name, decided, deadline)
            return self._outcome(decided, warnings)

    def _look(self, request: Request) -> _Decision | None:
        """Return the decision, or None if the host is in a transient state that a concurrent task may have caused. The caller
        then retries under the lock."""
        try:
            return self._decide(request)
        except (Conflict, OSError):
            return None

    def _outcome(self, decided: _Decision, warnings: t.Iterable[str]) -> Outcome:
        return Outcome(decided.plan, decided.record, self._ends(decided.record), (*decided.warnings, *warnings))

    def _ends(self, record: Record | None) -> dict[str, str]:
        if record is None:
            return {}
        interfaces = [each["name"] for each in record["interfaces"]]
        return {each: names.host_interface(self._state_dir, record["name"], each) for each in interfaces}

    def _decide(self, request: Request) -> _Decision:
        records = self._records.all()
        changed = self._records.changed()
        former = self._records.former(records.pop(request.name, None))
        old = former[0] if former else None
        others = self._there(records)
        seen = observe.look(request, old, changed.namespaces.get(request.name), self._state_dir)
        if request.absent:
            there = bool(old or seen.namespace or seen.ends)
            if seen.namespace:
                from . import in_use

                in_use.check_unused(request.name, self._store)
            decided = Plan((Action.REMOVE,), {"state": ("present", "absent")}) if there else Plan((), {})
            needed = forwarding.needed(others, {*seen.host})
            return _Decision(request.name, decided, None, former, others, seen, needed, ruleset(self._table, others))
        wanted = resolve(request, observe.surroundings(seen, records), old)
        observe.refuse_strangers(wanted, seen)
        listed = firewall.digest(self._table)
        warnings = self._check_ports(wanted, old, listed)
        compared = self._compare(wanted, former, others, seen, changed, listed)
        if compared.rules:
            firewall.program()
        return compared._replace(warnings=warnings)

    @staticmethod
    def _there(records: t.Mapping[str, Record]) -> list[Record]:
        return [record for name, record in records.items() if netns.exists(name) and not record.get("removing")]

    def _compare(
        self, wanted: Record, former: t.Sequence[Record], others: t.Sequence[Record], seen: Observed, changed: Changed, listed: str
    ) -> _Decision:  # fmt: skip
        """Compare. ``listed``: the digest of the table in the kernel."""
        needed = forwarding.needed([*others, wanted], {*seen.host, *bridges_of([wanted])})
        rules = ruleset(self._table, [*others, wanted])
        loaded = changed.rules == (_digest(rules), listed)
        seen = seen._replace(sysctls=forwarding.differing(needed), rules=loaded)
        return _Decision(
            wanted["name"], plan(wanted, former, others, seen), wanted, former, others, seen, needed, rules
        )

    def _check_ports(self, wanted: Record, old: Record | None, listed: str) -> list[str]:
        known = old["publish"] if old else []
        fresh = [entry for entry in wanted["publish"] if entry not in known]
        if not listed:
            # After a reboot, another program may have taken the ports.
            fresh = wanted["publish"]
        if not fresh:
            return []
        from . import in_use

        gateways = [text for each in wanted["interfaces"] for text in each["host_gateways"]]
        return in_use.check_ports(fresh, gateways, self._store)

    def _warnings(self, decided: _Decision) -> t.Iterator[str]:
        """Yield warnings, only with a change, because other programs may accept the packets later."""
        if decided.record and Action.RULES in decided.plan.actions and decided.rules:
            from . import foreign_rules

            bridges = sorted({each["bridge"] for each in decided.record["interfaces"]})
            for table, chain in foreign_rules.closed_to(bridges, self._table):
                yield (
                    f"The chain {chain} of the table {table} drops forwarded packets that none of its rules accepts, and no other"
                    f" table can change that. Make sure that it accepts packets from and to {' and '.join(bridges)}."
                    f"{foreign_rules.advice(table, bridges)}"
                )

    def _apply(self, name: str, decided: _Decision, deadline: Deadline) -> None:
        from . import apply

        record, former, seen, actions = decided.record, decided.former, decided.seen, decided.plan.actions
        if record is None:
            self._remove(name, decided, deadline)
            return
        if Action.RECORD in actions:
            self._records.save(record, former)
        if Action.BRIDGE in actions:
            apply.bridges(record, former, decided.all, seen, self._state_dir)
        if Action.NAMESPACE in actions:
            self._make_namespace(name)
        if Action.INTERFACE in actions or Action.NAMESPACE in actions:
            apply.interfaces(record, former, seen, self._state_dir)
        if Action.INTERFACE in actions or Action.ROUTE in actions:
            apply.routes(record, former)
        self._open(decided, deadline)
        apply.remove_bridges(decided.all, seen)
        if Action.RECORD in actions and former:
            self._records.save(record)

    def _make_namespace(self, name: str) -> None:
        """Create the namespace, so that it is known as Longshore's at every moment."""
        self._note_namespace(name, 0)
        netns.create(name)
        self._note_namespace(name, netns.inode(name))

    def _note_namespace(self, name: str, inode: int | None) -> None:
        changed = self._records.changed()
        others = {other: number for other, number in changed.namespaces.items() if other != name}
        self._records.save_changed(changed._replace(namespaces=others if inode is None else {**others, name: inode}))

    def _open(self, decided: _Decision, deadline: Deadline) -> None:
        """Apply sysctls and rules."""
        from . import foreign_rules

        wanted, rules, changed = decided.sysctls, decided.rules, self._records.changed()
        sysctls = dict(changed.sysctls)
        ways = forwarding.to_change(wanted)
        for path, (before, value) in ways.items():
            sysctls[path] = (sysctls[path][0] if path in sysctls else before, value)
        changed = changed._replace(sysctls=sysctls)
        self._records.save_changed(changed)
        for path, (_before, value) in ways.items():
            if value:
                forwarding.write(path, value)
        if changed.rules != (_digest(rules), firewall.digest(self._table)):
            firewall.load(self._table, rules, self._records.rules_file, deadline)
            changed = changed._replace(rules=(_digest(rules), firewall.digest(self._table)))
            self._records.save_changed(changed)
            self._redirect([*decided.former, *decided.own])
        others = bool(sysctls) and foreign_rules.forward(self._table)
        for path, value in forwarding.to_restore(sysctls, wanted, others).items():
            forwarding.write(path, value)
        kept = {path: pair for path, pair in sysctls.items() if forwarding.is_kept(path, wanted)}
        self._records.save_changed(changed._replace(sysctls=kept))

    def _redirect(self, records: t.Sequence[Record]) -> None:
        """Redirect clients of ports that are or were published."""
        entries = [entry for record in records for entry in record["publish"] if entry["protocol"] == "udp"]
        if entries:
            from .._netlink import conntrack

            conntrack.forget_udp({port for each in entries for port in range(each["port"], each["last"] + 1)})

    def _remove(self, name: str, decided: _Decision, deadline: Deadline) -> None:
        from . import apply

        former = decided.former
        if decided.seen.namespace:
            from . import in_use

            # A launch does not lock the networks, so a container may have started since the check.
            with netns.hidden(name) as descriptor:
                in_use.check_unused(name, self._store, descriptor)
        if former:
            # From now on it is in no table. The next task that removes it removes the rest.
            self._records.save({**former[0], "removing": True}, former[1:])
        self._open(decided, deadline)
        apply.remove(name, decided.seen)
        apply.bridges(None, former, decided.all, decided.seen, self._state_dir)
        apply.remove_bridges(decided.all, decided.seen)
        self._note_namespace(name, None)
        self._records.forget(name)


@contextlib.contextmanager
def told_of(name: str) -> t.Iterator[None]:
    """Turn errors of the kernel into EngineError with the name of the network."""
    try:
        yield
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        raise EngineError(f"Cannot work on the network {name}: {reason_of(exc)}{where}.") from exc


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""
