# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe exec sessions as the modules return them."""

from __future__ import annotations

import typing as t

from .._exec.session_store import Seen, signal_of
from .._state.timestamps import timestamp


def describe(seen: Seen) -> dict[str, t.Any]:
    """Return a session as the modules list it. Neither its environment nor its input are kept, so they are not in it."""
    session, end = seen.session, seen.end
    return {
        "session": session.id, "status": seen.status.value, "detached": session.detached, "argv": list(session.argv),
        "user": session.user, "tty": session.tty, "pid": session.pid if end is None else None,
        "rc": end.code if end else None, "signal": signal_of(end.code) if end else None,
        "oom_killed": end.oom if end else False,
        "timed_out": session.timed_out, "started_at": timestamp(session.started) if session.started else None,
        "finished_at": timestamp(end.finished) if end and end.finished else None, "log_path": seen.log,
    }  # fmt: skip
