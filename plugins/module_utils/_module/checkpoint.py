# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_checkpoint, what they ask for, and what it returns."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._archive.manifest import asked
from .._base.errors import InvalidOption
from .._checkpoint.plan import Goal
from .._checkpoint.request import Description, Outcome, Request
from .._checkpoint.restore import Wanted
from .._criu.criu import Options
from .boundary import DIRECTORY_ARGUMENTS, check_seconds
from .container_state import describe
from .definition import DEFINITION_ARGUMENTS, definition
from .diff import diff

_FLAGS = (
    "leave_running", "tcp_established", "tcp_close", "tcp_skip_in_flight", "file_locks", "ext_unix_sk", "shell_job",
    "link_remap", "pre_dump",
)  # fmt: skip
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "default": "checkpointed", "choices": [goal.value for goal in Goal]},
    **{name: {"type": "bool"} for name in _FLAGS},
    "pre_dump_rounds": {"type": "int"},
    "manage_cgroups_mode": {"type": "str", "choices": ["soft", "ignore", "full", "strict"]},
    "network_lock": {"type": "str", "choices": ["iptables", "nftables", "skip"]},
    "lsm_profile": {"type": "str"},
    "lsm_mount_context": {"type": "str"},
    "archive": {"type": "path"},
    "compression": {"type": "str", "choices": ["zstd", "gzip", "none"]},
    "include_rootfs": {"type": "bool", "default": False},
    "include_logs": {"type": "bool", "default": True},
    "new_name": {"type": "str"},
    "keep": {"type": "bool", "default": False},
    "sign_key": {"type": "path"},
    "verify": {"type": "list", "elements": "path"},
    "trust_config": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 600},
    **DEFINITION_ARGUMENTS,
    **DIRECTORY_ARGUMENTS,
}
# The options for only one of the states.
_ONLY_DUMP = (
    "leave_running", "tcp_skip_in_flight", "link_remap", "pre_dump", "pre_dump_rounds", "compression", "include_rootfs",
    "sign_key",
)  # fmt: skip
_ONLY_RESTORE = (
    "tcp_close", "lsm_profile", "lsm_mount_context", "new_name", "keep", "verify", "trust_config", *DEFINITION_ARGUMENTS,
)  # fmt: skip


_EXCLUDED = {
    Goal.CHECKPOINTED: _ONLY_RESTORE, Goal.RESTORED: _ONLY_DUMP, Goal.ABSENT: (*_ONLY_DUMP, *_ONLY_RESTORE, "archive"),
}  # fmt: skip


def request(params: t.Mapping[str, t.Any]) -> Request:
    """Return the request. Raises InvalidOption for options that exclude each other."""
    goal = Goal(params["state"])
    for name in _EXCLUDED[goal]:
        if params[name]:
            raise InvalidOption(f"{name} cannot be used with state={goal.value}.")
    _check_archive(params)
    if params["tcp_close"] and params["tcp_established"]:
        raise InvalidOption("tcp_close and tcp_established exclude each other.")
    rounds = params["pre_dump_rounds"]
    if rounds is not None and not (params["pre_dump"] and 1 <= rounds <= 9):
        raise InvalidOption("pre_dump_rounds must be a number from 1 to 9, and needs pre_dump.")
    check_seconds(params, "timeout")
    if params["timeout"] == 0:
        raise InvalidOption("timeout must be more than 0.")
    return Request(
        name=params["name"], goal=goal, options=Options(**{name: params[name] for name in Options._fields}),
        wanted=Wanted(params["new_name"], definition(params), params["trust_config"]),
        verify=tuple(params["verify"] or ()),
        **{name: params[name] for name in (
            "archive", "compression", "include_rootfs", "include_logs", "keep", "timeout", "sign_key",
        )},
    )  # fmt: skip


def _check_archive(params: t.Mapping[str, t.Any]) -> None:
    """Refuse options for an archive without one, and relative paths. Raises InvalidOption."""
    for name in ("compression", "include_rootfs", "sign_key", "verify"):
        if params[name] and not params["archive"]:
            raise InvalidOption(f"{name} needs archive.")
    for name, path in [("sign_key", params["sign_key"]), *(("verify", path) for path in params["verify"] or ())]:
        if path and not path.startswith("/"):
            raise InvalidOption(f"{name} must be given as an absolute path, not {path!r}.")
    if params["verify"] == []:
        raise InvalidOption("verify is empty, so every archive would be refused.")
    if params["archive"] and not params["archive"].startswith("/"):
        raise InvalidOption(f"The archive {params['archive']} must be given as an absolute path.")


def described(checkpoint: Description) -> dict[str, t.Any]:
    """Return the checkpoint as the module returns it."""
    return {
        **checkpoint._asdict(), "options": asked(checkpoint.options),
        "runtime": {"name": checkpoint.runtime.name, "version": checkpoint.runtime.version},
    }  # fmt: skip


def result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    for warning in outcome.warnings:
        module.warn(warning)
    return {
        "changed": bool(outcome.plan.actions),
        "actions": [action.value for action in outcome.plan.actions],
        "checkpoint": outcome.checkpoint and described(outcome.checkpoint),
        "container": describe(outcome.after),
        "statistics": dict(outcome.statistics),
        "diff": diff({"status": (outcome.before.status.value, outcome.plan.result.value)}),
    }
