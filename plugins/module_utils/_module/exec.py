# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_exec, what they ask for, and what it returns: as ansible.builtin.command does, where both can."""

from __future__ import annotations

import datetime
import shlex
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.module_utils.common.text.formatters import human_to_bytes

from .._base.errors import InvalidInput
from .._exec import output, sessions
from .._exec import run as engine
from .._exec.process_spec import Command, check
from .._state.store import Store, check_name
from . import secrets
from .boundary import DIRECTORY_ARGUMENTS

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True, "aliases": ["container"]},
    "state": {"type": "str", "default": "started", "choices": ["started", "finished", "stopped", "absent"]},
    "argv": {"type": "list", "elements": "str"},
    "command": {"type": "str"},
    # Ansible hides the values of these everywhere; see conceal().
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
_HINT = "A file takes all of it: stdout_path, stderr_path."


def conceal(module: AnsibleModule) -> dict[str, t.Any]:
    """The parameters; what is secret of them is hidden in the module. What the command says is returned as it is."""
    return secrets.conceal(module, "env", "stdin")


def command(params: t.Mapping[str, t.Any]) -> Command:
    """Raises InvalidInput for a command that no container could run, or options that contradict one another."""
    for name in ("timeout", "stop_timeout"):
        if (params[name] or 0) < 0:
            raise InvalidInput(f"{name} cannot be negative.")
    if params["detach"]:
        if params["stdin"] is not None:
            raise InvalidInput("stdin cannot be used with detach: nobody stays to write it.")
        if params["stdout_path"] is not None or params["stderr_path"] is not None:
            hint = "Give them to the task that waits for the session (state=finished)."
            raise InvalidInput("stdout_path and stderr_path cannot be used with detach.", hint=hint)
        if params["timeout"] is not None:
            hint = "Give it to the task that waits for the session (state=finished)."
            raise InvalidInput("timeout cannot be used with detach: nobody stays to look at the clock.", hint=hint)
    for name, value in (params["env"] or {}).items():
        if not isinstance(value, str):
            raise InvalidInput(
                f"The value of the variable {name} in env is not a string.",
                hint="YAML reads an unquoted yes, 1 or 1.10 as something else: put it in quotes, or use the filter string.",
            )
    result = Command(
        argv=_argv(params), env=params["env"] or {}, user=params["user"], cwd=params["chdir"], tty=params["tty"],
        privileged=params["privileged"], capabilities=tuple(params["capabilities"]), no_new_privs=params["no_new_privs"],
    )  # fmt: skip
    check(result)
    return result


def _keep(params: t.Mapping[str, t.Any]) -> output.Keep:
    """Raises InvalidInput for a limit that is none, and for files that would not be written to."""
    try:
        limit = human_to_bytes(params["output_limit"])
    except ValueError as exc:
        raise InvalidInput(f"output_limit is not a size: {exc}.") from exc
    if not 0 <= limit <= _MOST_OUTPUT:
        raise InvalidInput(f"output_limit cannot be {params['output_limit']}: give 1g at most.", hint=_HINT)
    keep = output.Keep(limit, params["stdout_path"], params["stderr_path"])
    output.check(keep)
    return keep


def _argv(params: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    if params["command"] is None:
        return tuple(params["argv"] or ())
    try:
        return tuple(shlex.split(params["command"]))
    except ValueError as exc:
        raise InvalidInput(f"The command cannot be split into words: {exc}.") from exc


def started(module: AnsibleModule, store: Store, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Run the command, or start it and leave it. Returns what the task returns, or fails it."""
    wanted = command(params)
    check_name(params["name"])
    keep = _keep(params)
    result: dict[str, t.Any] = {"cmd": list(wanted.argv), "changed": False, "stdout": "", "stderr": ""}
    guarded = params["creates"] is not None or params["removes"] is not None
    reason = _unneeded(module, store, params) if guarded else None
    if reason:
        return {**result, "rc": 0, "msg": f"{'Would' if module.check_mode else 'Did'} not run command {reason}",
                "stdout": f"skipped, {reason}"}  # fmt: skip
    if module.check_mode:
        # Skipped and changed exclude one another.
        said = "Command would have run if not in check mode"
        return {**result, "rc": 0, "msg": said, "changed": guarded, **({} if guarded else {"skipped": True})}
    _check_runtime(store, params)
    options: dict[str, t.Any] = {"session": params["session"], "limits": _limits(params)}
    if params["detach"]:
        session, new = engine.start(store, params["name"], wanted, **options)
        return {**result, "changed": new, "session": session.id, "pid": session.pid, "timed_out": False,
                "start": _moment(session.started or 0), "exec_session": _listed(store, params, session.id)}  # fmt: skip
    outcome = engine.run(store, params["name"], wanted, stdin=_stdin(params), keep=keep, **options)
    return _report(module, {**result, "changed": True}, outcome, params)


def _unneeded(module: AnsibleModule, store: Store, params: t.Mapping[str, t.Any]) -> str | None:
    """Why creates or removes make the command unneeded, in the words of ansible.builtin.command."""
    try:
        for name, needless, words in (("creates", True, "exists"), ("removes", False, "does not exist")):
            pattern = params[name]
            if pattern is not None:
                found = engine.exists(store, params["name"], pattern, directory=params["chdir"])
                if found is needless:
                    return f"since '{pattern}' {words}"
    except InvalidInput:
        # Earlier tasks of the play, not carried out either, may be what starts the container.
        if not module.check_mode:
            raise
    return None


def _check_runtime(store: Store, params: t.Mapping[str, t.Any]) -> None:
    record = store.load(params["name"])
    if record is not None and params["runtime"] not in (None, "auto", record.runtime.name, record.runtime.path):
        raise InvalidInput(
            f"The container {params['name']} was made with {record.runtime.path}, not with {params['runtime']}.",
            hint="Leave out runtime; a container stays with the one that made it.",
        )


def _limits(params: t.Mapping[str, t.Any]) -> engine.Limits:
    return engine.Limits(run=params["timeout"], stop=params["stop_timeout"])


def _stdin(params: t.Mapping[str, t.Any]) -> bytes | None:
    if params["stdin"] is None:
        return None
    newline = b"\n" if params["stdin_add_newline"] else b""
    return to_bytes(params["stdin"], errors="surrogate_or_strict") + newline


def finished(module: AnsibleModule, store: Store, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Wait for a session and return its result, or fail with it."""
    keep = _keep(params)
    if module.check_mode:
        return {"changed": False, "skipped": True, "msg": "Would have waited for the session if not in check mode"}
    outcome = engine.finish(store, params["name"], params["session"], limits=_limits(params), keep=keep)
    listed = _listed(store, params, outcome.session)
    result = {"changed": outcome.timed_out, "cmd": (listed or {}).get("argv"), "exec_session": listed}
    return _report(module, result, outcome, params)


def stopped(module: AnsibleModule, store: Store, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Without an rc: Ansible would take that of a command that was stopped for a failure of this task."""
    listed = _listed(store, params, params["session"])
    changed = listed is not None and listed["status"] != "finished"
    if changed and not module.check_mode:
        engine.stop(store, params["name"], params["session"], limits=_limits(params))
        listed = _listed(store, params, params["session"])
    return {"changed": changed, "session": params["session"], "exec_session": listed}


def absent(module: AnsibleModule, store: Store, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    changed = _listed(store, params, params["session"]) is not None
    if not module.check_mode:
        changed = engine.forget(store, params["name"], params["session"], limits=_limits(params))
    return {"changed": changed, "session": params["session"]}


def _listed(store: Store, params: t.Mapping[str, t.Any], identifier: str) -> dict[str, t.Any] | None:
    check_name(params["name"])
    sessions.check_id(identifier)
    record = store.load(params["name"])
    paths = sessions.SessionPaths(store.paths(params["name"]), identifier)
    return None if record is None else sessions.describe(paths, record)


def _report(
    module: AnsibleModule, result: dict[str, t.Any], outcome: engine.Result, params: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    result = {**result, "rc": outcome.rc, "msg": "", **_said(module, outcome, params)}
    if outcome.truncated:
        streams = " and ".join(outcome.truncated)
        module.warn(f"Of {streams} only the first {params['output_limit']} are in the result (output_limit). {_HINT}")
    if outcome.timed_out:
        limit = "its time limit" if params["timeout"] is None else f"{params['timeout']:g} seconds"
        module.fail_json(**{**result, "msg": f"The command did not end within {limit}, and was stopped"})
    if outcome.rc is None:
        module.fail_json(**{**result, "msg": "Nobody knows how the command ended: its conmon was killed"})
    if outcome.rc != 0:
        killed = f" (killed by the signal {result['signal']})" if result["signal"] else ""
        module.fail_json(**{**result, "msg": f"non-zero return code{killed}"})
    return result


def _said(module: AnsibleModule, outcome: engine.Result, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    # What is not UTF-8 is kept so that it can be written back; since 2.19 a controller refuses a result with that in it.
    numbers = [int(number) for number in str(module.ansible_version).split(".")[:2] if number.isdecimal()]
    errors = "surrogate_then_replace" if numbers < [2, 19] else "replace"
    stdout, stderr = to_text(outcome.stdout, errors=errors), to_text(outcome.stderr, errors=errors)
    if params["strip_empty_ends"]:
        stdout, stderr = stdout.rstrip("\r\n"), stderr.rstrip("\r\n")
    return {
        "stdout": stdout, "stderr": stderr, "start": _moment(outcome.start), "end": _moment(outcome.end),
        "delta": str(datetime.timedelta(seconds=outcome.end - outcome.start)), "session": outcome.session,
        "stdout_truncated": "stdout" in outcome.truncated, "stderr_truncated": "stderr" in outcome.truncated,
        "pid": outcome.pid, "timed_out": outcome.timed_out, "signal": sessions.signal_of(outcome.rc),
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return str(datetime.datetime.fromtimestamp(seconds))


ACTIONS = {"started": started, "finished": finished, "stopped": stopped, "absent": absent}
