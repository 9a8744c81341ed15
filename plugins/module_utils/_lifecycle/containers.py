# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one container into a state; what was found out about the host is shared by all.

    containers = Containers(state_dir="/var/lib/longshore", run_dir="/run/longshore")
    outcome = containers.converge(Desired("web", Goal.STARTED, Definition(bundle="/srv/web")))

It has no global state, does not change the directory, umask or signal handlers, and is thread-safe.

Modules that only an action needs are imported by that action: on a host, every task compiles every file again, and a task with
nothing to do needs only a small part of the engine.
"""

from __future__ import annotations

import typing as t

from .._base.deadline import Deadline
from .._base.errors import Conflict, EngineError, ProgramFailed, reason_of
from .._base.files import is_busy
from .._base.process import is_alive
from .._base.timestamps import timestamp
from .._container.observe import live_status, observe
from .._state import config
from .._state.model import Action, Definition, Desired, Goal, Observed, Plan, Record, Recreate, Status, StopReport
from .._state.store import CHECKPOINTS, LOG, Store, check_name
from .plan import definition_changes, plan

if t.TYPE_CHECKING:
    from .._base.lock import Lock
    from .._container.create import Launch
    from .._host.detect import Host
    from .._runtime.runtime import Runtime

Differences = dict[str, tuple[t.Any, t.Any]]


class Outcome(t.NamedTuple):
    """The observed state, the plan and its result. In check mode ``after`` is ``before``."""

    plan: Plan
    before: Observed
    after: Observed
    actions: tuple[Action, ...]
    stop: StopReport | None = None
    warnings: tuple[str, ...] = ()


class Containers:
    """The containers of one pair of directories."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self.store = Store(state_dir=state_dir, run_dir=run_dir)
        self._hosts: dict[bool, Host] = {}

    def host(self, *, check: bool) -> Host:
        """Return what was found out about this host, once for all threads; in check mode nothing of it is written."""
        if check not in self._hosts:
            from .._host.detect import Host

            return self._hosts.setdefault(check, Host(run_dir=self.store.run_dir, remember=not check))
        return self._hosts[check]

    def converge(self, desired: Desired, *, check: bool = False) -> Outcome:
        """Bring a container to the desired state. With nothing to do, and no other task at work, start no process and take no lock.
        Raises EngineError."""
        check_name(desired.name)
        try:
            return self._converge(desired, check=check)
        except OSError as exc:
            place = f" ({exc.filename})" if exc.filename else ""
            raise EngineError(f"Cannot work on the container {desired.name}: {reason_of(exc)}{place}.") from exc

    def _converge(self, desired: Desired, *, check: bool) -> Outcome:
        before, decided = self._decide(desired)
        launch = self._prepare(
            desired, before, decided, check=check
        )  # What cannot work is refused before even a lock is taken.
        if check or not (decided.actions or is_busy(self.store.run_dir, desired.name)):
            return Outcome(decided, before, before, decided.actions, warnings=(*decided.warnings, *self._busy(desired)))
        with self.store.locked(desired.name, Deadline(desired.timeouts.create)) as lock:
            return _Task(self, desired, lock).run((before, decided), launch)

    def _busy(self, desired: Desired) -> tuple[str, ...]:
        """Return a warning about other tasks. Check mode does not wait for them."""
        if not is_busy(self.store.run_dir, desired.name):
            return ()
        from .._base.lock_holders import holders

        found = holders(self.store.paths(desired.name).lock)
        return (f"Other tasks work on the container {desired.name} now: {', '.join(found)}.",) if found else ()

    def observe(self, name: str) -> Observed:
        check_name(name)
        return observe(self.store, name)

    def _decide(self, desired: Desired) -> tuple[Observed, Plan]:
        before = observe(self.store, desired.name)
        wanted = _wanted(desired, before.record)
        changes, updates = self._compare(desired, wanted, before.record)
        decided = plan(desired._replace(definition=wanted), before, changes=changes, updates=updates)
        if before.record and before.record.definition.service:
            from .._service.plan import completed

            decided = completed(desired, before, decided)
        return before, decided

    def _compare(
        self, desired: Desired, wanted: Definition | None, record: Record | None
    ) -> tuple[Differences, Differences]:
        """Return the differences of the definition and of the stop settings from the record. Only read files."""
        if wanted is None or record is None or desired.goal is Goal.ABSENT:
            return {}, {}
        manager = record.cgroup_manager if wanted.cgroup_manager == "auto" else wanted.cgroup_manager
        saved = self.store.load_config(desired.name)
        if saved is None and desired.definition is None:
            return {}, {}  # The record is from an interrupted create.
        source = saved or {} if desired.definition is None else config.read_bundle(wanted.bundle)
        paths = self.store.paths(desired.name)
        effective = config.effective(source, record.replace(definition=wanted, cgroup_manager=manager), paths)
        changes = definition_changes(wanted, record)
        changes.update(config.differences({"config": saved}, {"config": effective}))
        number, seconds = config.stop_settings(desired, source, record)
        settings = {"stop_signal": (record.stop_signal, number), "stop_timeout": (record.stop_timeout, seconds)}
        return changes, {name: pair for name, pair in settings.items() if pair[0] != pair[1]}

    def _prepare(self, desired: Desired, before: Observed, decided: Plan, *, check: bool) -> Launch | None:
        if decided.definition is None:
            return None
        from .._container.create import prepare

        launch = prepare(self.store, self.host(check=check), desired, decided.definition, before.record)
        held = before.record if Action.RESTORE in decided.actions else None
        if held is None or held.checkpoint is None:
            return launch
        from .._state.unfinished import check_whole

        check_whole(desired.name, held.checkpoint)
        return launch.restoring(held.checkpoint._replace(once=True), held.started_at)


def _wanted(desired: Desired, record: Record | None) -> Definition | None:
    if desired.definition is None and desired.overrides and record is not None:
        return record.definition._replace(**desired.overrides)
    return desired.definition


def _unless_done(runtime: Runtime, verb: str, record: Record, wanted: Status) -> None:
    """Ignore an error if the step is done: a runtime that a killed task has started may do the same step at the same time."""
    try:
        runtime.call(verb)
    except ProgramFailed:
        if not is_alive(record.init) or live_status(record) is not wanted:
            raise


class _Task:
    """The actions of one container, under its lock."""

    def __init__(self, containers: Containers, desired: Desired, lock: Lock) -> None:
        self._containers, self._desired, self._lock = containers, desired, lock
        self._store, self._name = containers.store, desired.name
        self._done: list[Action] = []
        self._warnings: list[str] = []
        self._stopped: StopReport | None = None

    def run(self, earlier: tuple[Observed, Plan], launch: Launch | None) -> Outcome:
        """Decide again under the lock, and act. The launch from before the lock is still valid if nothing has changed since.

        Other tasks can only interfere while a container stops. If one has recreated the container in the meantime, it has been
        restarted as requested, so drop the rest of the plan and decide again.
        """
        first: tuple[Observed, Plan] | None = None
        for _round in range(5):
            before, decided = self._containers._decide(self._desired)
            if first or (before, decided) != earlier:
                launch = self._containers._prepare(self._desired, before, decided, check=False)
            first = first or (before, decided)
            if self._perform(before, decided, launch):
                after = observe(self._store, self._name)
                warnings = (*decided.warnings, *self._warnings)
                return Outcome(first[1], first[0], after, tuple(self._done), self._stopped, warnings)
            if decided.actions[0] is Action.RECOVER:
                continue
            eased = Recreate.CHANGED if self._desired.recreate is Recreate.ALWAYS else self._desired.recreate
            goal = Goal.STARTED if self._desired.goal is Goal.RESTARTED else self._desired.goal
            self._desired = self._desired._replace(recreate=eased, goal=goal)
        raise Conflict(f"Other tasks recreate the container {self._name} repeatedly while this one stops it.")

    def _perform(self, before: Observed, decided: Plan, launch: Launch | None) -> bool:
        """Return False if the plan must be decided again: another task took over while the lock was free, or after a recovery."""
        record = before.record
        for action in decided.actions:
            if action is Action.STOP:
                record = self._stop(t.cast(Record, record))
                if record is None:
                    self._done.append(action)
                    return False
            elif launch and action in (Action.CREATE, Action.RESTORE):
                if launch.record.definition.service:
                    from .._service.owner_systemd import create
                else:
                    from .._container.create import create
                record, warnings = create(self._store, launch, previous=record, timeouts=self._desired.timeouts)
                self._warnings += warnings
                if launch.record.checkpoint:
                    from .recovery import used_up

                    record = used_up(self._store, record)
            elif action is Action.RECOVER:
                from .recovery import recover

                recover(self._store, self._name, self._desired.timeouts)
                self._done.append(action)
                return False
            elif action is Action.REMOVE:
                from .delete import delete_container

                record = delete_container(
                    self._store, self._containers.host(check=False), before, record, self._desired.timeouts
                )
                if record is None or launch is None:
                    # The log and kept checkpoints of a recreated container stay, also after a killed attempt.
                    self._store.forget(self._name, but=(CHECKPOINTS, LOG) if launch else ())
                    record = None
            else:
                record = self._act(action, t.cast(Record, record))
            self._done.append(action)
        return True

    def _stop(self, record: Record) -> Record | None:
        if record.definition.service:
            from .._service.owner_systemd import stop
        else:
            from .._container.stop import stop

        number, timeouts = self._desired.stop_signal or record.stop_signal, self._desired.timeouts
        self._stopped, now = stop(self._store, self._lock, record, number=number, timeouts=timeouts)
        return now

    def _act(self, action: Action, record: Record) -> Record:
        from .._runtime.runtime import Runtime

        paths = self._store.paths(self._name)
        runtime = Runtime(record, paths.runtime_log)
        if action is Action.UPDATE:
            source = self._store.load_config(self._name) or {}
            number, seconds = config.stop_settings(self._desired, source, record)
            pending = record.definition.service
            record = record.replace(stop_signal=number, stop_timeout=seconds, unit_pending=pending)
            record = self._store.save(record)
            if record.definition.service:
                from .._service import owner_systemd

                record = owner_systemd.update(self._store, record, self._desired.timeouts)
        elif action in (Action.PAUSE, Action.RESUME):
            _unless_done(runtime, action.value, record, Status.PAUSED if action is Action.PAUSE else Status.RUNNING)
        elif record.definition.service:
            from .._service import owner_systemd

            record = owner_systemd.start(self._store, record, self._desired.timeouts)
        elif record.definition.sdnotify == "container":
            from .._container.sd_notify import ReadySocket, ready_seconds

            with ReadySocket(paths.ready_socket) as ready:
                record = self._start(runtime, record, "starting")
                ready.wait(record, Deadline(ready_seconds(self._desired.timeouts)))
            record = self._store.save(record.replace(phase="running"))
            self._tell_manager(record)
        else:
            record = self._start(runtime, record)
            self._tell_manager(record)
        return record

    def _start(self, runtime: Runtime, record: Record, phase: str = "running") -> Record:
        """Start a container. Save the record first, so that a killed task leaves no unrecorded running container."""
        started = self._store.save(record.replace(phase=phase, started_at=timestamp()))
        try:
            _unless_done(runtime, "start", record, Status.RUNNING)
        except EngineError:
            self._store.save(record)
            raise
        return started

    def _tell_manager(self, record: Record) -> None:
        if record.definition.sdnotify != "ignore":
            from .._container.sd_notify import tell_manager

            self._warnings += filter(None, [tell_manager(record)])
