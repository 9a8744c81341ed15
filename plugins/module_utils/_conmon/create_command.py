# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of conmon for a create or restore."""

from __future__ import annotations

from .._base.errors import MissingPrerequisite
from .._state.model import CgroupManager, Definition, LogDriver, Record
from .._state.store import Paths
from .conmon import SINCE, common_argv, has

# The option of ours that asks for an option of conmon's.
_ASKED_BY = {"log_tag": "--log-tag", "exit_delay": "--exit-delay"}


def check_options(definition: Definition, version: str) -> None:
    """Raise MissingPrerequisite for an option that this conmon lacks, with the version that has it."""
    asked = [(name, option) for name, option in _ASKED_BY.items() if getattr(definition, name) is not None]
    if definition.sdnotify == "container":
        asked.append(("sdnotify", "--sdnotify-socket"))
    for name, option in asked:
        if not has(version, option):
            since = ".".join(map(str, SINCE[option]))
            raise MissingPrerequisite(f"The option {name} needs conmon {since} or newer; this host has {version}.")


def create_argv(record: Record, paths: Paths, *, terminal: bool) -> list[str]:
    """Return the command line of conmon for a create or restore."""
    definition = record.definition
    log = f"k8s-file:{record.log_path}" if definition.log_driver is LogDriver.K8S_FILE else definition.log_driver.value
    # Never the log level debug: those lines would mix with what the container says.
    argv = [
        *common_argv(record, paths, uuid=record.runtime_id, log=log),
        "--conmon-pidfile", definition.conmon_pidfile or paths.conmon_pidfile,
        "--log-level", "warning", "--syslog",
    ]  # fmt: skip
    flags = {
        "--systemd-cgroup": record.cgroup_manager is CgroupManager.SYSTEMD,
        "--terminal": terminal, "--stdin": definition.stdin and not terminal,
        # CRIU does neither, and crun does not know these options then.
        "--no-pivot": definition.no_pivot and not record.checkpoint,
        "--no-new-keyring": definition.no_new_keyring and not record.checkpoint,
    }  # fmt: skip
    values = {
        "--log-size-max": definition.log_size_max, "--log-tag": definition.log_tag,
        "--sdnotify-socket": paths.ready_socket if definition.sdnotify == "container" else None,
        "--exit-delay": definition.exit_delay,
    }  # fmt: skip
    argv += [flag for flag, asked in flags.items() if asked]
    if record.checkpoint:
        argv += ["--restore", f"{record.checkpoint.path}/checkpoint"]
        argv += [f"--runtime-opt={word}" for word in record.checkpoint.options]
    if definition.exit_command:
        argv += ["--exit-command", definition.exit_command[0]]
        argv += [f"--exit-command-arg={word}" for word in definition.exit_command[1:]]
    argv += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    return argv
