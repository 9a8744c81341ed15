# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of a container's definition, which oci_container and oci_checkpoint share."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.text.formatters import human_to_bytes

from .._base.errors import InvalidOption
from .._state.model import CgroupManager, LogDriver, NetworkHelper, typed

# The fields of a container's definition. They have no defaults here: these come from the record or from Definition.
DEFINITION_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "bundle": {"type": "path"},
    "runtime": {"type": "str"},
    "runtime_root": {"type": "path"},
    "runtime_args": {"type": "list", "elements": "str"},
    "conmon": {"type": "path"},
    "conmon_env": {"type": "dict", "no_log": True},
    "cgroup_manager": {"type": "str", "choices": [each.value for each in CgroupManager]},
    "cgroup_parent": {"type": "str"},
    "log_driver": {"type": "str", "choices": [each.value for each in LogDriver]},
    "log_path": {"type": "path"},
    "log_size_max": {"type": "str"},
    "log_tag": {"type": "str"},
    "stdin": {"type": "bool"},
    "no_pivot": {"type": "bool"},
    "no_new_keyring": {"type": "bool"},
    "conmon_pidfile": {"type": "path"},
    "exit_command": {"type": "list", "elements": "str"},
    "exit_delay": {"type": "int"},
    "sdnotify": {"type": "str", "choices": ["ignore", "conmon", "container"]},
    "reserve_ports": {"type": "list", "elements": "str"},
    "listen": {"type": "list", "elements": "str"},
}
# Options that a restore does not have, here and below.
SERVICE_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "service": {"type": "bool"},
    "restart_policy": {"type": "str", "choices": ["no", "on-failure", "always"]},
}
# CRIU cannot dump the device of a helper.
NETWORK_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "network_helper": {"type": "str", "choices": [each.value for each in NetworkHelper]},
    "publish": {"type": "list", "elements": "str"},
    "network_options": {"type": "list", "elements": "str"},
}


def definition(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the given fields of a definition."""
    names = (*DEFINITION_ARGUMENTS, *SERVICE_ARGUMENTS, *NETWORK_ARGUMENTS)
    given = {name: params[name] for name in names if params.get(name) is not None}
    if "log_size_max" in given:
        try:
            given["log_size_max"] = human_to_bytes(given["log_size_max"])
        except ValueError as exc:
            raise InvalidOption(f"log_size_max is not a size: {exc}.") from exc
    given = {name: typed(name, value) for name, value in given.items()}
    if "conmon_env" in given:
        given["conmon_env"] = {str(name): str(value) for name, value in given["conmon_env"].items()}
    return given
