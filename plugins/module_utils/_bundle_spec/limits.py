# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the limits of a container: linux.resources and process.rlimits of a config.json. Pure.

``0`` and ``-1`` mean what they mean to docker and podman: no limit (0), or none on purpose (-1).
"""

from __future__ import annotations

import math
import re
import typing as t

from .._base.errors import InvalidOption
from .._config.sizes import MOST, NO_LIMIT, parse_limit, parse_size
from . import parse
from .options import Facts, Options

Config = dict[str, t.Any]

# Soft and hard limits, without which a container would have those of its task's session. Open files: as podman gets from a session of
# systemd; hard and soft are the same, because runc 1.1.5 gives a command the hard limit also as its soft limit. Processes: above the
# limit of pids. The others are the kernel's defaults (Linux 5.16), except those that depend on the memory of the host.
LIMITS = {
    **{f"RLIMIT_{name}": (parse.UNLIMITED, parse.UNLIMITED) for name in ("AS", "CPU", "DATA", "FSIZE", "RSS", "RTTIME")},
    "RLIMIT_CORE": (0, parse.UNLIMITED), "RLIMIT_MEMLOCK": (8 << 20, 8 << 20), "RLIMIT_MSGQUEUE": (819200, 819200),
    "RLIMIT_NICE": (0, 0), "RLIMIT_NOFILE": (524288, 524288), "RLIMIT_NPROC": (65536, 65536), "RLIMIT_RTPRIO": (0, 0),
    "RLIMIT_SIGPENDING": (65536, 65536), "RLIMIT_STACK": (8 << 20, parse.UNLIMITED),
}  # fmt: skip
PIDS = 2048
_MOST_PIDS = 1 << 22  # PID_MAX_LIMIT of any kernel with 64 bits
_PERIOD = 100000  # microseconds, as in docker and podman
_SHARES = (2, 262144)  # cgroup v1's, which the runtimes convert for v2
_LEAST_MEMORY = 6 << 20  # as in docker: no runtime starts a program with less
_MOST_CPUS = 8192  # of any kernel


def rlimits(options: Options, facts: Facts) -> list[Config]:
    """Return the limits. Without them, a container would have those of its task's session, and commands those of another."""
    limits, pids = {}, PIDS if options.pids_limit is None else options.pids_limit
    for kind, (soft, hard) in LIMITS.items():
        if kind == "RLIMIT_NPROC":  # Above the limit of pids. It also counts processes of the same user outside.
            soft = hard = max(hard, min(pids, _MOST_PIDS) if pids > 0 else _MOST_PIDS)
        most = facts.most.get(kind, hard)
        hard = hard if most >= hard else _stable(most)
        limits[kind] = {"type": kind, "soft": min(soft, hard), "hard": hard}
    given = [parse.ulimit(value) for value in options.ulimits]
    for one in given:
        kind, name, most = one["type"], one["type"][7:].lower(), facts.most.get(one["type"], parse.UNLIMITED)
        if [other["type"] for other in given].count(kind) > 1:
            raise InvalidOption(f"ulimits contains {name} twice.")
        for key in ("soft", "hard"):
            if one[key] == parse.UNLIMITED and most != parse.UNLIMITED:
                # As in podman: as much as possible. A hard limit that is not stable is better than one below the soft limit.
                one[key] = max(_stable(most), one["soft"] if one["soft"] <= most else 0)
            elif one[key] > most:
                hint = f"Use at most {most}, or -1 for as much as possible."
                raise InvalidOption(
                    f"The ulimit {name} cannot be {one[key]}: no container of this user can have that.", hint=hint
                )
        limits[kind] = one
    return list(limits.values())


def _stable(most: int) -> int:
    """Return the largest power of two: the kernel's default depends on the memory of the host, which varies slightly."""
    return 1 << most.bit_length() - 1 if most else 0


def resources(options: Options, facts: Facts) -> Config:
    rules: list[Config] = [{"allow": options.privileged, "access": "rwm"}]
    for device, access in facts.devices if not options.privileged else ():
        rules.append({"allow": True, "access": access, **{key: device[key] for key in ("type", "major", "minor")}})
    found: Config = {"devices": rules, "memory": _memory(options, facts), "cpu": _cpu(options)}
    pids = PIDS if options.pids_limit is None else _pids(options.pids_limit)
    # Without the controller, runtimes refuse even "no limit". A requested limit is left to them to refuse.
    if facts.pids or (options.pids_limit or 0) > 0:
        found["pids"] = {"limit": pids if pids > 0 else -1}
    return {key: value for key, value in found.items() if value}


def _memory(options: Options, facts: Facts) -> dict[str, int]:
    """Return the limits in bytes. ``swap`` is the sum of memory and swap, and twice the memory by default, as in podman."""
    names = {"limit": "memory", "reservation": "memory_reservation"}
    sizes = {key: parse_limit(getattr(options, name) or "0", name) for key, name in names.items()}
    memory = {key: value for key, value in sizes.items() if value is not None}
    for key, size in memory.items():
        if size < _LEAST_MEMORY:
            hint = "Use a size such as 512m. A number alone means bytes."
            raise InvalidOption(
                f"{names[key]} cannot be less than 6m, and {getattr(options, names[key])} is.", hint=hint
            )
    limit, wanted = memory.get("limit"), str(options.memory_swap or "0").strip().lower()
    if limit is not None and memory.get("reservation", 0) > limit:
        raise InvalidOption("memory_reservation cannot be more than memory.")
    if limit is None and wanted not in ("0", *NO_LIMIT):
        raise InvalidOption("memory_swap is the sum of memory and swap. It needs memory.")
    if limit is not None and facts.swap:
        swap = None if wanted in NO_LIMIT else parse_size(wanted, "memory_swap") or min(2 * limit, MOST)
        if swap is not None and swap < limit:
            raise InvalidOption("memory_swap is the sum of memory and swap, so it cannot be less than memory.")
        memory["swap"] = -1 if swap is None else swap
    return memory


def _cpu(options: Options) -> Config:
    cpu: Config = {}
    if options.cpu_shares:
        if not _SHARES[0] <= options.cpu_shares <= _SHARES[1]:
            raise InvalidOption(f"cpu_shares cannot be {options.cpu_shares}.", hint="Use a number from 2 to 262144.")
        cpu["shares"] = options.cpu_shares
    if options.cpuset_cpus:
        if not re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", options.cpuset_cpus):
            raise InvalidOption(
                f"cpuset_cpus cannot be {options.cpuset_cpus[:100]!r}.", hint="Use a list such as 0-3,5."
            )
        for part in options.cpuset_cpus.split(","):
            first, dash, last = part.partition("-")
            if dash and int(first) > int(last):
                raise InvalidOption(f"cpuset_cpus cannot have {part}.", hint=f"Did you mean {last}-{first}?")
        cpu["cpus"] = _ranges(options.cpuset_cpus)
    cpus = options.cpus or 0
    if not math.isfinite(cpus) or not (cpus == 0 or 0.01 <= cpus <= _MOST_CPUS):
        raise InvalidOption(f"cpus cannot be {cpus}.", hint="Use a number from 0.01 up, such as 1.5. 0 means no limit.")
    if cpus:
        cpu.update(period=_PERIOD, quota=round(cpus * _PERIOD))
    return cpu


def _ranges(text: str) -> str:
    """Return the one list of ranges that has the same processors."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((int(part.split("-")[0]), int(part.split("-")[-1])) for part in text.split(",")):
        if found and first <= found[-1][1] + 1:
            first, last = found[-1][0], max(last, found.pop()[1])
        found.append((first, last))
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in found)


def oom_score(options: Options) -> int | None:
    score = options.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        raise InvalidOption(f"oom_score_adj cannot be {score}.", hint="Use a number from -1000 to 1000.")
    return score


def _pids(number: int) -> int:
    if number > _MOST_PIDS:
        hint = f"Use at most {_MOST_PIDS}, or -1 for no limit."
        raise InvalidOption(f"pids_limit cannot be {str(number)[:30]}: it is too large for the kernel.", hint=hint)
    return number
