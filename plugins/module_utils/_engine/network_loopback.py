# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loopback of the host, closed for a container with a network helper.

A program without any rights can bind a socket to the device of the helper (SO_BINDTODEVICE), and so send there what is for
loopback. slirp4netns, and pasta as in Debian 12, pass that on to the loopback of the host. A routing rule in the namespace of
the container drops it. What is not bound finds the loopback of the container first, in the table ``local``.
"""

from __future__ import annotations

import os
import shlex

from .errors import InvalidInput, ProgramFailed
from .process import find_program, run
from .waiting import Deadline

_PROGRAMS = ("nsenter", "ip")
_LOOPBACK = (("-4", "127.0.0.0/8"), ("-6", "::1/128"))


def check(helper: str) -> None:
    """Raise InvalidInput where a program for the rules is missing."""
    missing = [name for name in _PROGRAMS if find_program(name) is None]
    if missing:
        raise InvalidInput(
            f"{helper} needs {missing[0]}, which is not on this host.", hint="It is in util-linux or in iproute2."
        )


def commands(pid: str) -> list[list[str]]:
    """The commands for the namespaces of a process, by its number. Its user namespace is entered for another user than root."""
    user = [] if os.geteuid() == 0 else ["--preserve-credentials", "--user"]
    enter = [find_program("nsenter") or "nsenter", *user, "--net", f"--target={pid}", find_program("ip") or "ip"]
    families = _LOOPBACK if os.path.exists("/proc/net/if_inet6") else _LOOPBACK[:1]
    return [[*enter, family, "rule", "add", "to", loopback, "blackhole"] for family, loopback in families]


def close(helper: str, pid: int, deadline: Deadline) -> None:
    """Add the rules. Raise ProgramFailed where that cannot be."""
    for words in commands(str(pid)):
        done = run(words, deadline, what="close the loopback of the host")
        if done.rc != 0:
            raise ProgramFailed(f"Cannot close the loopback of the host for {helper} ({done.stderr.strip()[-500:]})")


def script(later: str) -> str:
    """The same for the script of a service, where ``later`` stands for the variable with the number."""
    return " && ".join(shlex.join(words).replace(later, '"$pid"') for words in commands(later))
