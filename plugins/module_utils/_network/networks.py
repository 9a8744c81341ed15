# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks for containers: looked at, decided upon and made.

A named network namespace, cables from it to bridges of the host, and one table of nftables for what all of them publish. A task
that is killed anywhere leaves what the next one finds and completes: the record comes first, and goes last.

What only a change needs is imported when there is one, as in the engine.
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
_SECONDS = 60  # for all of a task: the kernel takes far less, so this is for others who work on networks


class Outcome(t.NamedTuple):
    """``record``: the network after the task, in check mode as it would be; None for none. ``ends``: the host's ends of its
    interfaces, by their names."""

    plan: Plan
    record: Record | None
    ends: t.Mapping[str, str]
    warnings: tuple[str, ...] = ()


class _Decision(t.NamedTuple):
    name: str
    plan: Plan
    record: Record | None
    former: t.Sequence[Record]  # what it has been, the latest first
    others: t.Sequence[Record]  # of the networks that are there
    seen: Observed
    sysctls: t.Mapping[str, str]  # that all that is to be there needs, and the rules for it
    rules: str
    warnings: t.Sequence[str] = ()

    @property
    def own(self) -> list[Record]:
        return [self.record] if self.record else []

    @property
    def all(self) -> list[Record]:
        """What is to be there."""
        return [*self.others, *self.own]


def check_root() -> None:
    if os.geteuid() != 0:
        hint = "Other users connect a container by network_helper of oci_container."
        raise InvalidInput("Only root can make networks, and look at them.", hint=hint)


class Networks:
    """The networks of one pair of directories. Stores only; touches the host when asked to."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        # However it is written: what is ours is known by it.
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
            # What seems to be done may be half done by a task that is at work: that one is waited for.
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
        """None where something is in the way, or has gone in the meantime, that may be of another task just now: then it is
        looked at once more."""
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
        """``listed``: the digest of the table as the kernel has it."""
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
            # After a reboot: somebody else may have come first.
            fresh = wanted["publish"]
        if not fresh:
            return []
        from . import in_use

        gateways = [text for each in wanted["interfaces"] for text in each["host_gateways"]]
        return in_use.check_ports(fresh, gateways, self._store)

    def _warnings(self, decided: _Decision) -> t.Iterator[str]:
        """Once, with the change: from then on it may well be that others let our packets through."""
        if decided.record and Action.RULES in decided.plan.actions and decided.rules:
            from . import foreign_rules

            bridges = sorted({each["bridge"] for each in decided.record["interfaces"]})
            for table, chain in foreign_rules.closed_to(bridges, self._table):
                yield (
                    f"The chain {chain} of the table {table} lets nothing be forwarded that none of its rules accepts, and no other"
                    f" table can help that. See to it that it accepts what comes from {' and '.join(bridges)} and what goes there."
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
        """Known as ours at every moment."""
        self._note_namespace(name, 0)
        netns.create(name)
        self._note_namespace(name, netns.inode(name))

    def _note_namespace(self, name: str, inode: int | None) -> None:
        changed = self._records.changed()
        others = {other: number for other, number in changed.namespaces.items() if other != name}
        self._records.save_changed(changed._replace(namespaces=others if inode is None else {**others, name: inode}))

    def _open(self, decided: _Decision, deadline: Deadline) -> None:
        """The way for packets, or what is left of it: sysctls and rules."""
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
        """Clients of ports that are published, or were."""
        entries = [entry for record in records for entry in record["publish"] if entry["protocol"] == "udp"]
        if entries:
            from .._netlink import conntrack

            conntrack.forget_udp({port for each in entries for port in range(each["port"], each["last"] + 1)})

    def _remove(self, name: str, decided: _Decision, deadline: Deadline) -> None:
        from . import apply

        former = decided.former
        if decided.seen.namespace:
            from . import in_use

            # A launch takes no lock of networks: one may have come since the look.
            with netns.hidden(name) as descriptor:
                in_use.check_unused(name, self._store, descriptor)
        if former:
            # From here on it is in no table; and what is left of it is removed by the next task that is told to.
            self._records.save({**former[0], "removing": True}, former[1:])
        self._open(decided, deadline)
        apply.remove(name, decided.seen)
        apply.bridges(None, former, decided.all, decided.seen, self._state_dir)
        apply.remove_bridges(decided.all, decided.seen)
        self._note_namespace(name, None)
        self._records.forget(name)


@contextlib.contextmanager
def told_of(name: str) -> t.Iterator[None]:
    """What the kernel refuses is an EngineError with the name of the network."""
    try:
        yield
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        raise EngineError(f"Cannot work on the network {name}: {reason_of(exc)}{where}.") from exc


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""
