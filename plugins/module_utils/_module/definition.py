# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of a container's definition, which oci_container and oci_checkpoint share."""

from __future__ import annotations

import typing as t

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
    "log_driver": {"type": "str", "choices": ["auto", *(each.value for each in LogDriver)]},
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
    if given.get("log_driver") == "auto":
        del given["log_driver"]
    if "log_size_max" in given:
        from .._config.sizes import parse_limit

        given["log_size_max"] = parse_limit(given["log_size_max"], "log_size_max") or 0
    given = {name: typed(name, value) for name, value in given.items()}
    if "conmon_env" in given:
        for name, value in given["conmon_env"].items():
            # YAML turns an unquoted yes, null or 1.10 into another value.
            if isinstance(value, bool) or not isinstance(name, str) or not isinstance(value, (str, int)):
                raise InvalidOption(
                    f"conmon_env: the value of {str(name)[:100]} must be text.", hint="Put it in quotes."
                )
        given["conmon_env"] = {name: str(value) for name, value in given["conmon_env"].items()}
    return given
