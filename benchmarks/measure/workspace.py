# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for one run: directories, a bundle, a cgroup, and the end of everything that was started in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from module_utils._host import cgroup, cgroup_removal

COMMAND = ["/bin/sleep", "1000000"]


class Workspace:
    """As a context manager it removes all traces at the end, however that comes.

    Like the real directories of each candidate, ``state`` is on disk and ``run`` below /run. The unique name is in the
    command line or environment of every process that is started, and in the path of every cgroup: by that they are
    found again.
    """

    def __init__(self) -> None:
        self.state = tempfile.mkdtemp(prefix="longshore-benchmark-", dir="/var/tmp")
        self.name = os.path.basename(self.state)
        self.run = f"/run/{self.name}"
        self.cgroup = f"/{self.name}"
        self.bundle = f"{self.state}/bundle"
        self.rootfs = f"{self.bundle}/rootfs"

    def __enter__(self) -> Workspace:
        os.mkdir(self.run, 0o700)
        return self

    def __exit__(self, *_exc: object) -> None:
        # A second Ctrl-C must not leave half of it behind.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._sweep()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def make_bundle(self, runtime: str) -> None:
        """The runtime's own example of a config, with a process that stays, in a root file system of busybox alone."""
        os.makedirs(f"{self.rootfs}/bin")
        for name in ("dev", "etc", "proc", "run", "sys", "tmp"):
            os.mkdir(f"{self.rootfs}/{name}")
        shutil.copy(_static_busybox(), f"{self.rootfs}/bin/busybox")
        for name in ("sh", "sleep", "true"):
            os.symlink("busybox", f"{self.rootfs}/bin/{name}")
        subprocess.run([runtime, "spec"], cwd=self.bundle, check=True, stdin=subprocess.DEVNULL)
        path = f"{self.bundle}/config.json"
        with open(path, encoding="utf-8") as stream:
            config = json.load(stream)
        config["process"].update(args=COMMAND, terminal=False)
        config["root"] = {"path": "rootfs", "readonly": False}
        config["linux"].pop("resources", None)
        config["linux"]["cgroupsPath"] = f"{self.cgroup}/bare/container"
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(config, stream)

    def _sweep(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end and self._kill():
            time.sleep(0.05)
        cgroup_removal.remove(self.cgroup)
        for place in (self.state, self.run):
            _unmount_below(place)
            shutil.rmtree(place, ignore_errors=True)
        left = [path for path in (self.state, self.run, *cgroup.directories(self.cgroup)) if os.path.exists(path)]
        if left:
            print(f"These could not be removed: {' '.join(left)}", flush=True)

    def _kill(self) -> bool:
        """Whether there was still anybody. Again and again, since an exit command may follow."""
        pids = {process.pid for process in cgroup_removal.members(self.cgroup)}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid() and self._is_ours(entry):
                pids.add(int(entry))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def _is_ours(self, pid: str) -> bool:
        """By its environment too: Ansible hands a module over on standard input, so its command line says nothing."""
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as stream:
                    if self.name.encode() in stream.read():
                        return True
            except OSError:
                pass  # Gone just now.
        return False


def _static_busybox() -> str:
    path = shutil.which("busybox")
    if path is None:
        raise SystemExit("lifecycle: there is no busybox: install a static one (Debian: busybox-static)")
    with open(path, "rb") as stream:
        if b"/ld-" in stream.read(4096):
            raise SystemExit(f"lifecycle: {path} needs shared libraries: install a static one (Debian: busybox-static)")
    return path


def _unmount_below(place: str) -> None:
    with open("/proc/self/mounts", encoding="utf-8") as stream:
        mounts = [line.split(" ")[1] for line in stream]
    for mount in reversed(mounts):
        if mount.startswith(f"{place}/"):
            subprocess.run(["umount", "--lazy", mount], check=False)
