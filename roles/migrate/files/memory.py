# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident memory of all processes of a cgroup, in bytes. Argument: its path. Shared pages count more than once."""

from __future__ import annotations

import contextlib
import os
import re
import sys


def main() -> None:
    pids = set()
    for directory, _children, files in os.walk("/sys/fs/cgroup"):
        if f"{sys.argv[1]}/" in f"{directory}/" and "cgroup.procs" in files:
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as stream:
                pids |= set(stream.read().split())
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
            found = re.search(r"^VmRSS:\s+(\d+) kB", stream.read(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    print(total)


if __name__ == "__main__":
    main()
