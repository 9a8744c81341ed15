# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoint running containers to disk, and restore them, on the same host or on another one.

    checkpoints = Checkpoints(state_dir="/var/lib/longshore", run_dir="/run/longshore")
    outcome = checkpoints.converge(Request("web", Goal.CHECKPOINTED))

A dump has its own directory and counts only when it is complete. A restore is a launch in which conmon restores instead of
creating. Both may be killed at any moment. The record then contains the interrupted operation.
"""

from __future__ import annotations

import contextlib

from .._archive.named_pipe import check_pipe, is_pipe
from .._base.deadline import Deadline
from .._base.files import is_busy
from .._container.observe import observe
from .._host.detect import Host
from .._state.store import Store, check_name
from .checkpoint_store import Stored
from .decide import Context, decide, stored
from .plan import Action, Found, Goal, Plan, plan
from .request import Outcome, Request, describe
from .source import Source, give_back, receive


class Checkpoints:
    """The checkpoints of the containers of one state directory."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self.store = Store(state_dir=state_dir, run_dir=run_dir)

    def converge(self, request: Request, *, check: bool = False) -> Outcome:
        """Bring a checkpoint to the requested state, or with ``check`` only predict it.

        Raises LongshoreError. A request that cannot work is refused before the container is changed. Only two steps come
        before that: what a killed task has begun is completed or undone, and a checkpoint from a pipe is stored.
        """
        check_name(request.name)
        check_name(request.target)
        host = Host(run_dir=self.store.run_dir)
        if request.goal is Goal.RESTORED and is_pipe(request.archive):
            return self._receive(request, host, check=check)
        return self._converge(request, host, check=check)

    def _converge(
        self, request: Request, host: Host, *, check: bool = False, received: Stored | None = None
    ) -> Outcome:
        with Source(self.store, request, received) as source:
            context = Context(self.store, host, request, source)
            found, decided = decide(context)
            names = sorted({request.name, request.target})
            if check or not (decided.actions or any(is_busy(self.store.run_dir, name) for name in names)):
                whole = stored(context)
                described = describe(whole, request.archive) if whole else None
                return Outcome(decided, found.target, found.target, described, {})
            from .task import Task

            deadline = Deadline(request.timeout)
            with contextlib.ExitStack() as locks:
                # Always in the same order, so that two tasks cannot wait for each other.
                taken = [locks.enter_context(self.store.locked(name, deadline)) for name in names]
                return Task(context, deadline, taken).run()

    def _receive(self, request: Request, host: Host, *, check: bool) -> Outcome:
        """Restore from a pipe. It can be read only once, so store the checkpoint first, and restore it from there."""
        target = observe(self.store, request.target)
        # A restore completes what is unfinished, if there is a restore.
        settled = target._replace(unfinished=False)
        decided = plan(request.goal, Found(settled, settled, False, True), leave_running=False, keep=request.keep)
        if not decided.actions:
            return Outcome(decided, target, target, None, {})
        source = target if request.target == request.name else observe(self.store, request.name)
        then = plan(request.goal, Found(source, target, True, None), leave_running=False, keep=request.keep)
        check_pipe(str(request.archive))
        if check:
            return Outcome(_after_import(then), target, target, None, {})
        deadline = Deadline(request.timeout)
        whole = receive(self.store, request, deadline)
        try:
            later = request._replace(archive=None, verify=(), timeout=deadline.remaining())
            done = self._converge(later, host, received=whole)
        finally:
            give_back(self.store, request.name, whole.path)  # The sender still has its copy.
        return done._replace(plan=_after_import(done.plan))


def _after_import(decided: Plan) -> Plan:
    return decided._replace(actions=(Action.IMPORT, *decided.actions))
