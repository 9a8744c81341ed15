# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the facts that a config depends on, from files of this host and of a root file system that is not trusted."""

from __future__ import annotations

import json
import os
import stat
import typing as t

from .._base.accounts import MOST_BYTES, User, find_user
from .._base.capabilities import bounding, known_to
from .._base.errors import AbsentFile, InvalidOption, LongshoreError, MissingPrerequisite, NotInstalled, reason_of
from .._base.files import read_text
from .._bundle_spec import parse
from .._bundle_spec.options import BundleRecord, Facts, Options, Request
from .._bundle_spec.seccomp import DEFAULT_PATHS
from .._config.namespace_paths import KINDS, check_path
from .._state.store import Store, check_name
from .._trust import trust
from . import confinement

# The names of architectures in Go and in images, by those of the kernel.
_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armv7l": "arm", "armv6l": "arm",
    "loongarch64": "loong64",
}  # fmt: skip
# The file with the servers behind the stub resolver, which only the host itself can use.
_RESOLVED = "/run/systemd/resolve/resolv.conf"


def architecture() -> str:
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def touched(request: Request, state_dir: str) -> list[str]:
    """Return the paths of the host that a request makes this collection look at."""
    options = Options() if request.absent else request.options
    mounts = [mount["source"] for mount in map(parse.mount, options.mounts) if mount["type"] == "bind"]
    namespaces = [getattr(options, kind).partition(":")[2] for kind in KINDS]
    given = [request.path, request.rootfs, request.authfile, request.ca_cert_dir, parse.image_file(request.image or "")]
    devices = [parse.device(value)[0] for value in options.devices]
    paths = (*given, *options.env_files, options.seccomp, *mounts, *namespaces, *devices)
    return [state_dir, *(os.path.abspath(path) for path in paths if path)]


class _Assumed:
    """Report a file that does not exist yet: an error, or in check mode only a reason for a warning, because an earlier task may create it."""

    def __init__(self, found: list[str] | None) -> None:
        self._found = found

    def absent(self, exc: LongshoreError) -> None:
        if self._found is None:
            raise exc
        self._found.append(exc.message)


def assumptions(found: t.Sequence[str]) -> tuple[str, ...]:
    """Return the warnings of check mode about what does not exist yet."""
    return tuple(f"{each} Check mode assumes that an earlier task of the play creates it." for each in found)


def gather(options: Options, store: Store, path: str, record: BundleRecord, assumed: list[str] | None = None) -> Facts:
    """Return the facts for the bundle at ``path`` with this ``record``. Raises InvalidOption or MissingPrerequisite for
    options that need something that the host lacks, except for missing files with a list ``assumed``, which gets them."""
    check = _Assumed(assumed)
    recursive, mounts = confinement.can_set_recursively(os.uname().release), list(map(parse.mount, options.mounts))
    binds = [mount for mount in mounts if mount["type"] == "bind"]
    for mount in binds:
        if not os.path.lexists(mount["source"]):
            what = f"The source {mount['source']} of the mount at {mount['destination']}"
            check.absent(AbsentFile(f"{what} does not exist."))
        asked = [] if recursive else parse.asked_recursive(mount["options"])
        if asked:
            what = f"{asked[0]} of the mount at {mount['destination']}"
            raise MissingPrerequisite(f"{what} needs Linux 5.12.", hint=f"Use {asked[0][1:]}.")
    paths = {kind: _joined(kind, getattr(options, kind), check) for kind in KINDS}
    namespaces = {kind: found for kind, found in paths.items() if found is not None}
    capabilities, uid = available_capabilities(), os.geteuid()
    # In its own user namespace, a process cannot raise its limits, like a user other than root.
    may_raise = uid == 0 and not options.userns and "CAP_SYS_RESOURCE" in capabilities
    # The order in which a task names them has no meaning.
    devices = sorted(
        (each for value in options.devices for each in _devices(value, check)), key=lambda each: str(each[0]["path"])
    )
    apparmor, unconfined = confinement.apparmor_profile(options, uid, record.apparmor)
    return Facts(
        architecture=architecture(), capabilities=capabilities, uid=uid, gid=os.getegid(),
        cgroup2=os.path.exists("/sys/fs/cgroup/cgroup.controllers"), namespaces=namespaces,
        env_files=tuple((path, _read(path, "env_files", check)) for path in options.env_files),
        devices=tuple((device, access) for device, access, _path in devices),
        device_sources={device["path"]: path for device, _access, path in devices},
        seccomp=_profile(options, check), resolv_conf=_resolv_conf(options.network), apparmor=apparmor, unconfined=unconfined,
        most=confinement.most(may_raise=may_raise, open_files=int(read_text("/proc/sys/fs/nr_open") or 2**20)),
        pids=confinement.counts_processes(uid), swap=confinement.limits_swap(uid), recursive=recursive,
        files=frozenset(
            mount["source"] for mount in binds if os.path.lexists(mount["source"]) and not os.path.isdir(mount["source"])
        ),
        labels=confinement.host_labels(
            options, path, lambda: _level(options, store, record), lambda: _levels(store)
        ),
    )  # fmt: skip


def _levels(store: Store) -> set[str]:
    """Return the SELinux levels of all containers."""
    configs = [store.load_config(name) or {} for name in store.names()]
    found = {confinement.level_of((config.get("process") or {}).get("selinuxLabel")) for config in configs}
    return {level for level in found if level is not None}


def _level(options: Options, store: Store, record: BundleRecord) -> str | None:
    """Return the required level of a bundle: of the container whose processes or memory it shares, otherwise the recorded one."""
    for wanted in (options.pid, options.ipc):
        if wanted.startswith("container:"):
            name = wanted.partition(":")[2]
            check_name(name)
            process = (store.load_config(name) or {}).get("process") or {}
            return confinement.level_of(process.get("selinuxLabel"))
    return record.level


def _joined(kind: str, wanted: str, check: _Assumed) -> str | None:
    """Return the path of a namespace. ``container:NAME`` stays as it is, because each launch resolves it. None for the other
    values."""
    how, _colon, what = wanted.partition(":")
    if how == "path" and what.startswith("/"):
        check_path(kind, what, "Use container:NAME for the namespace of another container, or host.")
        if not os.path.exists(what):
            hint = "oci_network or 'ip netns add NAME' creates one."
            check.absent(AbsentFile(f"{kind}: there is no namespace at {what}.", hint=hint))
        return what
    if how == "container" and what:
        check_name(what)
        return wanted
    own = "none" if kind == "network" else "private"
    if wanted not in (own, "host"):
        raise InvalidOption(f"{kind} cannot be {wanted!r}.", hint=f"Use {own}, host, path:PATH or container:NAME.")
    return None


def available_capabilities() -> tuple[str, ...]:
    """Return all capabilities that a child of this process can have. In its own user namespace, these are all that exist."""
    if os.geteuid() != 0:
        return known_to(read_text("/proc/sys/kernel/cap_last_cap"))
    return tuple(bounding(read_text("/proc/self/status") or ""))


def _read(path: str, name: str, check: _Assumed) -> str:
    if not os.path.lexists(path):
        check.absent(AbsentFile(f"{name}: {path} cannot be read: No such file or directory."))
        return ""
    trust.check(os.path.abspath(path), name)
    try:
        text = read_text(path, errors="surrogateescape")
    except LongshoreError as exc:
        raise InvalidOption(f"{name}: {path} cannot be read: {exc}") from exc
    if text is None:
        raise InvalidOption(f"{name}: {path} cannot be read: No such file or directory.")
    return text


def _profile(options: Options, check: _Assumed) -> t.Mapping[str, t.Any] | None:
    path = options.seccomp
    if path == "unconfined" or options.privileged:
        return None
    if path == "default":
        path = next(filter(os.path.exists, DEFAULT_PATHS), "")
        hint = "The role longshore.oci.runtime installs it. You can also set another profile, or seccomp: unconfined."
        if not path:
            check.absent(NotInstalled(f"This host has no default seccomp profile ({DEFAULT_PATHS[-1]}).", hint=hint))
            return None
    if not path.startswith("/"):
        raise InvalidOption(f"seccomp must be default, unconfined or an absolute path, not {path!r}.")
    try:
        text = _read(path, "seccomp", check)
        found = json.loads(text) if text or os.path.lexists(path) else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidOption(f"The seccomp profile {path} is not a JSON object.")
    return found


def _devices(value: str, check: _Assumed) -> t.Iterator[tuple[dict[str, t.Any], str, str | list[str]]]:
    """Yield one device, or all devices below a directory such as /dev/snd, with their access. The path on the host is in a list for
    one of a directory, which may be missing later. A directory may also have other files, as in podman."""
    host, place, access = parse.device(value)
    paths, is_directory = [host], os.path.isdir(host)
    if is_directory:
        every = (os.path.join(parent, name) for parent, _directories, names in os.walk(host) for name in names)
        paths = sorted(path for path in every if _leads_to_device(path))
        if not paths:
            check.absent(AbsentFile(f"There is no device in the directory {host}."))
    for path in paths:
        try:
            found = os.stat(path)
        except FileNotFoundError as exc:
            check.absent(AbsentFile(f"The device {path} cannot be used: {reason_of(exc)}."))
            continue
        except OSError as exc:
            raise InvalidOption(f"The device {path} cannot be used: {reason_of(exc)}.") from exc
        if not _is_device(found):
            raise InvalidOption(f"{path} is not a device.")
        yield {
            "path": os.path.join(place, os.path.relpath(path, host)) if is_directory else place,
            "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
            "major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev),
            "fileMode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid,
        }, access, [path] if is_directory else path  # fmt: skip


def _leads_to_device(path: str) -> bool:
    try:
        return _is_device(os.stat(path))
    except OSError:
        return False


def _is_device(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)


def _resolv_conf(network: str) -> str | None:
    """Return the file with name servers that are reachable from the network namespace, or None if none is mounted."""
    if network == "none":
        return None
    name = os.path.basename(network) if network.startswith("path:/run/netns/") else ""
    candidates = [f"/etc/netns/{name}/resolv.conf"] if name else []  # ip-netns(8)
    if network != "host" and "127.0.0.53" in (read_text("/etc/resolv.conf") or ""):
        candidates.append(_RESOLVED)
    return next((path for path in [*candidates, "/etc/resolv.conf"] if os.path.exists(path)), None)


def inside(root: str, path: str) -> str | None:
    """Return the host path of a path in a root file system, or None if it does not exist. Follow symbolic links as in the
    container, so that they never lead to the host."""
    to = leads_to(root, path)
    real = f"{root}{to}".rstrip("/")
    return real if to is not None and os.path.lexists(real) else None


def _text(root: str, path: str) -> str | None:
    """Return the text of a file that a container may have written. It can neither block this nor exhaust memory."""
    real = inside(root, path)
    if real is None or not os.path.isfile(real):
        return None
    try:
        return read_text(real, limit=MOST_BYTES, errors="surrogateescape")
    except LongshoreError as exc:
        raise InvalidOption(f"The root file system has no usable {path}: {exc.message}") from exc


def leads_to(root: str, path: str) -> str | None:
    """Return the target of a path in a container with this root, or None for a loop of symbolic links."""
    todo, at, links = path.split("/")[::-1], "", 0
    while todo:
        word = todo.pop()
        if word in ("", "."):
            continue
        if word == "..":
            at = at.rpartition("/")[0]
            continue
        try:
            target = os.readlink(f"{root}{at}/{word}")
        except OSError:  # It is not a link, or does not exist.
            at = f"{at}/{word}"
            continue
        links += 1
        if links > 40:
            return None
        at = "" if target.startswith("/") else at
        todo += target.split("/")[::-1]
    return at or "/"


def look_up(root: str, wanted: str) -> User:
    """Return the user that ``USER[:GROUP]`` is in a root file system. Raises InvalidOption."""
    from . import used_directory

    with used_directory.uncovered(root) as (at, _mounts):
        return find_user(wanted, passwd=_text(at, "etc/passwd"), group=_text(at, "etc/group"), where="image")
