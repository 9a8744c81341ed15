# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find conmon, the runtimes and the cgroup manager of this host."""

from __future__ import annotations

import json
import os
import threading

from .._base.deadline import Deadline
from .._base.errors import InvalidOption, LongshoreError, MissingPrerequisite, NotInstalled
from .._base.files import make_directory, read_text, write_text
from .._base.program import find_program, run, user_runtime_directory
from .._base.versions import parse_program
from .._runtime.drivers import DRIVERS, driver_of
from .._state.model import CgroupManager, Program
from .._trust import trust
from . import cgroup, remembered

# Most distributions install conmon as a helper of podman, where podman looks for it (containers.conf(5)).
_CONMON_DIRECTORIES = (
    "/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/lib/podman", "/usr/local/lib/podman", "/usr/libexec/crio",
    "/run/current-system/sw/bin",
)  # fmt: skip
_MOST_BYTES = 1 << 16
_PACKAGES = "The role longshore.oci.runtime installs it."


def is_hybrid(where: cgroup.Layout) -> bool:
    """Tell whether cgroup v2 has controllers beside those in v1."""
    controllers = read_text(f"{where.v2}/cgroup.controllers") if where.mode == "hybrid" else ""
    return bool((controllers or "").strip())


def systemd_runs() -> bool:
    """Tell whether systemd runs, with the test of sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


class Host:
    """The programs of this host. A search starts no program. Each version is queried once, and nothing is written before
    ``remember``. Thread-safe.
    """

    def __init__(self, *, run_dir: str) -> None:
        self._run_dir = run_dir
        self._lock = threading.Lock()
        self._answers: dict[str, str] = {}

    def runtime(self, wanted: str) -> Program:
        """Return the runtime, ``auto`` or a name or path.

        Raises MissingPrerequisite if it is not there or cannot run on this host, and InvalidOption for a path that other
        users can change.
        """
        if wanted != "auto":
            path = find_program(wanted)
            if path is None:
                raise NotInstalled(f"The runtime {wanted} is not on this host.", hint=_PACKAGES)
            if "/" in wanted:  # The author of PATH is responsible for programs found there.
                trust.check(path, "The runtime")
            found = self._probe(path, runtime=True)
            if driver_of(found.name).refuses_hybrid and is_hybrid(cgroup.layout()):
                reason = f"{found.name} does not support hybrid cgroups (cgroup v1 with controllers in cgroup v2 too)"
                others = " or ".join(name for name, each in DRIVERS.items() if not each.refuses_hybrid)
                message = f"The runtime {wanted} cannot run on this host: {reason}."
                raise MissingPrerequisite(message, hint=f"Use {others}.")
            return found
        faults: list[LongshoreError] = []
        for name in DRIVERS:
            try:
                return self.runtime(name)
            except (InvalidOption, MissingPrerequisite) as exc:
                faults.append(exc)
        kind = NotInstalled if all(isinstance(each, NotInstalled) for each in faults) else MissingPrerequisite
        reasons = " ".join(each.message for each in faults)
        raise kind(f"No runtime can run on this host: {reasons}", hint=_PACKAGES)

    def conmon(self, wanted: str | None) -> Program:
        """Return conmon, the one of the distribution or the name or path ``wanted``.

        Raises MissingPrerequisite if it is not there or cannot run on this host, and InvalidOption for a path that other
        users can change.
        """
        path = find_program(wanted or "conmon", _CONMON_DIRECTORIES)
        if path is None:
            where = wanted or "PATH and the usual places"
            raise NotInstalled(f"conmon is not on this host ({where}).", hint=_PACKAGES)
        if wanted:
            trust.check(path, "conmon")
        return self._probe(path, runtime=False)

    def cgroup_manager(self, wanted: CgroupManager) -> CgroupManager:
        """Return the cgroup manager. Raises MissingPrerequisite if it is systemd and this user cannot get a scope."""
        if wanted is CgroupManager.CGROUPFS or (wanted is CgroupManager.AUTO and not systemd_runs()):
            return CgroupManager.CGROUPFS
        if not systemd_runs():
            hint = "Use cgroup_manager: cgroupfs, or auto."
            raise MissingPrerequisite("systemd does not run on this host.", hint=hint)
        bus = f"{user_runtime_directory()}/bus"
        if os.geteuid() != 0 and not os.path.exists(bus):
            reason = f"The user {os.geteuid()} has no session of systemd ({bus}), so it cannot get a scope."
            raise MissingPrerequisite(reason, hint="As root: loginctl enable-linger USER.")
        return CgroupManager.SYSTEMD

    def remember(self) -> None:
        """Save new answers in the run directory. Later tasks then need not start these programs, and find what runtimes without
        a record have left (orphans.py)."""
        with self._lock:
            known = remembered.load(self._run_dir)
            if not self._answers.items() <= known.items():
                make_directory(self._run_dir)
                write_text(f"{self._run_dir}/programs.json", json.dumps({**known, **self._answers}))

    def _probe(self, path: str, *, runtime: bool) -> Program:
        """Return the program with its version. This also detects a wrong architecture or missing libraries.

        A runtime gets the name that it reports, which may differ from that of its file. A runtime without a driver may report
        in its own format; it gets the name of its file.
        """
        base = os.path.basename(path)
        stat = os.stat(path)
        version_key = f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
        name_key = f"{version_key}{remembered.NAME}"
        with self._lock:
            if not self._answers:
                self._answers.update(remembered.load(self._run_dir))
            # An earlier release has written the version alone.
            if version_key not in self._answers or (runtime and name_key not in self._answers):
                try:
                    result = run([path, "--version"], Deadline(10), what="tell its version", most=_MOST_BYTES)
                except LongshoreError as exc:
                    raise MissingPrerequisite(exc.message, hint="Check that it is built for this machine.") from exc
                program = parse_program(result.stdout)
                if result.rc != 0 or (program is None and (not runtime or base in DRIVERS)):
                    said = (result.stderr or result.stdout).strip()[:300]
                    raise MissingPrerequisite(f"{path} cannot be used: its answer to --version was {said!r}.")
                name, self._answers[version_key] = program or (base, "unknown")
                if runtime:
                    self._answers[name_key] = name
            return Program(self._answers[name_key] if runtime else base, path, self._answers[version_key])
