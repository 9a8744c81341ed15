# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boundary between the engine and Ansible: directories and errors."""

from __future__ import annotations

import os
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._base.errors import InvalidOption, LongshoreError, MissingPrerequisite, reason_of
from .._base.files import check_text, refuse_nul
from .._base.program import user_runtime_directory
from .._trust import trust

_MOST_SECONDS = 1e12  # systemd has microseconds in 64 bits
Body = t.Callable[[AnsibleModule], dict[str, t.Any]]
DIRECTORY_ARGUMENTS: dict[str, dict[str, t.Any]] = {"state_dir": {"type": "path"}, "run_dir": {"type": "path"}}


def directories(params: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the two directories of the engine: the given ones, otherwise those of the system for root, and of the user for others.

    Raises MissingPrerequisite for a user without a session, InvalidOption for directories that other users can change.
    """
    if os.geteuid() == 0:
        state, run = "/var/lib/longshore", "/run/longshore"
    else:
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        state, run = f"{home}/longshore", f"{user_runtime_directory()}/longshore"
        if params["run_dir"] is None and not os.path.isdir(user_runtime_directory()):
            what = f"{user_runtime_directory()}, which belongs to a session of systemd, does not exist."
            raise MissingPrerequisite(what, hint="As root: loginctl enable-linger USER. Or set run_dir.")
    found = {"state_dir": params["state_dir"] or state, "run_dir": params["run_dir"] or run}
    for name, path in found.items():
        check_text(name, path)
        trust.check(os.path.abspath(path), name, missing=True)
    return found


def check_seconds(params: t.Mapping[str, t.Any], *names: str) -> None:
    """Raise InvalidOption for a number of seconds that is negative, too large, or not finite: YAML and Python read inf and nan."""
    for name in names:
        value = 0 if params[name] is None else params[name]
        if value < 0:
            raise InvalidOption(f"{name} cannot be negative.", hint="For no limit, use a large number.")
        if not value <= _MOST_SECONDS:  # False for nan
            raise InvalidOption(f"{name} must be a number of seconds up to {_MOST_SECONDS:.0f}, not {value}.")


def run(module: AnsibleModule, body: Body, secret: t.Callable[[], set[str]] = set) -> None:
    """Run the module's body; the only place where an error of the engine becomes a failed task.

    ``secret`` returns what Ansible masks in the words of a failure (secrets.py).
    """
    if not hasattr(os, "pidfd_open"):
        module.fail_json(msg="Longshore needs Linux 5.3 and Python 3.9 or newer on the host (pidfd_open is missing).")
    try:
        for name, value in module.params.items():
            if name != "stdin":
                refuse_nul(name, value)
        module.exit_json(**body(module))
    except LongshoreError as exc:
        module.no_log_values = module.no_log_values | secret()
        module.fail_json(msg=str(exc), **exc.details)
    except OSError as exc:  # a full, read-only or broken disk, or a bug, so the message has the location too
        where = f" ({exc.filename})" if exc.filename else ""
        module.no_log_values = module.no_log_values | secret()
        module.fail_json(
            msg=f"An operation on the host failed: {reason_of(exc)}{where}.", exception=traceback.format_exc()
        )
