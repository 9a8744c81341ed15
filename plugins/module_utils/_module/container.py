# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_container, what they ask for, and what it returns."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.formatters import human_to_bytes

from .._base.errors import InvalidInput
from .._base.process import parse_signal
from .._container.observe import describe
from .._lifecycle.containers import Outcome
from .._state.model import Definition, Desired, Goal, Recreate, Timeouts
from .boundary import DIRECTORY_ARGUMENTS
from .diff import diff

# The fields of a container's definition. They have no defaults here: these come from the record or from Definition.
DEFINITION_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "bundle": {"type": "path"},
    "runtime": {"type": "str"},
    "runtime_root": {"type": "path"},
    "runtime_args": {"type": "list", "elements": "str"},
    "conmon": {"type": "path"},
    "conmon_env": {"type": "dict", "no_log": True},
    "cgroup_manager": {"type": "str", "choices": ["auto", "systemd", "cgroupfs"]},
    "cgroup_parent": {"type": "str"},
    "log_driver": {"type": "str", "choices": ["k8s-file", "journald", "none", "passthrough"]},
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
    "network_helper": {"type": "str", "choices": ["none", "slirp4netns", "pasta"]},
    "publish": {"type": "list", "elements": "str"},
    "network_options": {"type": "list", "elements": "str"},
}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "default": "started", "choices": [goal.value for goal in Goal]},
    "recreate": {"type": "str", "default": "changed", "choices": [choice.value for choice in Recreate]},
    "restore": {"type": "bool", "default": True},
    "stop_signal": {"type": "str"},
    "stop_timeout": {"type": "float"},
    "kill_timeout": {"type": "float", "default": 5},
    "create_timeout": {"type": "float", "default": 240},
    "ready_timeout": {"type": "float"},
    **DEFINITION_ARGUMENTS,
    **SERVICE_ARGUMENTS,
    **NETWORK_ARGUMENTS,
    **DIRECTORY_ARGUMENTS,
}


def desired(params: t.Mapping[str, t.Any]) -> Desired:
    """Return the desired container. Raises InvalidInput for impossible values."""
    for name in ("stop_timeout", "kill_timeout", "create_timeout", "ready_timeout", "exit_delay"):
        if (params[name] or 0) < 0:
            raise InvalidInput(f"{name} cannot be negative.")
    given = definition(params)
    return Desired(
        name=params["name"],
        goal=Goal(params["state"]),
        definition=Definition(**given) if "bundle" in given else None,
        overrides={} if "bundle" in given else given,
        recreate=Recreate(params["recreate"]),
        restore=params["restore"],
        stop_signal=None if params["stop_signal"] is None else parse_signal(params["stop_signal"]),
        timeouts=Timeouts(*(params[f"{name}_timeout"] for name in Timeouts._fields)),
    )


def definition(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the given fields of a definition."""
    names = (*DEFINITION_ARGUMENTS, *SERVICE_ARGUMENTS, *NETWORK_ARGUMENTS)
    given = {name: params[name] for name in names if params.get(name) is not None}
    if "log_size_max" in given:
        try:
            given["log_size_max"] = human_to_bytes(given["log_size_max"])
        except ValueError as exc:
            raise InvalidInput(f"log_size_max is not a size: {exc}.") from exc
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if "conmon_env" in given:
        given["conmon_env"] = {str(name): str(value) for name, value in given["conmon_env"].items()}
    return given


def result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    for warning in outcome.warnings:
        module.warn(warning)
    returned: dict[str, t.Any] = {
        "changed": bool(outcome.actions),
        "actions": [action.value for action in outcome.actions],
        "container": describe(outcome.after),
        "diff": diff({"status": (outcome.before.status.value, outcome.plan.result.value), **outcome.plan.differences}),
    }
    if outcome.stop:
        returned["stop"] = outcome.stop._asdict()
    return returned
