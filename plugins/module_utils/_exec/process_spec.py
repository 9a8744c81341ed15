# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the process of an exec session: the process of the container's config with the requested changes. Pure.

Users, groups, capabilities and HOME are as in podman (libpod, prepareProcessExec), a terminal is as in Docker.
"""

from __future__ import annotations

import posixpath
import typing as t

from .._base.accounts import User
from .._base.capabilities import full_names
from .._base.errors import InvalidOption
from .._base.files import refuse_bytes
from .._base.program import UMASK


class Command(t.NamedTuple):
    """A command for a container. ``None`` means the value of the container's own process."""

    argv: tuple[str, ...]
    env: t.Mapping[str, str] = {}
    user: str | None = None  # name or uid, optionally with ``:group`` or ``:gid``
    cwd: str | None = None
    tty: bool = False
    privileged: bool = False
    capabilities: tuple[str, ...] = ()
    no_new_privs: bool | None = None


def check(command: Command) -> None:
    """Raises InvalidOption for a command that no container can run."""
    if not command.argv or not command.argv[0]:
        raise InvalidOption("There is no command to run.")
    for what, value in (("argv", command.argv), ("env", command.env), ("chdir", command.cwd), ("user", command.user)):
        refuse_bytes(what, value)
    for name in command.env:
        if not name.isprintable() or not name or "=" in name:
            raise InvalidOption(f"env cannot have a variable {name!r}.")
    variables = [f"{name}={value}" for name, value in command.env.items()]
    _check_words({"args": list(command.argv), "env": variables, "cwd": command.cwd})
    if command.cwd is not None and not command.cwd.startswith("/"):
        raise InvalidOption(f"The directory must be an absolute path in the container, not {command.cwd!r}.")
    full_names(command.capabilities)


def process_spec(
    config: t.Mapping[str, t.Any],
    command: Command,
    user: User,
    *,
    host_capabilities: t.Sequence[str],
    further_groups: bool = True,
) -> dict[str, t.Any]:
    """Return the ``process`` of a config.json for ``RUNTIME exec --process``.

    ``user`` is the requested user, or that of the container. ``host_capabilities`` are all that this host can give. Without
    ``further_groups``, the user has no further groups, because runc can only set them as root.
    """
    own, linux = config["process"], config.get("linux") or {}
    if command.user is not None:
        _check_mapped("user", user.uid, linux.get("uidMappings") or [])
        _check_mapped("group", user.gid, linux.get("gidMappings") or [])
    spec = {name: value for name, value in own.items() if name not in ("consoleSize", "commandLine")}
    spec["args"] = list(command.argv)
    spec["terminal"] = command.tty
    spec["cwd"] = posixpath.normpath(command.cwd or own.get("cwd") or "/")
    same = command.user is None or user.uid == (own.get("user") or {}).get("uid", 0)
    spec["env"] = _environment(own.get("env") or [], command, user, same=same)
    # Of a config without one, a container has this umask, but runc gives a command its own.
    umask = {"umask": UMASK, **{name: value for name, value in (own.get("user") or {}).items() if name == "umask"}}
    spec["user"] = {"uid": 0, "gid": 0, **(own.get("user") or {}), **umask}
    if command.user is not None:
        # Include the first group: otherwise the process could drop it, and with it restrictions of its members (CVE-2022-2989).
        more = {"additionalGids": [user.gid, *user.groups]} if further_groups else {}
        spec["user"] = {**umask, "uid": user.uid, "gid": user.gid, **more}
    sets = _capabilities(own.get("capabilities"), command, user, list(host_capabilities), same=same)
    if sets is not None:
        spec["capabilities"] = sets
    if command.privileged and own.get("apparmorProfile"):
        spec["apparmorProfile"] = "unconfined"
    if command.no_new_privs is not None or command.privileged:
        spec["noNewPrivileges"] = bool(command.no_new_privs)
    _check_words(spec)
    return spec


def _check_words(process: t.Mapping[str, t.Any]) -> None:
    if (
        len(process["args"][0] + str(process["cwd"])) > 2000 or len(str(process)) > 30000
    ):  # Most are far below any limit.
        from .._config import program_words

        program_words.check(process)


def _check_mapped(kind: str, number: int, mappings: t.Sequence[t.Mapping[str, int]]) -> None:
    ranges = [range(each["containerID"], each["containerID"] + each["size"]) for each in mappings]
    if ranges and not any(number in each for each in ranges):
        raise InvalidOption(f"The {kind} {number} is not mapped in the user namespace of the container.")


def _environment(own: t.Sequence[str], command: Command, user: User, *, same: bool) -> list[str]:
    """Return the environment. Another user does not get HOME of the container's config, which is that of its own user.
    NOTIFY_SOCKET is only for the container's first process."""
    found = dict(word.partition("=")[::2] for word in own if not word.startswith("NOTIFY_SOCKET="))
    if not same or not found.get("HOME"):
        found["HOME"] = user.home
    if command.tty:
        found.setdefault("TERM", "xterm")
    return [f"{name}={value}" for name, value in {**found, **command.env}.items()]


def _capabilities(
    own: t.Mapping[str, t.Sequence[str]] | None, command: Command, user: User, everything: list[str], *, same: bool
) -> dict[str, list[str]] | None:
    """Return the capabilities. None means those of the container, which the runtime uses.

    Another user has those that the kernel leaves after a change of the user: root has all in the bounding set, any other user
    has none. For a user other than root, a requested capability survives the start of a program only if it is ambient.
    """
    if own is None and not (command.privileged or command.capabilities):
        return None
    names = ("bounding", "effective", "permitted", "inheritable", "ambient")
    sets = {name: list((own or {}).get(name) or []) for name in names}
    if command.privileged:
        sets["bounding"] = everything
    if command.privileged or not same:
        effective = sets["bounding"] if user.uid == 0 else []
        sets.update(effective=list(effective), permitted=list(effective), inheritable=[], ambient=[])
    wanted = full_names(command.capabilities)
    for name in names if user.uid != 0 else names[:3]:
        sets[name] = list(dict.fromkeys([*sets[name], *wanted]))
    return sets
