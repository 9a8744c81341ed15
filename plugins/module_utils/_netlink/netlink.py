# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the kernel's answers over netlink, and turn its refusals into readable errors."""

from __future__ import annotations

import errno
import os
import typing as t

from .._base.errors import LongshoreError

_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: pyroute2 0.7 raises an error, 0.9 does not
_MOST_ATTEMPTS = 50


def ask(what: str, call: t.Callable[[], t.Any], *, ignored: t.Collection[int] = ()) -> list[t.Any]:
    """The messages that ``call`` returns. ``ignored``: errors that mean that it is so already. Raises LongshoreError.

    If a list changes while the kernel returns it, ask again.
    """
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

    for _attempt in range(_MOST_ATTEMPTS):
        try:
            messages = list(call() or ())
        except NetlinkDumpInterrupted:
            continue
        except NetlinkError as exc:
            if exc.code in ignored:
                return []
            hint = "On this host, root may lack CAP_NET_ADMIN, as in a container." if exc.code == errno.EPERM else ""
            raise LongshoreError(f"Cannot {what}: {os.strerror(exc.code)}.", hint=hint) from exc
        if not any(message["header"]["flags"] & _INTERRUPTED for message in messages):
            return messages
    raise LongshoreError(f"Cannot {what}: other programs change it continuously.", hint="Run the task again.")
