# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the plan for one container, under its lock."""

from __future__ import annotations

import typing as t

from .._base.errors import Conflict
from .._config import config
from .._container.observe import observe
from .._state.model import Action, Desired, Goal, Observed, Outcome, Plan, Record, Recreate, Status, StopReport
from .._state.store import CHECKPOINTS, LOG
from . import owners

if t.TYPE_CHECKING:
    from .._container.create import Launch
    from .._host.detect import Host
    from .._state.lock import Lock
    from .._state.store import Store
    from .plan import Differences


class Decider(t.Protocol):
    """Looks at a container, and decides: what a task asks while it works. See Containers."""

    @property
    def host(self) -> Host: ...

    def decide(self, desired: Desired, *, unread: Differences | None = None) -> tuple[Observed, Plan]: ...

    def prepare(self, desired: Desired, before: Observed, decided: Plan) -> Launch | None: ...


class Task:
    """Carry out the actions for one container, under its lock."""

    def __init__(self, store: Store, decider: Decider, desired: Desired, lock: Lock) -> None:
        self._store, self._decider, self._desired, self._lock = store, decider, desired, lock
        self._name = desired.name
        self._done: list[Action] = []
        self._warnings: list[str] = []
        self._stopped: StopReport | None = None

    def run(self, earlier: tuple[Observed, Plan], launch: Launch | None) -> Outcome:
        """Decide again under the lock, where no other task can interfere, and act. ``launch``, prepared before the lock
        was taken, is used if the observation and the plan equal ``earlier``.

        The lock is free only while a container stops. A container that another task recreated meanwhile has been
        restarted as requested, so drop the rest of the plan and decide again. Raises Conflict after five rounds.
        """
        first: tuple[Observed, Plan] | None = None
        for _round in range(5):
            before, decided = self._decider.decide(self._desired)
            if first or (before, decided) != earlier:
                launch = self._decider.prepare(self._desired, before, decided)
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
        raise Conflict(f"Other tasks repeatedly recreate the container {self._name} while this one stops it.")

    def _perform(self, before: Observed, decided: Plan, launch: Launch | None) -> bool:
        """Return False if the task must decide again: another task replaced the container while the lock was free, or a
        recovery has changed its state."""
        record = before.record
        if launch is not None:
            self._decider.host.remember()  # A failure must not come after the former container was removed.
        if launch and record and Action.STOP in decided.actions:
            self._store.save(record)  # Raises an error if there is no room for the record of the next container.
        for action in decided.actions:
            if action is Action.RECOVER:
                from .recovery import recover

                recover(self._store, self._name, self._desired.timeouts)
            elif action is Action.REMOVE:
                record = self._remove(before, record, launch)
            elif launch and action in (Action.CREATE, Action.RESTORE):
                record = self._create(launch, record)
            elif record:
                record = self._stop(record) if action is Action.STOP else self._act(action, record)
            self._done.append(action)
            if action is Action.RECOVER or (action is Action.STOP and record is None):
                return False
        return True

    def _create(self, launch: Launch, previous: Record | None) -> Record:
        owner = owners.owner_of(launch.record.definition)
        record, warnings = owner.create(self._store, launch, previous=previous, timeouts=self._desired.timeouts)
        self._warnings += warnings
        if launch.record.checkpoint is None:
            return record
        from .recovery import used_up

        return used_up(self._store, record)

    def _remove(self, before: Observed, record: Record | None, launch: Launch | None) -> Record | None:
        from .delete import delete_container, give_up

        self._warnings += give_up(self._store, before, launch)
        record = delete_container(self._store, self._decider.host, before, record, self._desired.timeouts)
        if record is not None and launch is not None:
            return record
        # A replaced container keeps its log and its kept checkpoints, also if a killed task began the replacement.
        self._store.forget(self._name, but=(CHECKPOINTS, LOG) if launch else ())
        return None

    def _stop(self, record: Record) -> Record | None:
        number, timeouts = self._desired.stop_signal or record.stop_signal, self._desired.timeouts
        owner = owners.owner_of(record.definition)
        self._stopped, now = owner.stop(self._store, self._lock, record, number=number, timeouts=timeouts)
        return now

    def _act(self, action: Action, record: Record) -> Record:
        owner, timeouts = owners.owner_of(record.definition), self._desired.timeouts
        if action is Action.UPDATE:
            source = self._store.load_config(self._name) or {}
            number, seconds = config.stop_settings(self._desired, source, record)
            return owner.update(self._store, record.replace(stop_signal=number, stop_timeout=seconds), timeouts)
        if action is Action.START:
            record, warnings = owner.start(self._store, record, timeouts)
            self._warnings += warnings
            return record
        from .._runtime.runtime import Runtime
        from .runtime_step import call_unless_done

        runtime = Runtime(record, self._store.paths(self._name).runtime_log)
        result = Status.PAUSED if action is Action.PAUSE else Status.RUNNING
        call_unless_done(runtime, action.value, record, result)
        return record
