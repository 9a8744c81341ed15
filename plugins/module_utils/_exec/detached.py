# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detached sessions: wait for one, stop it, or forget it."""

from __future__ import annotations

import contextlib
import os
import time

from .._base.deadline import Deadline
from .._base.errors import Conflict, LongshoreError, WrongState
from .._base.process import is_alive
from .._state.model import Record
from .._state.store import Store, check_name
from . import output, session_end, session_store
from .request import Limits, Result
from .run import result_of
from .session_store import Session, SessionPaths

_LIMITS = Limits()


def finish(
    store: Store, name: str, identifier: str, *, limits: Limits = _LIMITS, keep: output.Keep = output.KEEP,
) -> Result:  # fmt: skip
    """Wait for a detached session, stop it at the limit, and return its result. Several calls return the same result."""
    output.check(keep)
    record, paths, session = _known(store, name, identifier)
    if session is None or record is None:
        raise WrongState(
            f"The container {name} has no session {identifier}.", hint="Sessions end together with their container."
        )
    deadline = None if limits.run is None else Deadline(limits.run)
    if session_end.wait(paths, record, session, deadline) is None:
        session = session._replace(timed_out=True)
        with contextlib.suppress(LongshoreError):  # A full disk must not keep the session from ending.
            session_store.save(paths, session)
        session_end.stop(paths, record, session, grace=limits.stop, kill=limits.kill)
    with output.outputs(keep) as (stdout, stderr):
        output.read_log(paths.log, stdout, stderr)
    code, finished, oom = session_store.ended(paths, record, session) or (None, None, False)
    return result_of(session, code, stdout, stderr, finished or time.time(), session.timed_out, oom)


def stop(store: Store, name: str, identifier: str, *, limits: Limits = _LIMITS) -> bool:
    """Stop a session and keep its result. Return False if no such session runs."""
    record, paths, session = _known(store, name, identifier)
    if session is None or record is None or session_store.ended(paths, record, session):
        return False
    session_end.stop(paths, record, session, grace=limits.stop, kill=limits.kill)
    return True


def forget(store: Store, name: str, identifier: str, *, limits: Limits = _LIMITS) -> bool:
    """Stop a session if it runs, and remove it. Return False if it does not exist."""
    record, paths, session = _known(store, name, identifier)
    if record is None or not os.path.isdir(paths.bundle):
        return False
    if session is not None and session.pid is None and is_alive(session.owner):
        raise Conflict(f"The session {identifier} of the container {name} is being started by another task.")
    session_end.clear_away(paths, record, grace=limits.stop, kill=limits.kill)
    return True


def _known(store: Store, name: str, identifier: str) -> tuple[Record | None, SessionPaths, Session | None]:
    check_name(name)
    session_store.check_id(identifier)
    paths = SessionPaths(store.paths(name), identifier)
    return store.load(name), paths, session_store.load(paths)
