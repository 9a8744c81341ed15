# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make room for the sockets of many ports: the usual soft limit of open files is 1,024, and the hard one far higher."""

from __future__ import annotations

import contextlib
import resource
import typing as t

from .._base.errors import InvalidOption

_OTHERS = 150  # descriptors that a task, or conmon, has beside the sockets; far fewer in practice
_KIND = resource.RLIMIT_NOFILE


def check(ports: int) -> None:
    """Raises InvalidOption if so many sockets cannot be open at once."""
    hard = resource.getrlimit(_KIND)[1]
    if hard != resource.RLIM_INFINITY and ports + _OTHERS > hard:
        hint = "Take fewer ports, or raise the hard limit (nofile in limits.conf, LimitNOFILE= of a unit)."
        raise InvalidOption(f"{ports} ports need more open files than the {hard} that are allowed here.", hint=hint)


@contextlib.contextmanager
def room_for(ports: int) -> t.Iterator[None]:
    """Raise the soft limit of this process as far as needed, also for what it starts meanwhile: conmon keeps the sockets and opens
    more. A container whose config has no limit of open files gets it from conmon."""
    soft, hard = resource.getrlimit(_KIND)
    if soft == resource.RLIM_INFINITY or ports + _OTHERS <= soft:
        yield
        return
    resource.setrlimit(_KIND, (ports + _OTHERS if hard == resource.RLIM_INFINITY else min(ports + _OTHERS, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(_KIND, (soft, hard))
