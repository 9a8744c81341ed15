# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the config for a container from an archive if this host has its root file system but no config.json. Pure.

It is the part of the archived config that stays within the defaults of oci_bundle and podman for a container without further
options. Anything beyond is missing from it, and rights.py names it.
"""

from __future__ import annotations

import re
import typing as t

from .._config.default_capabilities import DEFAULT
from .._config.namespaces import namespaces_of
from .rights import is_bind

Config = dict[str, t.Any]
# The least of what podman and docker mask and write-protect, in all their versions of the last years.
MASKED = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
# The system calls that the default profiles of podman and docker forbid with the default capabilities.
FORBIDDEN = frozenset((
    "acct", "add_key", "bpf", "clock_settime", "clock_settime64", "create_module", "delete_module", "fanotify_init", "finit_module",
    "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kexec_file_load",
    "kexec_load", "lookup_dcookie", "nfsservctl", "open_by_handle_at", "perf_event_open", "quotactl", "quotactl_fd",
    "settimeofday", "stime", "swapoff", "swapon", "sysfs", "_sysctl", "userfaultfd", "uselib", "vhangup", "vm86", "vm86old",
))  # fmt: skip
# The allowed mount points of kernel file systems, with their required options.
_KERNEL_MOUNTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "proc": ("/proc", ("nosuid", "noexec", "nodev")), "sysfs": ("/sys", ("ro", "nosuid", "noexec", "nodev")),
    "devpts": ("/dev/pts", ("nosuid", "noexec")), "mqueue": ("/dev/mqueue", ("nosuid", "noexec", "nodev")),
    "cgroup": ("/sys/fs/cgroup", ("ro", "nosuid", "noexec", "nodev")), "cgroup2": ("/sys/fs/cgroup", ("ro", "nosuid", "noexec", "nodev")),
}  # fmt: skip
_BELOW_KERNEL = re.compile(r"/+(proc|sys)(/.*)?")
_SYSCTL = {
    "network": re.compile(r"net\..+"),
    "ipc": re.compile(r"kernel\.(msg.+|sem|shm.+)|fs\.mqueue\..+"),
    "uts": re.compile(r"kernel\.(host|domain)name"),
}
# null zero full random urandom tty console ptmx, and the terminals of devpts.
_DEVICES = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None)}
_REFUSALS = ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS")
_PROCESS = ("terminal", "args", "env", "cwd", "noNewPrivileges", "user", "rlimits")
# The confinements of podman, docker and oci_bundle, and the one to use if an archive has another one, such as spc_t.
_CONFINED = {
    "apparmorProfile": (
        re.compile(r"(containers-default|docker-default|crio-default)[A-Za-z0-9._-]*"),
        "containers-default",
    ),
    "selinuxLabel": (re.compile(r"system_u:system_r:container_t:s0(:c\d+,c\d+)?"), "system_u:system_r:container_t:s0"),
    "mountLabel": (
        re.compile(r"system_u:object_r:container_file_t:s0(:c\d+,c\d+)?"),
        "system_u:object_r:container_file_t:s0",
    ),
}


def within(spec: t.Mapping[str, t.Any], root: str, *, generated: t.Callable[[t.Mapping[str, t.Any]], bool]) -> Config:
    """Return the config with the root file system ``root``. ``generated`` tells whether Longshore creates the source of a bind
    mount again on this host."""
    process, linux = spec["process"], spec.get("linux") or {}
    config: Config = {
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": bool(spec["root"].get("readonly"))},
        "process": {
            **{name: process[name] for name in _PROCESS if name in process},
            **_confined(process, "apparmorProfile", "selinuxLabel"),
            "capabilities": _capabilities(process.get("capabilities") or {}), "oomScoreAdj": max(0, process.get("oomScoreAdj", 0)),
        },
        "mounts": [mount for mount in spec.get("mounts") or [] if _is_plain(mount) or (is_bind(mount) and generated(mount))],
        "linux": {
            "namespaces": _namespaces(spec), "resources": _resources(linux.get("resources") or {}),
            "sysctl": _sysctls(spec), "seccomp": _seccomp(linux.get("seccomp")),
            "devices": [each for each in linux.get("devices") or [] if each.get("type") == "c" and _is_default(each)],
            "maskedPaths": sorted({*MASKED, *_absolute(linux, "maskedPaths")}),
            "readonlyPaths": sorted({*READ_ONLY, *_absolute(linux, "readonlyPaths")}),
            **_confined(linux, "mountLabel"),
        },
    }  # fmt: skip
    config.update({name: spec[name] for name in ("hostname", "domainname") if spec.get(name)})
    return config


def _absolute(linux: t.Mapping[str, t.Any], name: str) -> list[str]:
    return [path for path in linux.get(name) or [] if path.startswith("/")]


def _capabilities(asked: t.Mapping[str, t.Sequence[str]]) -> dict[str, list[str]]:
    sets = ("bounding", "effective", "permitted")
    return {kind: [name for name in asked.get(kind) or [] if name in DEFAULT] for kind in sets}


def _confined(values: t.Mapping[str, t.Any], *names: str) -> Config:
    """Keep a default confinement. Replace any other one, so that rights.py names it. Without one, the result has none."""
    found = {name: str(values[name]) for name in names if values.get(name)}
    return {name: text if _CONFINED[name][0].fullmatch(text) else _CONFINED[name][1] for name, text in found.items()}


def _is_plain(mount: t.Mapping[str, t.Any]) -> bool:
    """Tell whether a mount has nothing of the host."""
    kind, options = mount.get("type"), set(mount.get("options") or [])
    place = "/" + mount["destination"].strip("/")
    if is_bind(mount) or ".." in place.split("/"):
        return False
    if kind == "tmpfs":
        return not _BELOW_KERNEL.fullmatch(place) and place != "/"
    where, words = _KERNEL_MOUNTS.get(kind or "", ("", ()))
    return place == where and options >= set(words)


def _namespaces(spec: t.Mapping[str, t.Any]) -> list[Config]:
    asked = [kind for kind in ("cgroup", "time") if kind in namespaces_of(spec)]
    return [{"type": kind} for kind in (*NAMESPACES, *asked)]


def _resources(asked: t.Mapping[str, t.Any]) -> Config:
    """Return the limits, and only the devices of every container."""
    rules = [
        rule
        for rule in asked.get("devices") or []
        if not rule.get("allow") or (rule.get("type") == "c" and _is_default(rule))
    ]
    found = {name: asked[name] for name in ("memory", "cpu", "pids") if asked.get(name)}
    if found.get("pids", {}).get("limit") == 0:  # means no limit in podman
        del found["pids"]
    return {"devices": [{"allow": False, "access": "rwm"}, *rules], **found}


def _is_default(device: t.Mapping[str, t.Any]) -> bool:
    major, minor = device.get("major"), device.get("minor")
    return (major, minor) in _DEVICES or (major, None) in _DEVICES


def _sysctls(spec: t.Mapping[str, t.Any]) -> dict[str, str]:
    linux, own = spec.get("linux") or {}, [kind for kind, path in namespaces_of(spec).items() if not path]
    return {
        name: value
        for name, value in (linux.get("sysctl") or {}).items()
        if any(kind in own and pattern.fullmatch(name) for kind, pattern in _SYSCTL.items())
    }


def _seccomp(asked: t.Mapping[str, t.Any] | None) -> Config:
    """Return the filter without the system calls that no default profile allows."""
    rules = [
        {**rule, "names": [name for name in rule.get("names") or [] if name not in FORBIDDEN or rule["action"] in _REFUSALS]}
        for rule in (asked or {}).get("syscalls") or []
        if rule.get("action") in ("SCMP_ACT_ALLOW", *_REFUSALS)
    ]  # fmt: skip
    kept = {name: (asked or {})[name] for name in ("architectures", "defaultErrnoRet") if name in (asked or {})}
    return {"defaultAction": "SCMP_ACT_ERRNO", **kept, "syscalls": [rule for rule in rules if rule["names"]]}
