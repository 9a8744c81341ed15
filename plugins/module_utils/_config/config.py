# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and check the config.json of a bundle, derive the effective config from it, and compare configs.

A container runs from an effective config, which pure functions derive from the config of the bundle. It is in a directory of
Longshore. Longshore never writes to the bundle, which may be read-only and must not contain conmon's sockets.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import typing as t

from .._base.errors import AbsentFile, InvalidOption, LongshoreError
from .._base.files import read_text
from .._base.process import parse_signal
from .._state import names
from .._state.model import CgroupManager, Desired, NetworkHelper, Record
from .._state.store import Paths
from .._trust import trust
from . import namespaces

Config = dict[str, t.Any]

# Lists whose order has no meaning for a runtime, by the last key of their path.
_SETS = {
    "additionalGids", "ambient", "bounding", "effective", "inheritable", "permitted",
    "maskedPaths", "readonlyPaths", "architectures",
}  # fmt: skip
# Lists of objects that one key identifies.
_KEYED = {"namespaces": "type", "rlimits": "type", "devices": "path", "hugepageLimits": "pageSize"}
NOTIFY_DIRECTORY = "/run/notify"
DEVICES = "longshore.oci.devices"  # The annotation with the devices of the host, by their paths in the container.
DEFAULT_STOP_SECONDS = 10.0


def read_bundle(bundle: str) -> Config:
    """Return the config.json of a bundle with an absolute root path. Raises InvalidOption."""
    if not os.path.isabs(bundle):
        raise InvalidOption(f"The bundle {bundle} must be given as an absolute path.")
    if not os.path.isdir(bundle):
        raise AbsentFile(f"There is no bundle at {bundle}.", hint="A bundle is a directory with a config.json.")
    path = os.path.join(bundle, "config.json")
    trust.check(bundle, "The bundle")
    trust.check(path, "The bundle", missing=True)
    try:
        text = read_text(path, errors="strict")
        config: t.Any = json.loads("null" if text is None else text)
    except LongshoreError as exc:
        raise InvalidOption(exc.message) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidOption(f"{path} cannot be read: {exc}.") from exc
    if text is None:
        raise AbsentFile(f"The bundle {bundle} has no config.json.", hint="'runc spec' makes one.")
    _check(config, path)
    root = os.path.join(bundle, config["root"]["path"])
    if not os.path.isdir(root):
        raise AbsentFile(f"The root file system {root} of the bundle does not exist.")
    config["root"]["path"] = os.path.realpath(root)  # runc (1.1) refuses a path with a symbolic link.
    check_root(config)
    # Relative sources start at the bundle (runtime-spec, config.md), but the effective config is in another directory.
    for mount in config.get("mounts") or []:
        binds = {"bind", "rbind"} & set(mount.get("options") or ())
        if (binds or mount.get("type") == "bind") and mount.get("source"):
            mount["source"] = os.path.join(bundle, mount["source"])
    return t.cast(Config, config)


def check_root(config: t.Mapping[str, t.Any]) -> None:
    """Raises InvalidOption if another user can change the root file system."""
    linux, ids = config.get("linux") or {}, []
    with contextlib.suppress(KeyError, TypeError, ValueError):  # The runtime reports what is wrong with them.
        for each in [*(linux.get("uidMappings") or ()), *(linux.get("gidMappings") or ())]:
            ids.append(range(int(each["hostID"]), int(each["hostID"]) + int(each["size"])))
    trust.check(config["root"]["path"], "The root file system", tree=True, ids=ids)


def _check(config: t.Any, path: str) -> None:
    """Check what every runtime needs, for clearer errors. The runtime checks the rest."""
    if not isinstance(config, dict) or not isinstance(config.get("ociVersion"), str):
        raise InvalidOption(f"{path} is not an OCI runtime configuration: it has no ociVersion.")
    for name in ("root", "process", "linux", "annotations"):
        if not isinstance(config.get(name) or {}, dict):
            raise InvalidOption(f"{path} is not valid: {name} must be an object.")
    root = (config.get("root") or {}).get("path")
    if not root or not isinstance(root, str):
        raise InvalidOption(f"{path} names no root file system (root.path).")
    args = (config.get("process") or {}).get("args")
    if not args or not _is_strings(args):
        raise InvalidOption(f"{path} names no program to run (process.args, a list of strings).")
    if not str(config["process"].get("cwd", "/")).startswith("/"):
        raise InvalidOption(f"{path} is not valid: process.cwd must be an absolute path.")
    if not _is_strings(config["process"].get("env") or []):
        raise InvalidOption(f"{path} is not valid: process.env must be a list of strings.")
    if namespaces.fault(config):
        raise InvalidOption(f"{path} is not valid: {namespaces.fault(config)}.")
    mounts = config.get("mounts") or []
    if not isinstance(mounts, list) or not all(_is_mount(mount) for mount in mounts):
        raise InvalidOption(f"{path} is not valid: mounts must be a list of objects with text for options and source.")


def _is_mount(value: t.Any) -> bool:
    return (
        isinstance(value, dict) and _is_strings(value.get("options") or []) and _is_strings([value.get("source", "")])
    )


def _is_strings(value: t.Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def effective(config: Config, record: Record, paths: Paths) -> Config:
    """Return the config for the runtime, from the config of a bundle or from an effective one."""
    path = names.container_cgroup(record)
    if record.cgroup_manager is CgroupManager.SYSTEMD:
        path = f"{names.cgroup_parent(record)}:{names.prefix(record.realm)}:{names.unit_part(record.name)}"
    if record.cgroup_manager is CgroupManager.SYSTEMD or config.get("annotations"):
        from . import stop_contract

        config = stop_contract.applied(config, record)
    result = {**config, "linux": {**(config.get("linux") or {}), "cgroupsPath": path}}
    if any(each.startswith(namespaces.PEER) for each in namespaces.namespaces_of(result).values()):
        from .shared_namespaces import by_path

        result = by_path(result, paths.namespaces)
    if record.definition.listen:
        sockets = [listen_name(text) or record.name for text in record.definition.listen]
        # sd_listen_fds(3). runc sets the first two by itself, crun does not. The first process of a pid namespace is 1.
        _set_env(result, LISTEN_FDS=str(len(sockets)), LISTEN_PID="1", LISTEN_FDNAMES=":".join(sockets))
    elif any(word.startswith("LISTEN_FDS=") for word in config["process"].get("env") or []):
        _set_env(result, LISTEN_FDS=None, LISTEN_PID=None, LISTEN_FDNAMES=None)  # of a removed option listen
    if record.definition.sdnotify == "container":
        _set_env(result, NOTIFY_SOCKET=f"{NOTIFY_DIRECTORY}/notify.sock")
        # A read-only mount does not prevent sending to a socket, and the mount is part of a file system of the host.
        options = ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"]
        mount = {"destination": NOTIFY_DIRECTORY, "type": "bind", "source": paths.notify, "options": options}
        others = [other for other in config.get("mounts") or [] if other.get("destination") != NOTIFY_DIRECTORY]
        result["mounts"] = [*others, mount]
    if config.get("hooks") or record.definition.network_helper is not NetworkHelper.NONE:
        from . import hooks

        found = hooks.effective(config.get("hooks"), record, paths)
        return {**result, "hooks": found} if found or config.get("hooks") else result
    return result


def listen_name(text: str) -> str:
    """Return the name in front of an address to listen on, such as ``admin`` of ``admin=8081``, or an empty string."""
    name, equals, _address = text.partition("=")
    return name if equals and re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) else ""


def _set_env(config: Config, **variables: str | None) -> None:
    process = config["process"]
    kept = [word for word in process.get("env") or [] if word.partition("=")[0] not in variables]
    new = [f"{name}={value}" for name, value in variables.items() if value is not None]
    config["process"] = {**process, "env": kept + new}


def stop_settings(desired: Desired, source: Config, recorded: Record | None) -> tuple[int, float]:
    """Return the stop signal and timeout (seconds) for the record. Without a bundle, the recorded values stay."""
    if desired.definition is None and recorded is not None:
        return recorded.stop_signal, recorded.stop_timeout
    number = desired.stop_signal or parse_signal(default_stop_signal(source))
    return number, DEFAULT_STOP_SECONDS if desired.timeouts.stop is None else desired.timeouts.stop


def default_stop_signal(config: Config) -> str:
    """Return the stop signal of the image of the bundle (image-spec, conversion.md), otherwise TERM."""
    return str((config.get("annotations") or {}).get("org.opencontainers.image.stopSignal") or "TERM")


def without_stop_contract(config: Config) -> Config:
    """Return the config without the stop settings of its scope, which need no new container."""
    if not config.get("annotations"):
        return config
    from .stop_contract import without

    return without(config)


def flatten(value: t.Any, path: str = "") -> dict[str, t.Any]:
    """Return the leaves of an object or list by JSON path, without differences that have no meaning for a runtime.

    Empty values are the same as absent ones, and lists without an order are sorted. Environments and keyed lists use
    names instead of positions, so a new first variable is only one difference.
    """
    key = path.rpartition(".")[2]
    if isinstance(value, list) and key == "env":
        value = dict(str(word).partition("=")[::2] for word in value)
    elif isinstance(value, list) and key in _SETS:
        value = sorted(value, key=str)
    elif isinstance(value, list) and key in _KEYED and all(isinstance(e, dict) and _KEYED[key] in e for e in value):
        value = {f"[{entry[_KEYED[key]]}]": entry for entry in value}
    if isinstance(value, dict):
        items = [(f"{path}.{name}" if path else str(name), item) for name, item in value.items()]
    else:
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    leaves: dict[str, t.Any] = {}
    for name, item in items:
        if isinstance(item, (dict, list)):
            leaves.update(flatten(item, name))
        elif item is not None:
            leaves[name] = item
    return leaves


def digest(config: Config) -> str:
    """Return the sha256 of a config. It does not depend on the order of keys and of unordered lists."""
    text = json.dumps(flatten(without_stop_contract(config)), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
