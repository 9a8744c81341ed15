# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""podman's command line, with everything of its own below the workspace."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess

from .clock import Lap
from .workspace import COMMAND, Workspace

NAME = "podman"


class Podman:
    def __init__(self, workspace: Workspace, *, runtime: str) -> None:
        self._workspace = workspace
        self._root = f"/run/{os.path.basename(runtime)}"
        self._had_root = os.path.exists(self._root)
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": f"{workspace.state}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{workspace.state}/storage.conf",
        }
        self._write_settings(runtime)

    def round(self, lap: Lap) -> None:
        with lap("create + start", NAME):
            self._podman(
                "run", "--detach", "--name", NAME, "--network", "none", "--cgroup-parent", self._workspace.cgroup,
                "--rootfs", self._workspace.rootfs, *COMMAND,
            )  # fmt: skip
        with lap("unchanged", "podman inspect"):
            self._podman("inspect", NAME)
        with lap("stop by SIGKILL", NAME):
            self._podman("stop", "--time", "0", NAME)
        with lap("remove", NAME):
            self._podman("rm", NAME)

    def remove_all(self) -> None:
        """podman names no state directory to the runtime, so what a broken run leaves there is podman's to remove."""
        subprocess.run(
            ["podman", "rm", "--all", "--force", "--time", "0"], env=self.environment, check=False, timeout=60,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if not self._had_root:
            with contextlib.suppress(OSError):  # Containers of another user may be there by now.
                os.rmdir(self._root)

    def _podman(self, *words: str) -> None:
        result = subprocess.run(
            ["podman", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise SystemExit(f"lifecycle: podman {words[0]} failed: {result.stderr.strip()}")

    def _write_settings(self, runtime: str) -> None:
        state, run = f"{self._workspace.state}/podman", f"{self._workspace.run}/podman"
        # The default limits of podman need CAP_SYS_RESOURCE if our own limits are lower, and it lowers
        # its own limit of processes to the largest pid first.
        with open("/proc/sys/kernel/pid_max", encoding="ascii") as stream:
            processes = _hard_limit(resource.RLIMIT_NPROC, int(stream.read()))
        files = _hard_limit(resource.RLIMIT_NOFILE, 1048576)
        limits = f'"nofile={files}:{files}", "nproc={processes}:{processes}"'
        self._write(
            "containers.conf",
            "[containers]", f"default_ulimits = [{limits}]", 'log_driver = "k8s-file"',
            "[engine]", 'cgroup_manager = "cgroupfs"', 'events_logger = "file"', 'lock_type = "file"',
            f'runtime = "{runtime}"', f'static_dir = "{state}/static"', f'tmp_dir = "{run}/tmp"',
            f'volume_path = "{state}/volumes"',
            "[network]", f'network_config_dir = "{state}/network"',
        )  # fmt: skip
        # The root file system is given as a directory, so no storage driver has a part in this: the simplest will do.
        self._write(
            "storage.conf",
            "[storage]", 'driver = "vfs"', f'graphroot = "{state}/storage"', f'runroot = "{run}/storage"',
        )  # fmt: skip

    def _write(self, name: str, *lines: str) -> None:
        with open(f"{self._workspace.state}/{name}", "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")


def _hard_limit(which: int, most: int) -> int:
    hard = resource.getrlimit(which)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)
