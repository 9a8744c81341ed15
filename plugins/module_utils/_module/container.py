# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_container, what they ask for, and what it returns."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._base.process import parse_signal
from .._state.model import Definition, Desired, Goal, Outcome, Recreate, Status, Timeouts
from .boundary import DIRECTORY_ARGUMENTS, check_seconds
from .container_state import describe
from .definition import DEFINITION_ARGUMENTS, NETWORK_ARGUMENTS, SERVICE_ARGUMENTS, definition
from .diff import diff

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
    """Return the desired container. Raises InvalidOption for impossible values."""
    check_seconds(params, "stop_timeout", "kill_timeout", "create_timeout", "ready_timeout", "exit_delay")
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


def result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    for warning in outcome.warnings:
        module.warn(warning)
    end = outcome.after.exit
    was_started = outcome.plan.result is Status.RUNNING and outcome.after is not outcome.before  # As in check mode.
    if outcome.actions and was_started and end and end.code != 0:
        module.warn(f"The container {outcome.after.name} was started, and has ended already{end.words()}.")
    returned: dict[str, t.Any] = {
        "changed": bool(outcome.actions),
        "actions": [action.value for action in outcome.actions],
        "container": describe(outcome.after),
        "diff": diff({"status": (outcome.before.status.value, outcome.plan.result.value), **outcome.plan.differences}),
    }
    if outcome.stop:
        returned["stop"] = outcome.stop._asdict()
    return returned
