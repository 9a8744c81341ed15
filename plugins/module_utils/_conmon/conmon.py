# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon, the monitor of one container: its command line, and which version has which option.

The interface is that of conmon 2.0 to 2.2 (conmon.c, cli.c, ctr_exit.c), which podman also uses.
"""

from __future__ import annotations

import os

from .._base.deadline import Deadline
from .._base.errors import MissingPrerequisite
from .._base.versions import numbers
from .._host import cgroup
from .._runtime.runtime import global_arguments
from .._state import names
from .._state.model import Definition, Record
from .._state.store import Paths

# The first version with an option (tags of conmon's repository). All versions have the other options.
SINCE = {
    "--log-tag": (2, 0, 3), "--persist-dir": (2, 0, 5), "--exit-delay": (2, 0, 17), "--sdnotify-socket": (2, 0, 22),
    "--full-attach": (2, 0, 23),
}  # fmt: skip


def has(version: str, option: str) -> bool:
    return numbers(version) >= SINCE.get(option, (0,))


def common_argv(record: Record, paths: Paths, *, uuid: str, log: str) -> list[str]:
    """Return the part of conmon's command line that all launches share, without options that this version lacks."""
    version = record.conmon.version
    argv = [
        record.conmon.path, "--api-version", "1",
        "--cid", record.runtime_id, "--cuuid", uuid,
        "--name", record.name,
        "--runtime", record.runtime.path,
        "--bundle", paths.bundle,
        "--container-pidfile", paths.pidfile,
        "--exit-dir", paths.exits,
        "--log-path", log,
    ]  # fmt: skip
    # Without --full-attach, conmon uses a socket directory that only CRI-O has.
    argv += ["--full-attach"] if has(version, "--full-attach") else ["--socket-dir-path", paths.run]
    if has(version, "--persist-dir"):
        argv += ["--persist-dir", paths.persist]
    return argv + [f"--runtime-arg={word}" for word in global_arguments(record, paths.runtime_log)]


def place(record: Record, pid: int, deadline: Deadline) -> None:
    """Move conmon out of the session that starts it, into a cgroup that is not the container's own."""
    if record.cgroup_manager == "systemd":
        from .._host import systemd

        with systemd.Bus(user=os.geteuid() != 0, deadline=deadline) as bus:
            unit, description = (names.conmon_unit(record.name, record.realm), f"conmon of the container {record.name}")
            bus.start_scope(unit, pid=pid, parent=names.cgroup_parent(record), description=description)
    else:
        cgroup.place(names.conmon_cgroup(record), pid)


# The option of ours that asks for an option of conmon's.
_ASKED_BY = {"log_tag": "--log-tag", "exit_delay": "--exit-delay"}


def check_options(definition: Definition, version: str) -> None:
    """Raises InvalidOption for an option that this conmon lacks, with the version that has it."""
    asked = [(name, option) for name, option in _ASKED_BY.items() if getattr(definition, name) is not None]
    if definition.sdnotify == "container":
        asked.append(("sdnotify", "--sdnotify-socket"))
    for name, option in asked:
        if not has(version, option):
            since = ".".join(map(str, SINCE[option]))
            raise MissingPrerequisite(f"The option {name} needs conmon {since} or newer; this host has {version}.")


def create_argv(record: Record, paths: Paths, *, terminal: bool) -> list[str]:
    """The command line of conmon for a create or restore."""
    wanted = record.definition
    log = f"k8s-file:{record.log_path}" if wanted.log_driver == "k8s-file" else wanted.log_driver
    # Never the log level debug: those lines would mix with what the container says.
    argv = [
        *common_argv(record, paths, uuid=record.runtime_id, log=log),
        "--conmon-pidfile", wanted.conmon_pidfile or paths.conmon_pidfile,
        "--log-level", "warning", "--syslog",
    ]  # fmt: skip
    flags = {
        "--systemd-cgroup": record.cgroup_manager == "systemd",
        "--terminal": terminal, "--stdin": wanted.stdin and not terminal,
        # CRIU does neither, and crun does not know these options then.
        "--no-pivot": wanted.no_pivot and not record.checkpoint,
        "--no-new-keyring": wanted.no_new_keyring and not record.checkpoint,
    }  # fmt: skip
    values = {
        "--log-size-max": wanted.log_size_max, "--log-tag": wanted.log_tag,
        "--sdnotify-socket": paths.ready_socket if wanted.sdnotify == "container" else None,
        "--exit-delay": wanted.exit_delay,
    }  # fmt: skip
    argv += [flag for flag, asked in flags.items() if asked]
    if record.checkpoint:
        argv += ["--restore", f"{record.checkpoint.path}/checkpoint"]
        argv += [f"--runtime-opt={word}" for word in record.checkpoint.options]
    if wanted.exit_command:
        argv += ["--exit-command", wanted.exit_command[0]]
        argv += [f"--exit-command-arg={word}" for word in wanted.exit_command[1:]]
    argv += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    return argv
