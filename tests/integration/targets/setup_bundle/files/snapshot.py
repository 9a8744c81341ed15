# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything on this host that belongs to one target, as JSON. Arguments: its prefix, its directory, its run directory.

Whatever a container of the target is made of has the prefix in it: names, paths, command lines and environments. Other
work on the host can therefore not disturb a comparison.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
import subprocess
import sys


def ancestors() -> set[str]:
    """This process and those that it comes from: Ansible's own, which have the prefix in their arguments."""
    found, pid = set(), str(os.getpid())
    while pid not in ("0", ""):
        found.add(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            pid = stream.read().rpartition(")")[2].split()[1]
    return found


def processes(prefix: str) -> list[str]:
    """Those with the prefix in their command line or cgroup: conmon, runtimes, and what runs in containers."""
    found, own = [], ancestors()
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        if pid in own:
            continue
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as stream:
                words = stream.read().replace("\0", " ").strip()
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
                cgroups = stream.read()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # A zombie has no command line: it is dead, and its parent's business. Ansible's own are known by their temporary files.
        if words and "AnsiballZ" not in words and prefix in words + cgroups:
            found.append(f"{pid} {max(cgroups.split(), key=len)} {words}")
    return found


def files(*directories: str) -> dict[str, str]:
    """Every file with its kind, mode, owner, time of change and content."""
    found = {}
    for top in directories:
        for directory, names, others in os.walk(top):
            for path in [directory, *(os.path.join(directory, name) for name in names + others)]:
                try:
                    found[path] = describe(path)
                except FileNotFoundError:
                    continue
    return found


def describe(path: str) -> str:
    status = os.lstat(path)
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {status.st_ino} {status.st_mtime_ns}"
    if stat.S_ISLNK(status.st_mode):
        return f"{text} {os.readlink(path)}"
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            return f"{text} {hashlib.sha256(stream.read()).hexdigest()}"
    return text


def cgroups(prefix: str) -> list[str]:
    return sorted(
        os.path.join(directory, name)
        for directory, names, _others in os.walk("/sys/fs/cgroup")
        for name in names
        if prefix in name
    )


def units(prefix: str) -> list[str]:
    if not os.path.isdir("/run/systemd/system"):
        return []
    manager = ["--user"] if os.geteuid() != 0 else []
    argv = ["systemctl", *manager, "list-units", "--all", "--plain", "--no-legend", f"*{prefix}*"]
    listed = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return sorted(line.strip() for line in listed.stdout.splitlines() if ".scope" in line)


def networks(prefix: str) -> list[str]:
    """Network namespaces, and the ends of their cables on the host, which say by their alias whose they are."""
    found = [path for path in glob.glob("/run/netns/*") if prefix in path]
    for path in glob.glob("/sys/class/net/*/ifalias"):
        with open(path, encoding="utf-8", errors="replace") as stream:
            found += [path] if prefix in stream.read() else []
    return sorted(found)


def listing(*directories: str) -> list[str]:
    """What is there, but for what crun 1.28 keeps for itself beside its containers (.empty-directory)."""
    return sorted(
        f"{top}/{name}" for top in directories if os.path.isdir(top) for name in os.listdir(top) if name[0] != "."
    )


def main() -> None:
    prefix, directory, run = sys.argv[1:]
    answer = {
        "processes": processes(prefix),
        "cgroups": cgroups(prefix),
        "units": units(prefix),
        # Each runtime has a directory of its own there, under whatever name it goes.
        "runtime_state": listing(
            *(path for path in listing(run) if os.path.basename(path) not in ("containers", "locks"))
        ),
        "records": listing(
            f"{directory}/state/containers",
            f"{directory}/state/bundles",
            f"{directory}/state/networks",
            f"{run}/containers",
            f"{run}/locks",
        ),
        "networks": networks(prefix),
        "files": files(directory, run),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
