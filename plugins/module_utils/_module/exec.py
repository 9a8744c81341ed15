# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_exec, what they ask for, and what it returns: as ansible.builtin.command does, where both can."""

from __future__ import annotations

import datetime
import shlex
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text

from .._base.errors import InvalidOption
from .._config.sizes import parse_size
from .._exec import output
from .._exec.process_spec import Command, check
from .._exec.request import Goal, Limits, Request, Result
from .._exec.session_store import signal_of
from .._exec.sessions import Outcome, Sessions
from .boundary import DIRECTORY_ARGUMENTS, check_seconds
from .session import describe

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True, "aliases": ["container"]},
    "state": {"type": "str", "default": "started", "choices": ["started", "finished", "stopped", "absent"]},
    "argv": {"type": "list", "elements": "raw"},
    "command": {"type": "str"},
    "env": {"type": "dict", "no_log": True},
    "stdin": {"type": "str", "no_log": True},
    "stdin_add_newline": {"type": "bool", "default": True},
    "strip_empty_ends": {"type": "bool", "default": True},
    "user": {"type": "str"},
    "chdir": {"type": "str", "aliases": ["workdir"]},
    "tty": {"type": "bool", "default": False},
    "privileged": {"type": "bool", "default": False},
    "capabilities": {"type": "list", "elements": "str", "default": []},
    "no_new_privs": {"type": "bool"},
    "output_limit": {"type": "str", "default": "2m"},
    "stdout_path": {"type": "path"},
    "stderr_path": {"type": "path"},
    "timeout": {"type": "float"},
    "stop_timeout": {"type": "float", "default": 10},
    "detach": {"type": "bool", "default": False},
    "session": {"type": "str"},
    "creates": {"type": "str"},
    "removes": {"type": "str"},
    "runtime": {"type": "str"},
    **DIRECTORY_ARGUMENTS,
}
_MOST_OUTPUT = 1 << 30
_HINT = "To keep it as it is, use stdout_path and stderr_path."


def command(params: t.Mapping[str, t.Any]) -> Command:
    """Return the command. Raises InvalidOption for an impossible command, or for options that exclude each other."""
    check_seconds(params, "timeout", "stop_timeout")
    if params["detach"]:
        if params["stdin"] is not None:
            raise InvalidOption("stdin cannot be used with detach, because the task does not stay to write it.")
        if params["stdout_path"] is not None or params["stderr_path"] is not None:
            hint = "Use them in the task that waits for the session (state=finished)."
            raise InvalidOption("stdout_path and stderr_path cannot be used with detach.", hint=hint)
        if params["timeout"] is not None:
            hint = "Use it in the task that waits for the session (state=finished)."
            raise InvalidOption("timeout cannot be used with detach, because the task does not wait.", hint=hint)
    for name, value in (params["env"] or {}).items():
        if not isinstance(value, str):
            raise InvalidOption(
                f"The value of the variable {name} in env is not a string.",
                hint="YAML reads an unquoted yes, 1 or 1.10 as something else: put it in quotes, or use the filter string.",
            )
    result = Command(
        argv=_argv(params), env=params["env"] or {}, user=params["user"] or None, cwd=params["chdir"], tty=params["tty"],
        privileged=params["privileged"], capabilities=tuple(params["capabilities"]), no_new_privs=params["no_new_privs"],
    )  # fmt: skip
    check(result)
    return result


def _keep(params: t.Mapping[str, t.Any]) -> output.Keep:
    """Return the destination of the output. Raises InvalidOption for an invalid limit, and for unsuitable files."""
    limit = parse_size(params["output_limit"], "output_limit")
    if not 0 <= limit <= _MOST_OUTPUT:
        raise InvalidOption(f"output_limit cannot be {params['output_limit']}. The maximum is 1g.", hint=_HINT)
    keep = output.Keep(limit, params["stdout_path"], params["stderr_path"])
    output.check(keep)
    return keep


def _argv(params: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    if params["command"] is None:
        given = params["argv"] or ()
        for number, word in enumerate(given, 1):  # Ansible would make the text True of a yes.
            if isinstance(word, bool) or not isinstance(word, (str, int)):
                raise InvalidOption(f"argv: word {number} must be text.", hint="Put it in quotes.")
        return tuple(map(str, given))
    try:
        return tuple(shlex.split(params["command"]))
    except ValueError as exc:
        raise InvalidOption(f"The command cannot be split into words: {exc}.") from exc


def request(params: t.Mapping[str, t.Any]) -> Request:
    """Return what the parameters ask for. Raises InvalidOption."""
    goal = Goal(params["state"])
    newline = b"\n" if params["stdin_add_newline"] else b""
    stdin = params["stdin"]
    starts = goal is Goal.STARTED
    return Request(
        params["name"], goal, command(params) if starts else None,
        stdin=None if stdin is None else to_bytes(stdin, errors="surrogate_or_strict") + newline,
        detach=params["detach"], session=params["session"], creates=params["creates"], removes=params["removes"],
        runtime=params["runtime"] if starts else None, limits=Limits(run=params["timeout"], stop=params["stop_timeout"]),
        keep=_keep(params) if goal in (Goal.STARTED, Goal.FINISHED) else output.KEEP,
    )  # fmt: skip


def perform(module: AnsibleModule, sessions: Sessions, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Carry out what the parameters ask for. Returns what the task returns, or fails it."""
    wanted = request(params)
    outcome = sessions.converge(wanted, check=module.check_mode)
    listed = describe(outcome.seen) if outcome.seen else None
    if wanted.goal is Goal.FINISHED:
        if module.check_mode:
            return {"changed": False, "skipped": True, "msg": "Would have waited for the session if not in check mode"}
        ended = t.cast(Result, outcome.result)
        found = {"cmd": (listed or {}).get("argv"), "changed": outcome.changed, "exec_session": listed}
        return report(module, found, ended, params)
    if wanted.goal is Goal.STARTED:
        return _started(module, wanted, outcome, listed, params)
    result = {"changed": outcome.changed, "session": params["session"]}
    # Without an rc: Ansible would take that of a command that was stopped for a failure of this task.
    return {**result, "exec_session": listed} if wanted.goal is Goal.STOPPED else result


def _started(
    module: AnsibleModule, wanted: Request, outcome: Outcome, listed: dict[str, t.Any] | None, params: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:  # fmt: skip
    argv = list(wanted.command.argv) if wanted.command else []
    result: dict[str, t.Any] = {"cmd": argv, "changed": False, "stdout": "", "stderr": ""}
    option = outcome.plan.unneeded
    if option:
        reason = f"since '{params[option]}' {'exists' if option == 'creates' else 'does not exist'}"
        verb = "Would" if module.check_mode else "Did"
        return {**result, "rc": 0, "msg": f"{verb} not run command {reason}", "stdout": f"skipped, {reason}"}
    if module.check_mode and outcome.plan.actions:
        # Skipped and changed exclude each other.
        guarded = wanted.creates is not None or wanted.removes is not None
        said = "Command would have run if not in check mode"
        return {**result, "rc": 0, "msg": said, "changed": guarded, **({} if guarded else {"skipped": True})}
    if outcome.result is not None:
        return report(module, {**result, "changed": True}, outcome.result, params)
    session = outcome.seen.session if outcome.seen else None
    return {
        **result, "changed": outcome.changed, "session": session.id if session else None,
        "pid": session.pid if session else None, "timed_out": False, "exec_session": listed,
        "start": _moment((session.started if session else None) or 0),
    }  # fmt: skip


def report(
    module: AnsibleModule, result: dict[str, t.Any], ended: Result, params: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """Return the result of a command that was waited for, or fail the task with it."""
    result = {**result, "rc": ended.rc, "msg": "", **_said(module, ended, params)}
    # A stream that is complete in a file needs no warning.
    lost = [name for name in ended.truncated if not params[f"{name}_path"]]
    if lost:
        streams = " and ".join(lost)
        module.warn(f"The result has only the first {params['output_limit']} of {streams} (output_limit). {_HINT}")
    if ended.timed_out:
        limit = "its time limit" if params["timeout"] is None else f"{params['timeout']:g} seconds"
        module.fail_json(**{**result, "msg": f"The command did not end within {limit}, and was stopped"})
    if ended.rc is None:
        module.fail_json(**{**result, "msg": "The exit code of the command is unknown, because its conmon was killed"})
    if ended.rc != 0:
        killed = f" (killed by the signal {result['signal']})" if result["signal"] else ""
        why = ": memory ran out in the container" if ended.oom else ""
        module.fail_json(**{**result, "msg": f"non-zero return code{killed}{why}"})
    return result


def _said(module: AnsibleModule, ended: Result, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    # Keep bytes that are not UTF-8, so that they can be written back. A controller since 2.19 refuses a result with them.
    numbers = [int(number) for number in str(module.ansible_version).split(".")[:2] if number.isdecimal()]
    errors = "surrogate_then_replace" if numbers < [2, 19] else "replace"
    stdout, stderr = to_text(ended.stdout, errors=errors), to_text(ended.stderr, errors=errors)
    lost = [
        name for name, text in (("stdout", stdout), ("stderr", stderr))
        if "\ufffd" in text and not params[f"{name}_path"] and text.encode("utf-8", "surrogateescape") != getattr(ended, name)
    ]  # fmt: skip
    if lost:
        module.warn(f"Bytes of {' and '.join(lost)} that are not UTF-8 text were replaced. {_HINT}")
    if params["strip_empty_ends"]:
        stdout, stderr = stdout.rstrip("\r\n"), stderr.rstrip("\r\n")
    return {
        "stdout": stdout, "stderr": stderr, "start": _moment(ended.start), "end": _moment(ended.end),
        "delta": str(datetime.timedelta(seconds=ended.end - ended.start)), "session": ended.session,
        "stdout_truncated": "stdout" in ended.truncated, "stderr_truncated": "stderr" in ended.truncated,
        "pid": ended.pid, "timed_out": ended.timed_out, "signal": signal_of(ended.rc),
        "oom_killed": ended.oom,
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return str(datetime.datetime.fromtimestamp(seconds))
