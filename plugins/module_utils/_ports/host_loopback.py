# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prevent a container with a network helper from reaching the loopback of the host.

A program without privileges can bind a socket to the device of the helper (SO_BINDTODEVICE), and send packets for loopback
there. slirp4netns, and pasta of Debian 12, forward them to the loopback of the host. With these routes, the container itself
gets them.

IPv4: a local route through the device. A rule that drops has no effect, because the kernel then treats the address of a bound
socket as on the link (ip_route_output_key_hash_rcu). IPv6: a rule after the table ``local``, which has the container's loopback.
"""

from __future__ import annotations

import os
import re
import shlex

from .._base.deadline import Deadline
from .._base.errors import MissingPrerequisite, ProgramFailed
from .._base.program import Completed, find_program, run

_PROGRAMS = ("nsenter", "ip")
_LIST = ("-o", "link", "show")
_ROUTE = ("-4", "route", "append", "local", "127.0.0.0/8", "table", "local", "metric", "1", "dev")
_RULE = ("-6", "rule", "add", "to", "::1/128", "blackhole")
_SCRIPT = (
    "{list} | sed -n 's/^[0-9]*: \\([^:@]*\\).*/\\1/p' | while read -r device; do"
    ' test "$device" = lo || {route} "$device" || exit; done{rule}'
)


def check(helper: str) -> None:
    """Raise MissingPrerequisite if a program for the routes is missing."""
    missing = [name for name in _PROGRAMS if find_program(name) is None]
    if missing:
        hint = "It is in util-linux or in iproute2."
        raise MissingPrerequisite(f"{helper} needs {missing[0]}, which is not on this host.", hint=hint)


def close(helper: str, pid: int, deadline: Deadline) -> None:
    """Close it for the namespaces of a process. Raise ProgramFailed if that fails."""

    def ip(*words: str) -> Completed:
        done = run([*_enter(str(pid)), *words], deadline, what="close the loopback of the host")
        if done.rc != 0:
            raise ProgramFailed(f"Cannot close the loopback of the host for {helper} ({done.stderr.strip()[-500:]})")
        return done

    for device in re.findall(r"(?m)^\d+: ([^:@\s]+)", ip(*_LIST).stdout):
        if device != "lo":
            ip(*_ROUTE, device)
    if _has_ipv6():
        ip(*_RULE)


def script(later: str) -> str:
    """Return the same for the script of a service, in which ``later`` is replaced by the variable with the pid."""
    enter = _enter(later)
    rule = f" && {shlex.join([*enter, *_RULE])}" if _has_ipv6() else ""
    text = _SCRIPT.format(list=shlex.join([*enter, *_LIST]), route=shlex.join([*enter, *_ROUTE]), rule=rule)
    return text.replace(later, '"$pid"')


def _enter(pid: str) -> list[str]:
    """Return the call of ip in the namespaces of a process. Users other than root also enter its user namespace."""
    user = [] if os.geteuid() == 0 else ["--preserve-credentials", "--user"]
    return [find_program("nsenter") or "nsenter", *user, "--net", f"--target={pid}", find_program("ip") or "ip"]


def _has_ipv6() -> bool:
    return os.path.exists("/proc/net/if_inet6")
