# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel answers over netlink, and what it refuses, as errors that a person understands."""

from __future__ import annotations

import errno
import os
import typing as t

from .._base.errors import EngineError

_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR; pyroute2 0.7 raises an error then, and 0.9 says nothing
_MOST_ATTEMPTS = 50


def ask(what: str, call: t.Callable[[], t.Any], *, fine: t.Collection[int] = ()) -> list[t.Any]:
    """The messages that ``call`` returns. ``fine``: errors that mean that it is so already. Raises EngineError.

    A list that changed while the kernel gave it out is asked for again.
    """
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

    for _attempt in range(_MOST_ATTEMPTS):
        try:
            messages = list(call() or ())
        except NetlinkDumpInterrupted:
            continue
        except NetlinkError as exc:
            if exc.code in fine:
                return []
            hint = (
                "Does this host, maybe a container itself, give root CAP_NET_ADMIN?" if exc.code == errno.EPERM else ""
            )
            raise EngineError(f"Cannot {what}: {os.strerror(exc.code)}.", hint=hint) from exc
        if not any(message["header"]["flags"] & _INTERRUPTED for message in messages):
            return messages
    raise EngineError(f"Cannot {what}: others change it all the time.", hint="Run the task again.")
