# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a container and its conmon are, and where this task is, as JSON. Arguments: their two pids."""

from __future__ import annotations

import json
import os
import sys
import typing as t


def stat(pid: int) -> list[str]:
    """The fields after the name: state, parent, process group, session, terminal, and so on."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()


def cgroups(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
        return sorted({line.strip().split(":", 2)[2] for line in stream})


def pipes(pid: int) -> set[str]:
    """Pipes and sockets that a process has open, which end with their last user only."""
    directory = f"/proc/{pid}/fd"
    links = (os.readlink(f"{directory}/{name}") for name in os.listdir(directory))
    return {link for link in links if link.startswith(("pipe:", "socket:"))}


def describe(pid: int) -> dict[str, t.Any]:
    _state, parent, _group, session, terminal = stat(pid)[:5]
    return {"cgroups": cgroups(pid), "parent": int(parent), "session": int(session), "terminal": int(terminal)}


def main() -> None:
    container, conmon = map(int, sys.argv[1:])
    ancestors, pid = [], os.getpid()
    while pid > 1:
        ancestors.append(pid)
        pid = int(stat(pid)[1])
    shared: set[str] = set()
    for pid in ancestors:
        try:
            shared |= pipes(pid)
        except FileNotFoundError:
            continue
        except OSError:
            # The directory that this very process reads is closed by the time its link is looked at.
            continue
    answer = {
        "container": describe(container),
        "conmon": {**describe(conmon), "shared": sorted(shared & pipes(conmon))},
        "task": {
            "cgroups": cgroups(os.getpid()),
            "ancestors": ancestors,
            "sessions": sorted({int(stat(pid)[3]) for pid in ancestors}),
        },
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
