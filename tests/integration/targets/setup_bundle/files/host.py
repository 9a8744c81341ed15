# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host can do, as JSON. Argument: a bundle to try the runtimes with.

Nothing here uses the collection: it is the truth that the collection's own judgement is held against.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def really_runs(runtime: str, bundle: str) -> bool:
    name = f"{os.path.basename(os.path.dirname(bundle))}-probe"
    with open(f"{bundle}/config.json", encoding="utf-8") as stream:
        config = json.load(stream)
    config["process"]["args"] = ["/bin/true"]
    config["root"]["path"] = f"{bundle}/rootfs"
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/config.json", "w", encoding="utf-8") as stream:
            json.dump(config, stream)
        argv = [runtime, "--root", f"{directory}/root"]
        run = subprocess.run(
            [*argv, "run", "--bundle", directory, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
        subprocess.run([*argv, "delete", "--force", name], capture_output=True, timeout=30, check=False)
    return run.returncode == 0


def cgroups() -> str:
    """unified, or else hybrid, legacy, or a mount namespace's own view."""
    with open("/proc/self/mounts", encoding="utf-8") as stream:
        kinds = {line.split()[2] for line in stream if line.split()[1].startswith("/sys/fs/cgroup")}
    if "cgroup" not in kinds:
        return "unified"
    return "hybrid" if "cgroup2" in kinds else "legacy"


def has_memory_controller() -> bool:
    if os.path.isdir("/sys/fs/cgroup/memory"):
        return True
    try:
        with open("/sys/fs/cgroup/cgroup.controllers", encoding="utf-8") as stream:
            return "memory" in stream.read().split()
    except FileNotFoundError:
        return False


def has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


def main() -> None:
    found = {name: shutil.which(name, path=PATH) for name in ("crun", "runc")}
    paths = {name: path for name, path in found.items() if path}
    systemd = os.path.isdir("/run/systemd/system")
    answer = {
        "cgroups": cgroups(),
        "memory": has_memory_controller(),
        "systemd": systemd,
        "journal": systemd and shutil.which("journalctl", path=PATH) is not None,
        "sctp": has_sctp(),
        "libraries": [name for name in ("psutil", "systemd") if importlib.util.find_spec(name)],
        "paths": paths,
        "runtimes": [name for name, path in paths.items() if really_runs(path, sys.argv[1])],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
