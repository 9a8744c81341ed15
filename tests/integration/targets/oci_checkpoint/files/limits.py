# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the limits of a process as JSON, as the kernel has them. Argument: its pid."""

from __future__ import annotations

import json
import os
import subprocess
import sys

TRIED = (
    "/canary", "/etc/canary", "/tmp/canary", "/usr/canary", "/proc/sys/kernel/domainname", "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity", "/sys/canary", "/sys/fs/cgroup/cgroup.procs", "/mounted/canary", "/dev/canary",
)  # fmt: skip
READ = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/acpi", "/proc/interrupts")


def main() -> None:
    pid = sys.argv[1]
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as stream:
        mounts = [line.split(" ")[4:6] for line in stream]
    with open(f"/proc/{pid}/status", encoding="utf-8") as stream:
        wanted = ("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp", "Umask")
        status = [line.split() for line in stream if line.startswith(wanted)]
    with open(f"/proc/{pid}/limits", encoding="utf-8") as stream:
        limits = stream.read().splitlines()
    with open(f"/proc/{pid}/oom_score_adj", encoding="utf-8") as stream:
        oom = stream.read()
    try:
        with open(f"/proc/{pid}/attr/current", encoding="utf-8") as stream:
            label = stream.read()
    except OSError:
        label = ""
    # CRIU gives a container a time namespace of its own, in which its clocks go on.
    kinds = [name for name in os.listdir(f"/proc/{pid}/ns") if not name.startswith("time")]
    namespaces = {name: os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}") for name in kinds}
    enter = ["nsenter", "-t", pid, "--mount", "--root", "--wd", "/bin/busybox"]
    writes = {
        path: subprocess.run([*enter, "sh", "-c", ': >>"$1"', "sh", path], capture_output=True, check=False).returncode
        == 0
        for path in TRIED
    }
    reads = {
        path: subprocess.run([*enter, "head", "-c", "9", path], capture_output=True, check=False).stdout != b""
        for path in READ
    }
    print(json.dumps({
        # crun masks files with the device null, which CRIU mounts writable; nothing is kept in there.
        "mounts": sorted([place, sorted({"ro", "nosuid", "nodev", "noexec"} & set(flags.split(",")))] for place, flags in mounts
                         if place not in ("/proc/timer_list", "/proc/keys", "/proc/kcore", "/proc/latency_stats", "/proc/sched_debug", "/proc/interrupts")),
        "places": sorted({place for place, _flags in mounts}), "status": status, "limits": limits, "oom": oom, "label": label,
        "namespaces": namespaces, "writes": writes, "reads": reads, "devices": sorted(os.listdir(f"/proc/{pid}/root/dev")),
    }, sort_keys=True))  # fmt: skip


if __name__ == "__main__":
    main()
