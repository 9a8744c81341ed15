# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the process of an exec session: the process of the container's config with the requested changes. Pure.

Users, groups, capabilities and HOME are as in podman (libpod, prepareProcessExec), a terminal is as in Docker.
"""

from __future__ import annotations

import posixpath
import typing as t

from .._base.errors import InvalidInput

# linux/capability.h, in the order of their numbers.
_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())
_MOST_ID = 2**31 - 1  # runc, libcontainer/user: the limit of both runtimes
_MOST_DIGITS = 20  # of an id, including leading zeros


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


class User(t.NamedTuple):
    """A user of a container, with the ids in the container."""

    uid: int
    gid: int
    groups: tuple[int, ...]  # in addition to gid
    home: str


def check(command: Command) -> None:
    """Raises InvalidInput for a command that no container can run."""
    if not command.argv or not command.argv[0]:
        raise InvalidInput("There is no command to run.")
    if any("\0" in word for word in (*command.argv, *command.env, *command.env.values(), command.cwd or "")):
        raise InvalidInput("A command, its environment and its directory cannot have a NUL character in them.")
    for name in command.env:
        if not name.isprintable() or not name or "=" in name:
            raise InvalidInput(f"env cannot have a variable {name!r}.")
    if command.cwd is not None and not command.cwd.startswith("/"):
        raise InvalidInput(f"The directory must be an absolute path in the container, not {command.cwd!r}.")
    user, colon, group = (command.user or "0").partition(":")
    if not user or (colon and not group):
        raise InvalidInput(
            f"{command.user!r} is not a user.", hint="Use a name or a uid, optionally with :group or :gid."
        )
    capability_names(command.capabilities)


def capability_names(names: t.Iterable[str]) -> list[str]:
    """Return capabilities in the form ``CAP_NET_ADMIN``. Raises InvalidInput for one that Linux does not have."""
    found = []
    for name in names:
        full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
        if full not in CAPABILITIES:
            raise InvalidInput(f"{name} is not a capability.", hint="See capabilities(7). An example is NET_ADMIN.")
        found.append(full)
    return found


def find_user(text: str, *, passwd: str | None, group: str | None) -> User:
    """Return the user for ``user[:group]``, each a name or a number, from the container's /etc/passwd and /etc/group (None if
    missing).

    Numbers need neither. The further groups are those that list the user, none if a group is given, as in podman and runc.
    Raises InvalidInput for an unknown name.
    """
    wanted, _colon, wanted_group = text.partition(":")
    name, uid, gid, home = _passwd_entry(wanted, passwd)
    groups: tuple[int, ...] = ()
    if wanted_group:
        by_name = (fields[2] for fields in _entries(group, fields=4) if fields[0] == wanted_group)
        gid = _number(wanted_group if wanted_group.isdecimal() else next(by_name, wanted_group))
        if gid < 0:
            raise InvalidInput(_missing("group", wanted_group, group), hint="A gid works without it.")
    elif name is not None:
        groups = tuple(
            _number(fields[2]) for fields in _entries(group, fields=4) if name in fields[3].split(",")
        )  # fmt: skip
    return User(uid, gid, tuple(dict.fromkeys(each for each in groups if each >= 0 and each != gid)), home)


def _passwd_entry(wanted: str, passwd: str | None) -> tuple[str | None, int, int, str]:
    """Return the entry. A number is always a uid, even if a user has this name, so that the container cannot redefine it."""
    number = _number(wanted)
    for entry in _entries(passwd, fields=7):
        if _number(entry[2]) == number if wanted.isdecimal() else entry[0] == wanted:
            uid, gid = _number(entry[2]), _number(entry[3])
            if uid >= 0 and gid >= 0:
                return entry[0], uid, gid, entry[5] or "/"
    if number < 0:
        raise InvalidInput(_missing("user", wanted, passwd), hint="A uid (with :gid) works without it.")
    return None, number, 0, "/"


def needed_files(text: str, *, home: bool) -> tuple[bool, bool]:
    """Tell whether ``user[:group]`` needs /etc/passwd and /etc/group. ``home``: HOME is known."""
    user, colon, group = text.partition(":")
    passwd = not user.isdecimal() or not colon or not home
    return passwd, not (colon and group.isdecimal())


def _entries(text: str | None, *, fields: int) -> t.Iterator[list[str]]:
    """Yield the complete lines of such a file. Comments and NIS entries are not complete."""
    for line in (text or "").splitlines():
        if not line.startswith("#") and line.count(":") >= fields - 1:
            yield line.strip().split(":")


def _number(text: str) -> int:
    """Return an id, or -1 for any other text."""
    known = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if known and int(text) <= _MOST_ID else -1


def _missing(kind: str, name: str, text: str | None) -> str:
    where = "/etc/passwd" if kind == "user" else "/etc/group"
    return f"There is no {kind} {name} in the container{'' if text is not None else f', which has no {where}'}."


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
    if command.user is not None:
        umask = {name: value for name, value in (own.get("user") or {}).items() if name == "umask"}
        # Include the first group: otherwise the process could drop it, and with it restrictions of its members (CVE-2022-2989).
        more = {"additionalGids": [user.gid, *user.groups]} if further_groups else {}
        spec["user"] = {**umask, "uid": user.uid, "gid": user.gid, **more}
    capabilities = _capabilities(own.get("capabilities"), command, user, list(host_capabilities), same=same)
    if capabilities is not None:
        spec["capabilities"] = capabilities
    if command.privileged and own.get("apparmorProfile"):
        spec["apparmorProfile"] = "unconfined"
    if command.no_new_privs is not None or command.privileged:
        spec["noNewPrivileges"] = bool(command.no_new_privs)
    return spec


def _check_mapped(kind: str, number: int, mappings: t.Sequence[t.Mapping[str, int]]) -> None:
    ranges = [range(each["containerID"], each["containerID"] + each["size"]) for each in mappings]
    if ranges and not any(number in each for each in ranges):
        raise InvalidInput(f"The {kind} {number} is not mapped in the user namespace of the container.")


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
    wanted = capability_names(command.capabilities)
    for name in names if user.uid != 0 else names[:3]:
        sets[name] = list(dict.fromkeys([*sets[name], *wanted]))
    return sets


def capabilities_of(status: str) -> list[str]:
    """Return all capabilities that a process can have and give (CapBnd), from the text of /proc/PID/status."""
    line = next((line for line in status.splitlines() if line.startswith("CapBnd:")), "CapBnd: 0")
    mask = int(line.split()[1], 16)
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]
