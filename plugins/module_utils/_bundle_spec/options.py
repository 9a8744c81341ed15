# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data types: the request for a bundle, and the facts that its config depends on. No behaviour."""

from __future__ import annotations

import enum
import typing as t

from .image_document import ImageConfig

RECORD_FORMAT = 1  # Increased when an older release could misread a new record.
RECORD = "longshore.json"  # in the bundle, beside config.json
FIRST_RECORD = "{}\n"


class Action(str, enum.Enum):
    """The steps of a plan, with their names in the result."""

    PULL = "pull"
    ROOTFS = "rootfs"
    MOUNT = "mount"
    CONFIG = "config"
    REMOVE = "remove"


class Options(t.NamedTuple):
    """The options for a config.json as given, which parse.py reads. None: the value of the image."""

    argv: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: t.Mapping[str, t.Any] = {}
    env_files: tuple[str, ...] = ()
    user: str | None = None
    chdir: str | None = None
    tty: bool = False
    hostname: str | None = None
    mounts: tuple[t.Any, ...] = ()
    tmpfs: tuple[str, ...] = ()
    shm_size: str = "64m"
    image_volumes: str = "directory"  # or tmpfs, ignore
    memory: str | None = None
    memory_reservation: str | None = None
    memory_swap: str | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    read_only_tmpfs: bool = True
    no_new_privileges: bool = False
    seccomp: str = "default"
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    ulimits: tuple[str, ...] = ()
    sysctls: t.Mapping[str, t.Any] = {}
    devices: tuple[str, ...] = ()
    network: str = "none"
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    userns: t.Mapping[str, t.Any] | None = None
    annotations: t.Mapping[str, t.Any] = {}
    hooks: t.Mapping[str, t.Any] = {}
    cgroup_parent: str | None = None
    stop_signal: str | None = None
    spec: t.Mapping[str, t.Any] = {}


class Facts(t.NamedTuple):
    """The facts of the host that a config depends on. facts.py collects them."""

    architecture: str  # as Go and images call it
    capabilities: tuple[str, ...]  # all that a container can get
    cgroup2: bool
    uid: int  # of this process
    gid: int
    env_files: tuple[tuple[str, str], ...] = ()
    devices: tuple[tuple[dict[str, t.Any], str], ...] = ()  # as in linux.devices, and how each may be used
    device_sources: t.Mapping[str, str | list[str]] = {}  # their paths on the host, as in _runtime/device_numbers
    namespaces: t.Mapping[str, str] = {}  # paths of those that are joined, by type
    seccomp: t.Mapping[str, t.Any] | None = None  # the profile, if any
    resolv_conf: str | None = None
    most: t.Mapping[str, int] = {}  # the highest limits that can be set, by type; none where any can
    pids: bool = True  # whether processes can be counted
    swap: bool = True  # whether swap can be limited
    recursive: bool = True  # whether the kernel can change flags of all mounts below one (5.12)
    files: frozenset[str] = frozenset()  # the sources of mounts that are no directories
    apparmor: str | None = None  # the profile
    unconfined: bool = False  # whether one is missing
    labels: tuple[str, str] | None = None  # of SELinux, for processes and for files


class Request(t.NamedTuple):
    """One bundle as requested. It has either ``image`` or ``rootfs``, unless it is to be absent."""

    path: str
    absent: bool = False
    image: str | None = None
    rootfs: str | None = None
    pull: str = "missing"
    platform: str | None = None
    authfile: str | None = None
    username: str | None = None
    password: str | None = None
    tls_verify: bool = True
    ca_cert_dir: str | None = None
    timeout: float = 1800  # seconds for all that skopeo and umoci do
    rootfs_mode: str = "copy"
    options: Options = Options()


class Source(t.NamedTuple):
    """The source of the root file system. ``digest`` identifies its content: the same digest means the same files.

    The digest of an image is verified only when it is unpacked. ``files`` is the name of the unpacked files in the store. It
    is empty for an image that is not in the cache, because it depends on the layers there.
    """

    kind: str  # image, tar, directory
    digest: str
    config: ImageConfig = ImageConfig()  # the image's
    image: t.Mapping[str, t.Any] | None = None  # reference, platform, digest; manifest: the name in the cache
    path: str = ""  # of the tar or directory
    cached: bool = True  # False: an image that has to be fetched
    stamp: tuple[int, ...] = ()  # of a tar, or the file of an image: identifies unchanged content without reading it
    files: str = ""
    problem: str = ""  # why an image could not be looked up again, so that it may not be the current one


class BundleRecord(t.NamedTuple):
    """The recorded facts about a bundle, one JSON file in it. Empty (``root`` too) for one that is missing or incomplete."""

    root: str = ""  # the name of the root file system in the bundle
    rootfs_digest: str | None = None
    rootfs_mode: str | None = None
    image: t.Mapping[str, t.Any] | None = None
    source: str = ""
    stamp: t.Sequence[int] = ()
    apparmor: str | None = None
    level: str | None = None
    user: t.Mapping[str, t.Any] = {}  # accounts.User, and ``wanted``: the name that it has in the image
    config_digest: str | None = None
    healthcheck: t.Mapping[str, t.Any] | None = None
    lower: str | None = None  # the name of the files below an overlay, in STATE/roots
    unfinished: bool = False
    format: int = RECORD_FORMAT

    def to_json(self) -> dict[str, t.Any]:
        return {name: each for name, each in self._asdict().items() if each or name not in ("lower", "unfinished")}

    @classmethod
    def from_json(cls, value: t.Mapping[str, t.Any]) -> BundleRecord:
        return cls(**{name: value[name] for name in cls._fields if name in value})


class Plan(t.NamedTuple):
    """The actions for a bundle, and their reasons."""

    actions: tuple[Action, ...]
    root: str = ""  # the name of the root file system in the bundle
    differences: t.Mapping[str, tuple[t.Any, t.Any]] = {}
