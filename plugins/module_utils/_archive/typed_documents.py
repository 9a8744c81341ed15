# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the documents of a checkpoint, in an archive or stored, and check the types of their values. Pure.

The documents of an archive are not trusted. All other code uses only the checked values: text, numbers within bounds, lists and
objects of these. A null is removed, because it means the same as a missing value. An InvalidOption names the document and the
field in one sentence.
"""

from __future__ import annotations

import json
import re
import typing as t

from .._base.errors import InvalidOption
from .._config import namespaces
from .._state.model import CgroupManager, LogDriver, NetworkHelper
from .layout import MANIFEST
from .manifest import Container, Manifest

Document = dict[str, t.Any]
# Makes the error for what is wrong: of an archive, or of a stored checkpoint.
Damaged = t.Callable[[str], InvalidOption]
MOST_BYTES = 16 << 20
_MOST_TEXT = 1 << 17  # the kernel's limit for one argument of a program
_MOST_DIGITS = 20
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{5,24}(Z|[+-]\d\d:\d\d)", re.ASCII)
YEAR = 366 * 86400


class _Number(t.NamedTuple):
    """A number and its bounds."""

    least: float = -(1 << 63)
    most: float = (1 << 64) - 1
    whole: bool = True


class _OneOf(t.NamedTuple):
    values: tuple[str, ...]


class _Map(t.NamedTuple):
    """An object with any names, and values of one kind."""

    value: t.Any


class _Text(t.NamedTuple):
    most: int = _MOST_TEXT


class _Time(t.NamedTuple):
    """A time in RFC 3339 format."""


_WORD = _Text(255)
_TIME = _Time()
_TEXT = _Text()
_ID = _Number(0, (1 << 32) - 2)
_INT = _Number()
_FLAG = bool
_TEXTS = [_TEXT]

_HOOK = {"path": _TEXT, "args": _TEXTS, "env": _TEXTS, "timeout": _INT}
_MAPPING = {"containerID": _ID, "hostID": _ID, "size": _Number(0, 1 << 32)}
_SPEC: Document = {
    "ociVersion": _WORD,
    "root": {"path": _TEXT, "readonly": _FLAG},
    "hostname": _WORD,
    "domainname": _WORD,
    "process": {
        "terminal": _FLAG, "args": _TEXTS, "env": _TEXTS, "cwd": _TEXT, "noNewPrivileges": _FLAG,
        "user": {"uid": _ID, "gid": _ID, "umask": _Number(0, 0o777), "additionalGids": [_ID]},
        "capabilities": _Map([_WORD]), "oomScoreAdj": _Number(-1000, 1000), "apparmorProfile": _WORD, "selinuxLabel": _WORD,
        "rlimits": [{"type": _WORD, "soft": _Number(0), "hard": _Number(0)}],
    },
    "mounts": [{"destination": _TEXT, "type": _WORD, "source": _TEXT, "options": _TEXTS}],
    "annotations": _Map(_TEXT),
    "hooks": _Map([_HOOK]),
    "linux": {
        "namespaces": [{"type": _WORD, "path": _TEXT}], "uidMappings": [_MAPPING], "gidMappings": [_MAPPING],
        "devices": [{
            "path": _TEXT, "type": _WORD, "major": _INT, "minor": _INT, "fileMode": _Number(0, 0o7777777), "uid": _ID, "gid": _ID,
        }],
        "resources": {
            "devices": [{"allow": _FLAG, "type": _WORD, "access": _WORD, "major": _INT, "minor": _INT}],
            "memory": _Map((_INT, _FLAG)), "cpu": _Map((_INT, _TEXT)), "pids": {"limit": _INT},
        },
        "seccomp": {
            "defaultAction": _WORD, "architectures": [_WORD], "flags": [_WORD], "listenerPath": _TEXT,
            "syscalls": [{"names": [_WORD], "action": _WORD, "errnoRet": _INT, "args": [
                {"index": _INT, "value": _INT, "valueTwo": _INT, "op": _WORD},
            ]}],
        },
        "sysctl": _Map(_TEXT), "maskedPaths": _TEXTS, "readonlyPaths": _TEXTS, "cgroupsPath": _TEXT, "mountLabel": _WORD,
        "rootfsPropagation": _WORD,
    },
}  # fmt: skip
_PROGRAM = {"name": _WORD, "path": _TEXT, "version": _WORD}
# Another host uses only these parts of the definition of the container. It decides the rest itself.
_DEFINITION = {
    "bundle": _TEXT, "log_driver": _WORD, "log_size_max": _Number(1), "stdin": _FLAG, "sdnotify": _OneOf(("ignore", "conmon", "container")),
}  # fmt: skip
# All of it, for a stored checkpoint of this host.
_OWN_DEFINITION: Document = {
    **dict.fromkeys((
        "bundle", "runtime", "runtime_root", "conmon", "cgroup_parent", "log_path", "log_tag", "conmon_pidfile", "sdnotify",
        "restart_policy",
    ), _TEXT),
    **dict.fromkeys(("runtime_args", "exit_command", "reserve_ports", "listen", "publish", "network_options"), _TEXTS),
    **dict.fromkeys(("stdin", "no_pivot", "no_new_keyring", "service"), _FLAG),
    "log_size_max": _INT, "exit_delay": _INT, "log_driver": _OneOf(tuple(LogDriver)),
    "cgroup_manager": _OneOf(tuple(CgroupManager)), "network_helper": _OneOf(tuple(NetworkHelper)),
}  # fmt: skip
_LEFT_OUT = (
    "cgroup_parent", "conmon_env", "conmon_pidfile", "exit_command", "listen", "log_path", "log_tag", "network_options", "publish",
    "reserve_ports", "runtime_args",
)  # fmt: skip
_OPTIONS = {
    **dict.fromkeys((
        "leave_running", "tcp_established", "tcp_close", "tcp_skip_in_flight", "file_locks", "ext_unix_sk", "shell_job",
        "link_remap", "pre_dump",
    ), _FLAG),
    "manage_cgroups_mode": _OneOf(("soft", "ignore", "full", "strict")), "network_lock": _OneOf(("iptables", "nftables", "skip")),
    "pre_dump_rounds": _Number(1, 9),
}  # fmt: skip
_STOP = {"stop_signal": _Number(1, 64), "stop_timeout": _Number(0, YEAR, whole=False)}
_MANIFEST: Document = {
    "format": _INT, "name": _WORD, "created_at": _TIME, "criu": _PROGRAM, "options": _OPTIONS, "runtime": _PROGRAM, "kernel": _WORD,
    "architecture": _WORD, "definition": _DEFINITION, "config_digest": _WORD, **_STOP, "started_at": _TIME,
    "rootfs": _OneOf(("complete", "changes")), "annotated": _FLAG, "digest": _WORD, "size": _Number(0),
    "members": _Map((_Number(0), _WORD)), "links": _Map(_WORD), "statistics": _Map(_Number(0)),
}  # fmt: skip
_STORED: Document = {
    # No limit of a year: the record of the container had the same value.
    **_MANIFEST, "stop_timeout": _Number(0, whole=False), "definition": _OWN_DEFINITION,
    "export": _TEXT, "paused": _FLAG, "from_archive": _FLAG, "left_out": [_WORD],
}  # fmt: skip
# Of podman's document, only a few values are used.
_CONTAINER: Document = {
    "name": _WORD, "runtime": _TEXT, "checkpointedTime": _TIME, "startedTime": _TIME, "stopSignal": _STOP["stop_signal"],
    "stopTimeout": _STOP["stop_timeout"],
}  # fmt: skip


def parse(text: bytes, name: str, damaged: Damaged) -> t.Any:
    """Parse JSON of a limited size."""
    try:
        if len(text) > MOST_BYTES:
            raise ValueError("it is too large")
        # The C parser recurses, and its time grows with the square of the number of digits.
        return json.loads(text, parse_int=_integer, parse_constant=_refuse, parse_float=_fraction)
    except RecursionError:
        raise damaged(f"{name} is nested too deeply") from None
    except ValueError as exc:
        raise damaged(f"the member {name} is not JSON ({str(exc)[:100]})") from exc


def damaged_archive(path: str) -> Damaged:
    return lambda why: InvalidOption(f"{path} is not an archive of a checkpoint, or it is damaged: {why}.")


def damaged_checkpoint(path: str) -> Damaged:
    """For a stored checkpoint. ``path`` is its directory."""
    hint = "Remove it with state: absent, or restore from an archive."
    return lambda why: InvalidOption(f"The checkpoint in {path} is damaged: {why}.", hint=hint)


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text) if len(text) < 100 else float("inf")
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def _refuse(text: str) -> t.NoReturn:
    raise ValueError(f"{text} is not a number")


def spec(text: bytes, damaged: Damaged) -> Document:
    """Return the config with which the container ran (``spec.dump``)."""
    found = _object(parse(text, "spec.dump", damaged), _SPEC, "spec.dump", damaged)
    for name in ("root", "process"):
        if name not in found:
            raise damaged(f"spec.dump has no {name}")
    for mount in found.get("mounts", []):
        if not mount.get("destination", "").startswith("/"):
            raise damaged("spec.dump has a mount without a destination")
    if namespaces.fault(found):
        raise damaged(f"spec.dump is not valid: {namespaces.fault(found)}")
    return found


def manifest(text: bytes, damaged: Damaged) -> Manifest:
    """Return Longshore's description in an archive (``longshore.json``)."""
    value = parse(text, MANIFEST, damaged)
    found = _manifest(value, _MANIFEST, damaged)
    given = value.get("definition") or {}
    return found._replace(left_out=tuple(name for name in _LEFT_OUT if given.get(name)))


def stored_manifest(value: Document, name: str, path: str) -> Manifest:
    """Return Longshore's description in the stored checkpoint ``path``, from its file ``name``."""
    return _manifest(value, _STORED, damaged_checkpoint(path), name)


def _manifest(value: t.Any, kind: Document, damaged: Damaged, name: str = MANIFEST) -> Manifest:
    found = _object(value, kind, name, damaged)
    if "format" not in found or "name" not in found:
        raise damaged(f"{name} has no format or no name")
    definition = found.get("definition") or {}
    if definition.get("log_driver") not in tuple(LogDriver):
        definition.pop("log_driver", None)  # An archive may name one of a later release. This host decides then.
    return Manifest.from_json(found)


def container(text: bytes, damaged: Damaged) -> Container:
    """Return the description of podman (``config.dump``)."""
    found = _object(parse(text, "config.dump", damaged), _CONTAINER, "config.dump", damaged)
    return Container(
        found.get("name", ""), found.get("runtime", ""), found.get("checkpointedTime"), found.get("startedTime"),
        found.get("stopSignal"), found.get("stopTimeout"),
    )  # fmt: skip


def deleted_files(text: bytes, path: str) -> list[str]:
    """Return the names of deleted files (``deleted.files``)."""
    damaged = damaged_archive(path)
    value = parse(text, "deleted.files", damaged)
    return t.cast(list[str], _checked(value, _TEXTS, "deleted.files", "", damaged))


def _object(value: t.Any, kind: Document, name: str, damaged: Damaged) -> Document:
    """Return only the known fields."""
    return t.cast(Document, _checked(value, kind, name, "", damaged))


def _checked(value: t.Any, kind: t.Any, name: str, where: str, damaged: Damaged) -> t.Any:
    if isinstance(kind, list) and isinstance(value, list):
        return [_checked(item, kind[0], name, f"{where}[]", damaged) for item in value]
    if isinstance(kind, _Map) and isinstance(value, dict):
        return {key: _checked(item, kind.value, name, f"{where}.{_short(key)}", damaged) for key, item in value.items() if item is not None}  # fmt: skip
    if isinstance(kind, dict) and isinstance(value, dict):
        return {key: _checked(value[key], each, name, f"{where}.{key}", damaged) for key, each in kind.items() if value.get(key) is not None}  # fmt: skip
    if _is_pair(kind) and isinstance(value, list) and len(value) == 2:
        return [_checked(item, each, name, where, damaged) for item, each in zip(value, kind)]
    if not _is_pair(kind) and _is_scalar(value, kind):
        return value
    raise damaged(f"{name} has a wrong value for {where.strip('.') or 'all of it'} ({_short(json.dumps(value))})")


def _is_pair(kind: t.Any) -> bool:
    """Tell whether it is the size and digest of a member, the only list with items of different types."""
    return kind.__class__ is tuple and kind[1] is _WORD


def _is_scalar(value: t.Any, kind: t.Any) -> bool:
    if kind.__class__ is tuple:
        return any(_is_scalar(value, each) for each in kind)
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(kind, _Number):
        number = isinstance(value, int) or (isinstance(value, float) and not kind.whole)
        return number and not isinstance(value, bool) and kind.least <= value <= kind.most
    if isinstance(kind, _OneOf):
        return isinstance(value, str) and value in kind.values
    if isinstance(kind, _Time):
        return isinstance(value, str) and bool(_MOMENT.fullmatch(value))
    return isinstance(kind, _Text) and isinstance(value, str) and len(value) <= kind.most and _is_text(value)


def _is_text(value: str) -> bool:
    """Tell whether it can be the name of a file: without NUL, and with bytes that are not UTF-8 as in Python."""
    try:
        return b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
