# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boundary between the engine and Ansible: directories and errors."""

from __future__ import annotations

import math
import os
import traceback
import typing as t

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule

from .._base.errors import InvalidOption, LongshoreError, MissingPrerequisite, reason_of
from .._base.files import check_text, refuse_bytes
from .._base.program import user_runtime_directory
from .._trust import trust

_MOST_SECONDS = 1e12  # systemd has microseconds in 64 bits
# They may be a number with a fraction, as the result of a template.
_SIZES = ("memory", "memory_reservation", "memory_swap", "shm_size", "output_limit", "log_size_max")
_PATHS = ("creates", "removes")  # of files, without the type
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
        if value > _MOST_SECONDS or math.isnan(value):
            raise InvalidOption(f"{name} must be a number of seconds up to {_MOST_SECONDS:.0f}, not {value}.")


def refuse_changed(arguments: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any], of: str = "") -> None:
    """Raise InvalidOption for a value of ``given`` that YAML has changed, and that Ansible makes a word or a number of: it turns an
    unquoted yes into True or 1, 1.10 into 1.1, and null in a list into an empty text. Also for a command that is text."""
    for name, about in arguments.items():
        kind, value = about.get("type"), next((given[n] for n in (name, *about.get("aliases", ())) if n in given), None)
        # Ansible splits text at commas.
        if isinstance(value, str) and name in ("argv", "entrypoint", "exit_command"):
            raise InvalidOption(f"{of}{name} must be a list{' (or use command)' if name == 'argv' else ''}, not text.")
        within = kind == "list" and isinstance(value, list)
        words = t.cast(list[t.Any], value) if within else [] if value is None else [value]
        kind = about.get("elements") if within else "str" if kind == "list" else kind
        for number, word in enumerate(words if kind in ("str", "path", "int", "float") else (), 1):
            fine = isinstance(word, (str, int, float if kind in ("int", "float") or name in _SIZES else int))
            # Ansible itself reads a choice such as no.
            if not fine or (isinstance(word, bool) and "choices" not in about):
                which = f"{of}{name}: word {number}" if len(words) > 1 else f"{of}{name}: the value"
                what, hint = ("a number", "") if kind in ("int", "float") else ("text", "Put it in quotes.")
                raise InvalidOption(f"{which} must be {what}.", hint=hint)
        for each in words if "options" in about else ():
            refuse_changed(about["options"], each if isinstance(each, dict) else {}, f"{of}{name}: ")


def run(module: AnsibleModule, body: Body, secret: t.Callable[[], set[str]] = set) -> None:
    """Run the module's body; the only place where an error of the engine becomes a failed task.

    ``secret`` returns what Ansible masks in the words of a failure (secrets.py).
    """
    if not hasattr(os, "pidfd_open"):
        module.fail_json(msg="Longshore needs Linux 5.3 and Python 3.9 or newer on the host (pidfd_open is missing).")
    try:
        if module.argument_spec:
            refuse_changed(module.argument_spec, basic._load_params())
        for name in sorted(module.params.keys() - {"stdin"}):
            is_path = name in _PATHS or "path" in (module.argument_spec.get(name) or {}).values()
            refuse_bytes(name, module.params[name], is_path=is_path)
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
