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
from .._base.errors import LongshoreError, reason_of
from .._base.files import is_busy
from .._config.namespaces import namespaces_of
from .._container.observe import observe
from .._state.model import Action, Desired, Goal, Observed, Outcome, Plan, Status
from .._state.store import Store, check_name
from .plan import Differences, plan
from .unfinished_work import completed, unit_state

if t.TYPE_CHECKING:
    from .._container.create import Launch
    from .._host.detect import Host


class Containers:
    """The containers of one pair of directories."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self.store = Store(state_dir=state_dir, run_dir=run_dir)
        self._hosts: dict[str, Host] = {}

    @property
    def host(self) -> Host:
        """Return what was found out about this host, once for all threads."""
        from .._host.detect import Host

        return self._hosts.setdefault("", Host(run_dir=self.store.run_dir))

    def converge(self, desired: Desired, *, check: bool = False) -> Outcome:
        """Bring a container to the desired state. With nothing to do, and no other task at work, take no lock and start no
        process, except a runtime without a driver.
        Raises LongshoreError."""
        check_name(desired.name)
        try:
            return self._converge(desired, check=check)
        except OSError as exc:
            place = f" ({exc.filename})" if exc.filename else ""
            raise LongshoreError(f"Cannot work on the container {desired.name}: {reason_of(exc)}{place}.") from exc

    def _converge(self, desired: Desired, *, check: bool) -> Outcome:
        if check:
            from .prediction import predict

            return predict(self.store, self, desired)
        before, decided = self.decide(desired)
        # An input that cannot work is refused before a lock is taken.
        launch = self.prepare(desired, before, decided)
        if not (decided.actions or is_busy(self.store.run_dir, desired.name)):
            return Outcome(decided, before, before, decided.actions, warnings=decided.warnings)
        with self.store.locked(desired.name, Deadline(desired.timeouts.create)) as lock:
            from .task import Task

            return Task(self.store, self, desired, lock).run((before, decided), launch)

    def observe(self, name: str) -> Observed:
        check_name(name)
        return observe(self.store, name)

    def decide(self, desired: Desired, *, unread: Differences | None = None) -> tuple[Observed, Plan]:
        """Return the container as it is, and what has to be done. Only files are read. ``unread`` are the differences to a bundle
        that does not exist yet."""
        before = observe(self.store, desired.name)
        definition = desired.definition
        changes: Differences = {}
        updates: Differences = {}
        older: t.Sequence[str] = ()
        if definition is None and desired.overrides and before.record is not None:
            definition = before.record.definition._replace(**desired.overrides)
        if definition is not None and before.record is not None and desired.goal is not Goal.ABSENT:
            from .changes import compare

            if unread:
                changes = unread
            else:
                changes, updates, older = compare(self.store, desired, definition, before.record)
        decided = plan(desired._replace(definition=definition), before, changes=changes, updates=updates, older=older)
        decided = completed(desired, before, decided, unit_state(self.store, desired, before))
        if before.status in (Status.RUNNING, Status.PAUSED):
            config = self.store.load_config(desired.name) or {}
            if any(namespaces_of(config).values()):
                from .._ports.left_namespaces import warned

                decided = warned(self.store, before, decided, config)
        return before, decided

    def prepare(self, desired: Desired, before: Observed, decided: Plan) -> Launch | None:
        """Return what a create or restore of the plan needs. Refuses what cannot work (see create.prepare)."""
        if decided.definition is None:
            return None
        from .._container.create import prepare
        from . import owners

        launch = prepare(self.store, self.host, desired, decided.definition, before.record)
        owners.owner_of(decided.definition).check(self.store, launch)
        record = before.record if Action.RESTORE in decided.actions else None
        if record is None or record.checkpoint is None:
            return launch
        from .._state.unfinished import check_whole

        check_whole(desired.name, record.checkpoint)
        return launch.restoring(record.checkpoint._replace(once=True), record.started_at)
