# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find conmon, the runtimes and the cgroup manager of this host."""

from __future__ import annotations

import json
import os
import threading

from .._base.deadline import Deadline
from .._base.errors import EngineError, InvalidInput
from .._base.files import make_directory, read_json, read_text, write_text
from .._base.program import find_program, run, user_runtime_directory
from .._base.versions import parse_version
from .._state.model import Program
from .._trust import trust
from . import cgroup

RUNTIMES = ("crun", "runc")  # in the order of preference
# Most distributions install conmon as a helper of podman, where podman looks for it (containers.conf(5)).
_CONMON_DIRECTORIES = (
    "/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/lib/podman", "/usr/local/lib/podman", "/usr/libexec/crio",
    "/run/current-system/sw/bin",
)  # fmt: skip
_PACKAGES = "The role longshore.oci.runtime installs it."


def crun_refuses(where: cgroup.Layout) -> str | None:
    """Return the reason why crun refuses this host's cgroups, or None. crun itself reports it only at the first create."""
    controllers = read_text(f"{where.v2}/cgroup.controllers") if where.mode == "hybrid" else ""
    if (controllers or "").strip():
        return "crun does not support hybrid cgroups (cgroup v1 with controllers in cgroup v2 too)"
    return None


def systemd_runs() -> bool:
    """Tell whether systemd runs, with the test of sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


class Host:
    """The programs of this host. A search starts no program. Versions are queried once and cached in the run directory.

    ``remember`` False (check mode) writes nothing. Thread-safe.
    """

    def __init__(self, *, run_dir: str, remember: bool = True) -> None:
        self._cache = f"{run_dir}/programs.json"
        self._remember = remember
        self._lock = threading.Lock()
        self._versions: dict[str, str] = {}

    def runtime(self, wanted: str) -> Program:
        """Return the runtime. Raises InvalidInput if none can run on this host."""
        if wanted != "auto":
            path = find_program(wanted)
            if path is None:
                raise InvalidInput(f"The runtime {wanted} is not on this host.", hint=_PACKAGES)
            if "/" in wanted:  # The author of PATH is responsible for programs found there.
                trust.check(path, "The runtime")
            reason = crun_refuses(cgroup.layout()) if os.path.basename(path) == "crun" else None
            if reason:
                raise InvalidInput(f"The runtime {wanted} cannot run on this host: {reason}.", hint="Use runc.")
            return self._probe(path, known=os.path.basename(path) in RUNTIMES)
        reasons = []
        for name in RUNTIMES:
            try:
                return self.runtime(name)
            except InvalidInput as exc:
                reasons.append(exc.message)
        raise InvalidInput("No runtime can run on this host: " + " ".join(reasons), hint=_PACKAGES)

    def conmon(self, wanted: str | None) -> Program:
        path = find_program(wanted or "conmon", _CONMON_DIRECTORIES)
        if path is None:
            raise InvalidInput(f"conmon is not on this host ({wanted or 'PATH and the usual places'}).", hint=_PACKAGES)
        if wanted:
            trust.check(path, "conmon")
        return self._probe(path, known=True)

    def cgroup_manager(self, wanted: str) -> str:
        """Return the cgroup manager. Raises InvalidInput if it is systemd and this user cannot get a scope."""
        manager = ("systemd" if systemd_runs() else "cgroupfs") if wanted == "auto" else wanted
        if manager == "systemd" and not systemd_runs():
            raise InvalidInput("systemd does not run on this host.", hint="Use cgroup_manager: cgroupfs, or auto.")
        if manager == "systemd" and os.geteuid() != 0 and not os.path.exists(f"{user_runtime_directory()}/bus"):
            raise InvalidInput(
                f"The user {os.geteuid()} has no session of systemd ({user_runtime_directory()}/bus), so it cannot get a scope.",
                hint="As root: loginctl enable-linger USER.",
            )
        return manager

    def _probe(self, path: str, *, known: bool) -> Program:
        """Return the version of a program. This also detects a wrong architecture or missing libraries."""
        stat = os.stat(path)
        key = f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
        with self._lock:
            if not self._versions:
                self._versions.update(read_json(self._cache) or {})
            if key not in self._versions:
                try:
                    result = run([path, "--version"], Deadline(10), what="tell its version")
                except EngineError as exc:
                    raise InvalidInput(exc.message, hint="Check that it is built for this machine.") from exc
                version = parse_version(result.stdout)
                if result.rc != 0 or version is None:
                    # Another runtime may use another format, but not conmon, crun and runc.
                    if result.rc != 0 or known:
                        said = (result.stderr or result.stdout).strip()[:300]
                        raise InvalidInput(f"{path} cannot be used: its answer to --version was {said!r}.")
                    version = "unknown"
                self._versions[key] = version
                if self._remember:
                    make_directory(os.path.dirname(self._cache))
                    write_text(self._cache, json.dumps(self._versions))
            return Program(os.path.basename(path), path, self._versions[key])
