# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in the containers of one state directory: observe, decide, and carry out.

sessions = Sessions(state_dir="/var/lib/longshore", run_dir="/run/longshore")
outcome = sessions.converge(Request("web", command=Command(("nginx", "-t"))))
"""

from __future__ import annotations

import os
import typing as t

from .._base.errors import InvalidOption, WrongState
from .._state.store import Store, check_name
from . import output, run
from .plan import Action, Plan, plan
from .process_spec import check
from .request import Found, Goal, Request, Result
from .session_store import Seen, SessionPaths, check_id, has_files, look


class Outcome(t.NamedTuple):
    """The plan and its result. ``changed``: whether this task has changed something, or would; another task may have done it
    first. ``seen`` is the session afterwards; in check mode, as it was found. ``result`` is of a command that was waited for."""

    plan: Plan
    changed: bool
    seen: Seen | None = None
    result: Result | None = None


class Sessions:
    """The exec sessions of the containers of one state directory and run directory."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self.store = Store(state_dir=state_dir, run_dir=run_dir)

    def converge(self, request: Request, *, check: bool = False) -> Outcome:
        """Carry out a request; with ``check`` only decide. Raises InvalidOption, WrongState or Conflict before the command is
        launched, and LongshoreError as ``run.run`` does. Until then only sessions of killed tasks are removed."""
        self._refuse(request)
        seen = self._seen(request, request.session)
        found = self._look(request, seen, check=check)
        decided = plan(request, found)
        if check or not decided.actions:
            return Outcome(decided, bool(decided.actions), seen)
        identifier, changed, result = self._apply(request, decided.actions[0])
        return Outcome(decided, changed, self._seen(request, identifier), result)

    def _refuse(self, request: Request) -> None:
        check_name(request.name)
        if request.session is not None:
            check_id(request.session)
        if request.command is not None:
            check(request.command)
            if request.command.tty and request.stdin:
                from . import terminal_input

                terminal_input.check(request.stdin)
        output.check(request.keep)
        record = self.store.load(request.name)
        path = record.runtime.path if record else ""
        names = ("auto", path.rpartition("/")[2], path, record.runtime.name if record else "")
        same = request.runtime in names or os.path.realpath(request.runtime or "") == os.path.realpath(path)
        if record is not None and request.runtime is not None and not same:
            raise InvalidOption(
                f"The container {request.name} was created with {path}, not with {request.runtime}.",
                hint="Omit runtime. A container keeps the runtime that created it.",
            )

    def _seen(self, request: Request, identifier: str | None) -> Seen | None:
        record = self.store.load(request.name)
        if record is None or identifier is None:
            return None
        return look(SessionPaths(self.store.paths(request.name), identifier), record)

    def _look(self, request: Request, seen: Seen | None, *, check: bool) -> Found:
        found = Found(has_files=self._has_files(request))
        if seen is not None:
            found = found._replace(status=seen.status, argv=seen.session.argv)
        if request.goal is not Goal.STARTED:
            return found
        try:
            found = found._replace(creates=self._exists(request, "creates"))
            return found if found.creates else found._replace(removes=self._exists(request, "removes"))
        except (InvalidOption, WrongState):
            # Earlier tasks of the play, not carried out either, may be what starts the container.
            if not check:
                raise
        return found

    def _has_files(self, request: Request) -> bool:
        if request.session is None or self.store.load(request.name) is None:
            return False
        return has_files(SessionPaths(self.store.paths(request.name), request.session))

    def _exists(self, request: Request, option: str) -> bool | None:
        pattern = getattr(request, option)
        if pattern is None:
            return None
        directory = request.command.cwd if request.command else None
        return run.exists(self.store, request.name, pattern, directory=directory)

    def _apply(self, request: Request, action: Action) -> tuple[str | None, bool, Result | None]:
        """Carry out one action. Return the id of the session, whether this changed something, and the result of a command that
        was waited for."""
        name, identifier, limits = request.name, request.session, request.limits
        if request.command is not None and action is Action.RUN:
            result = run.run(
                self.store, name, request.command, stdin=request.stdin, session=identifier, limits=limits, keep=request.keep
            )  # fmt: skip
            return None, True, result
        if request.command is not None and action is Action.START:
            session, new = run.start(self.store, name, request.command, session=identifier, limits=limits)
            return session.id, new, None
        if identifier is None:
            raise InvalidOption(f"There is no session to {action.value} without its id.")
        from . import detached

        if action is Action.WAIT:
            result = detached.finish(self.store, name, identifier, limits=limits, keep=request.keep)
            return identifier, result.timed_out, result
        changed = (detached.stop if action is Action.STOP else detached.forget)(
            self.store, name, identifier, limits=limits
        )
        return identifier, changed, None
