# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon, the monitor of one container: its command line, and which version has which option.

The interface is that of conmon 2.0 to 2.2 (conmon.c, cli.c, ctr_exit.c), which podman also uses.
"""

from __future__ import annotations

import os

from .._base.deadline import Deadline
from .._base.versions import numbers
from .._host import cgroup
from .._runtime.runtime import global_arguments
from .._state import names
from .._state.model import CgroupManager, Record
from .._state.store import Paths

# The first version with an option (tags of conmon's repository). All versions have the other options.
SINCE = {
    "--log-tag": (2, 0, 3), "--persist-dir": (2, 0, 5), "--exit-delay": (2, 0, 17), "--sdnotify-socket": (2, 0, 22),
    "--full-attach": (2, 0, 23),
}  # fmt: skip
_MARGIN = 10.0  # seconds in a shutdown, from the end of a container to that of conmon


def has(version: str, option: str) -> bool:
    return numbers(version) >= SINCE.get(option, (0,))


def common_argv(record: Record, paths: Paths, *, uuid: str, log: str) -> list[str]:
    """Return the part of conmon's command line that all launches share, without options that this version lacks.

    conmon writes the exit code to its persist directory first, and writes no second one if that fails (conmon 2.0 to 2.2). So the
    first is in the run directory, where room is kept for it (conmon_launch), and the second on the disk, which may be full.
    """
    version = record.conmon.version
    argv = [
        record.conmon.path, "--api-version", "1",
        "--cid", record.runtime_id, "--cuuid", uuid,
        "--name", record.name,
        "--runtime", record.runtime.path,
        "--bundle", paths.bundle,
        "--container-pidfile", paths.pidfile,
        "--exit-dir", paths.persist,
        "--log-path", log,
    ]  # fmt: skip
    # Without --full-attach, conmon uses a socket directory that only CRI-O has.
    argv += ["--full-attach"] if has(version, "--full-attach") else ["--socket-dir-path", paths.run]
    if has(version, "--persist-dir"):
        argv += ["--persist-dir", paths.exits]
    return argv + [f"--runtime-arg={word}" for word in global_arguments(record, paths.runtime_log)]


def place(record: Record, pid: int, deadline: Deadline) -> None:
    """Move conmon out of the session that starts it, into a cgroup that is not the container's own."""
    if record.cgroup_manager is CgroupManager.SYSTEMD:
        from .._config.stop_contract import microseconds
        from .._host import systemd

        with systemd.Bus(user=os.geteuid() != 0, deadline=deadline) as bus:
            unit, description = (names.conmon_unit(record.name, record.realm), f"conmon of the container {record.name}")
            limit = microseconds(record.stop_timeout + _MARGIN)
            bus.start_scope(unit, pid=pid, parent=names.cgroup_parent(record), description=description, limit=limit)
    else:
        cgroup.place(names.conmon_cgroup(record), pid)
