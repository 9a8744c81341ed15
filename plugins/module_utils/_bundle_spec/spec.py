# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the config.json of a bundle from the configuration of an image, options, and facts of the host. Pure.

The defaults (capabilities, mounts, masked and read-only paths, seccomp) are those of podman 5. The configuration of an image
is converted as the image-spec requires (conversion.md). Raises InvalidOption for impossible requests.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import typing as t

from .._base.accounts import User
from .._base.capabilities import full_names
from .._base.errors import InvalidOption
from .._base.process import parse_signal, signal_name
from .._base.program import SEARCH_PATH
from .._config import program_words
from .._config.default_capabilities import DEFAULT
from .._config.sizes import parse_size
from .._trust.annotations import from_outside, is_signal
from . import limits, parse, seccomp
from .image_document import ImageConfig
from .options import Facts, Options

Config = dict[str, t.Any]

OCI_VERSION = "1.0.2"  # The oldest version with all features that are used here. Every runtime since 2020 accepts it.
MASKED = (
    "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware",
    "/sys/fs/selinux",
)  # fmt: skip
READ_ONLY = ("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_IMAGE = "org.opencontainers.image"
# No volume of an image is mounted at or below these paths of the kernel (as in CVE-2019-16884) and of this collection.
_RESERVED = ("/proc", "/sys", "/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


def make(image: ImageConfig, options: Options, facts: Facts, user: User, path: str) -> Config:
    """Return the config. ``image`` is the configuration of an image, empty without one, ``path`` is that of the bundle. The code
    that creates the root file system sets root.path."""
    maps = id_maps(options, facts)
    capabilities = _capabilities(options, facts, user)
    config: Config = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "rootfs", "readonly": options.read_only},
        "process": _process(image, options, facts, user, capabilities, maps, path),
        "mounts": _mounts(image, options, facts, maps, path),
        "annotations": _annotations(image, options),
        "linux": _linux(options, facts, capabilities["bounding"], maps, path),
    }
    if options.uts == "private":
        config["hostname"] = hostname(options, path)
    elif options.hostname is not None:
        raise InvalidOption("hostname needs its own UTS namespace (uts: private).")
    if options.hooks:
        config["hooks"] = dict(options.hooks)
    config = merged(config, options.spec)
    if config.get("hooks"):
        from .._config import hooks

        config["hooks"] = hooks.checked(config["hooks"])
        parse.refuse_keys_of_hooks(config["hooks"])
    if isinstance(config.get("process"), dict):
        program_words.check(config["process"])
    return config


def merged(value: t.Any, other: t.Any) -> t.Any:
    """Merge dictionaries key by key. Any other value comes from ``other``, where None removes a key."""
    if not isinstance(value, dict) or not isinstance(other, t.Mapping):
        return other
    result = {key: item for key, item in value.items() if other.get(key, item) is not None}
    for key, item in other.items():
        if item is not None:
            result[key] = merged(value.get(key, {} if isinstance(item, t.Mapping) else None), item)
    return result


def id_maps(options: Options, facts: Facts) -> dict[str, tuple[parse.IdMap, ...]]:
    """Return the mappings of uid and gid, empty without a user namespace. Users other than root become root of the container."""
    if facts.uid != 0:
        if options.userns:
            raise InvalidOption("Only root can set userns. Any other user is mapped to root of the container.")
        return {"uid": (parse.IdMap(0, facts.uid, 1),), "gid": (parse.IdMap(0, facts.gid, 1),)}
    if not options.userns:
        return {}
    return {"uid": parse.id_maps(options.userns, "uidmap"), "gid": parse.id_maps(options.userns, "gidmap")}


def hostname(options: Options, path: str) -> str:
    """Return the given host name, otherwise one from the bundle's name."""
    fallback = re.sub(r"[^A-Za-z0-9.-]+", "-", posixpath.basename(path)).strip("-.")[:63] or "container"
    name = options.hostname or fallback
    # The kernel takes any name (sethostname(2)). This one also becomes a word of /etc/hosts.
    size, wrong = (
        len(name.encode("utf-8", "replace")),
        [each for each in name if not each.isprintable() or each in " #/"],
    )
    if size > 64 or wrong:
        why = f"it has the character {wrong[0]!r}" if wrong else f"it has {size} bytes, and the kernel takes at most 64"
        raise InvalidOption(f"{name[:100]!r} cannot be a hostname: {why}.")
    return name


def files(options: Options, path: str) -> dict[str, str]:
    """Return the small files of the bundle that are mounted into the container, by name."""
    if options.uts != "private":
        return {}
    name = hostname(options, path)
    texts = {"hostname": f"{name}\n"}
    if options.network != "host":
        texts["hosts"] = f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n"
    return texts


def volumes(image: ImageConfig, options: Options) -> dict[str, str]:
    """Return the directories of the bundle for the volumes of an image, from destination to name."""
    if options.image_volumes != "directory":
        return {}
    return {place: _volume_name(place) for place in wanted_volumes(image, options) if not is_reserved(place)}


def wanted_volumes(image: ImageConfig, options: Options) -> list[str]:
    """Return the destinations of the image's volumes that no mount of the task replaces, including reserved ones."""
    if options.image_volumes == "ignore":
        return []
    taken = {parse.mount(value)["destination"] for value in options.mounts}
    taken |= {parse.tmpfs(value)["destination"] for value in options.tmpfs}
    return [place for place in image.volumes if place not in taken]


def is_reserved(place: str) -> bool:
    """Tell whether a normalized path in the container is not allowed for a volume of an image."""
    return place == "/" or f"{place}/".startswith(tuple(f"{reserved}/" for reserved in _RESERVED))


def _volume_name(place: str) -> str:
    readable, total = place.strip("/").replace("/", "-"), hashlib.sha256(place.encode()).hexdigest()
    # A file name has at most 255 bytes.
    return f"{readable}-{total[:6]}" if len(readable.encode()) <= 248 else total


def _process(
    image: ImageConfig, options: Options, facts: Facts, user: User, capabilities: dict[str, list[str]],
    maps: dict[str, tuple[parse.IdMap, ...]], path: str,
) -> Config:  # fmt: skip
    entrypoint, arguments = image.entrypoint, options.argv
    if options.entrypoint is not None:
        # The image's arguments are only for its entry point.
        entrypoint, arguments = options.entrypoint, arguments or ()
    words = [*entrypoint, *(arguments if arguments is not None else image.cmd)]
    if not words or not words[0]:
        given = next((name for name in ("argv", "entrypoint") if getattr(options, name) is not None), None)
        why = f"{given} is empty" if given else "the image names none"
        raise InvalidOption(
            f"There is no program to run: {why}.",
            hint="Give argv or command, or leave out both for the image's program.",
        )
    cwd = options.chdir or image.workdir or "/"
    if not cwd.startswith("/"):
        raise InvalidOption(f"chdir must be an absolute path in the container, not {cwd[:100]!r}.")
    for kind, number in (("uid", user.uid), ("gid", user.gid)):
        if maps and parse.mapped(number, maps[kind]) is None:
            hint = "See userns." if facts.uid == 0 else 'A user other than root has only 0 there. Set user: "0".'
            raise InvalidOption(f"The container's {kind} {number} is not mapped to one of the host.", hint=hint)
    who: Config = {"uid": user.uid, "gid": user.gid, "umask": 0o22}
    if facts.uid == 0:  # No other user can give a container groups.
        # With the first group, as in podman: otherwise the process could drop it, and with it restrictions of its members
        # (CVE-2022-2989).
        groups = [
            group for group in (user.gid, *user.groups) if not maps or parse.mapped(group, maps["gid"]) is not None
        ]
        who["additionalGids"] = groups
    process: Config = {
        "terminal": options.tty, "user": who, "args": list(words), "env": _environment(image, options, facts, user, path),
        "cwd": posixpath.normpath(cwd), "capabilities": capabilities, "noNewPrivileges": options.no_new_privileges,
        "rlimits": limits.rlimits(options, facts),
    }  # fmt: skip
    label = options.selinux_label if options.selinux_label != "disable" else None
    optional = {
        "oomScoreAdj": limits.oom_score(options), "apparmorProfile": facts.apparmor,
        "selinuxLabel": facts.labels[0] if facts.labels else label,
    }  # fmt: skip
    return {**process, **{key: value for key, value in optional.items() if value is not None}}


def _environment(image: ImageConfig, options: Options, facts: Facts, user: User, path: str) -> list[str]:
    values = {"PATH": SEARCH_PATH, "container": "longshore", "HOME": user.home}
    if options.tty:
        values["TERM"] = "xterm"
    if options.uts == "private":
        values["HOSTNAME"] = hostname(options, path)
    values.update(image.env)
    for name, text in facts.env_files:
        values.update(parse.env_file(text, name))
    values.update(parse.environment(options.env))
    return [f"{name}={value}" for name, value in values.items()]


def _capabilities(options: Options, facts: Facts, user: User) -> dict[str, list[str]]:
    """Return the sets. As in podman, only explicitly added ones for a user other than root are inheritable and ambient."""
    add = set(full_names(options.capabilities_add, all_allowed=True))
    drop = set(full_names(options.capabilities_drop, all_allowed=True))
    if add & drop:
        raise InvalidOption(f"{min(add & drop)} cannot be both added and dropped.")
    lacking = add - {"ALL", *facts.capabilities}
    if lacking:
        raise InvalidOption(f"{min(lacking)} cannot be given: the user of this task does not have it.")
    wanted = set(facts.capabilities) if options.privileged or "ALL" in add else set(DEFAULT) | add
    if "ALL" in drop:
        wanted = add
    bounding = [name for name in facts.capabilities if name in wanted - drop]
    if user.uid == 0 or options.privileged:
        return {"bounding": bounding, "effective": bounding, "permitted": bounding}
    own = [name for name in bounding if name in add or "ALL" in add]
    return {"bounding": bounding, **dict.fromkeys(("effective", "permitted", "inheritable", "ambient"), own)}


def _mounts(image: ImageConfig, options: Options, facts: Facts, maps: t.Mapping[str, t.Any], path: str) -> list[Config]:
    """Return the mounts. Later ones replace earlier ones with the same destination. Parents come before their children, and the
    order is that of podman, by the depth of a destination and its name: that in which a task names them has no meaning."""
    found = _kernel_mounts(options, facts, maps)
    for name in files(options, path):
        found.append(_bind(f"{path}/etc/{name}", f"/etc/{name}"))
    if options.network == "host":
        found.append(_bind("/etc/hosts", "/etc/hosts", "ro"))
    if options.network != "none" and facts.resolv_conf:
        found.append(_bind(facts.resolv_conf, "/etc/resolv.conf", "ro"))
    if options.read_only and options.read_only_tmpfs:
        found += [_ordered(parse.tmpfs(f"{place}:mode=1777,exec")) for place in ("/run", "/tmp", "/var/tmp")]
    if options.image_volumes == "tmpfs":
        words = ["nosuid", "nodev", "tmpcopyup"]
        places = [place for place in wanted_volumes(image, options) if not is_reserved(place)]
        found += [{"destination": p, "type": "tmpfs", "source": "tmpfs", "options": words} for p in places]
    found += [_bind(f"{path}/volumes/{name}", place) for place, name in volumes(image, options).items()]
    found += [_ordered(parse.tmpfs(value)) for value in options.tmpfs]
    given = [parse.mount(value) for value in options.mounts]
    by_place = {mount["destination"]: mount for mount in [*found, *given]}
    by_place.update({mount["destination"]: _ordered(_completed(mount, facts, [*by_place])) for mount in given})
    return [by_place[place] for place in sorted(by_place, key=lambda place: (place.count("/"), place))]


def _ordered(mount: Config) -> Config:
    """Return a mount of a task with its options in one order."""
    from . import mount_options

    return {**mount, "options": mount_options.ordered(mount["type"], mount["options"])}


def _completed(mount: Config, facts: Facts, places: t.Sequence[str]) -> Config:
    """Return a mount with the options for the runtimes: without ``rro`` and its kind where the kernel lacks it (before 5.12), and where
    nothing can be mounted below the source, because crun before 1.14.4 cannot do that to a file.

    With another mount in it, ``ro`` alone does not get ``rro``: crun sets that at once, and then cannot make a missing mount point.
    """
    if mount["type"] != "bind":
        return mount
    from . import mount_options

    words = mount["options"]
    if "ro" in words and any(place.startswith(f"{mount['destination']}/") for place in places):
        words = [word for word in words if word != "rro"]
    whole = facts.recursive and mount["source"] not in facts.files
    return {**mount, "options": mount_options.complete(words, recursive=whole)}


def writable_below(options: Options, facts: Facts, config: Config) -> tuple[str, ...]:
    """Return warnings for bind mounts with ``ro`` where the file systems below the source stay writable, as in podman."""
    made = {mount.get("destination"): mount.get("options") or [] for mount in config.get("mounts") or []}
    found = [mount for mount in map(parse.mount, options.mounts) if {"ro", "rro"} <= {*mount["options"]}]
    places = [
        m["destination"]
        for m in found
        if m["source"] not in facts.files and "rro" not in made.get(m["destination"], ("rro",))
    ]
    why = "rro needs Linux 5.12. Use bind with ro."
    if facts.recursive:
        why = "another mount is in it. Use rro if the source has the mount point for that, otherwise bind with ro."
    return tuple(f"File systems below the read-only mount at {place} stay writable, because {why}" for place in places)


def _bind(source: str, destination: str, *options: str) -> Config:
    words = ["rbind", "rprivate", "nosuid", "nodev", *options]
    return {"destination": destination, "type": "bind", "source": source, "options": words}


def _kernel_mounts(options: Options, facts: Facts, maps: t.Mapping[str, t.Any]) -> list[Config]:
    quiet, may_write = ["nosuid", "noexec", "nodev"], [] if options.privileged else ["ro"]
    # The group tty, if it is mapped in the container.
    group = ["gid=5"] if not maps or parse.mapped(5, maps["gid"]) is not None else []
    table: list[tuple[str, str, list[str]]] = [
        ("/proc", "proc", quiet),
        ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/sys", "sysfs", [*quiet, *may_write]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *group]),
        ("/dev/mqueue", "mqueue", quiet),
        ("/dev/shm", "tmpfs", [*quiet, "mode=1777", f"size={parse_size(options.shm_size, 'shm_size')}"]),
        ("/sys/fs/cgroup", "cgroup", [*quiet, "relatime", *may_write]),
    ]
    joined = {"/dev/shm": "/dev/shm"} if options.ipc == "host" else {}
    # The kernel mounts these in a user namespace only if that also owns the other namespace.
    if maps:
        own = {"/proc": options.pid, "/sys": options.network, "/dev/mqueue": options.ipc}
        joined.update({place: place for place, kind in own.items() if kind not in ("private", "none")})
    mounts = []
    for place, kind, words in table:
        source = joined.get(place)
        if source:
            more = [*may_write, *(["rro"] if may_write and facts.recursive else [])] if place == "/sys" else []
            mounts.append(_bind(source, place, "noexec", *more))
        else:
            mounts.append({"destination": place, "type": kind, "source": kind, "options": words})
    return mounts


def _annotations(image: ImageConfig, options: Options) -> dict[str, str]:
    """Return the annotations of conversion.md, the allowed labels of the image, then the annotations of the task."""
    said = {
        "os": image.os, "architecture": image.architecture, "variant": image.variant, "author": image.author,
        "created": image.created, "exposedPorts": ",".join(image.ports), "stopSignal": image.stop_signal,
    }  # fmt: skip
    if image.stop_signal and not options.stop_signal and not is_signal(image.stop_signal):
        raise InvalidOption(
            f"The image is not valid: config.StopSignal {image.stop_signal!r} is not a signal of this system.",
            hint="Set stop_signal to use another one.",
        )
    found = {f"{_IMAGE}.{key}": value for key, value in said.items() if value}
    found.update(from_outside(image.labels))
    if options.stop_signal:
        # One spelling of it, as the image-spec has it. Not each signal has a name.
        name = signal_name(parse_signal(options.stop_signal))
        found[f"{_IMAGE}.stopSignal"] = name if name[0] < "A" else f"SIG{name}"
    return {**found, **parse.texts("annotations", options.annotations)}


def _linux(
    options: Options, facts: Facts, capabilities: list[str], maps: t.Mapping[str, t.Sequence[parse.IdMap]], path: str
) -> Config:
    kinds = {"pid": options.pid, "network": options.network, "ipc": options.ipc, "uts": options.uts, "mount": "private"}
    if facts.cgroup2:
        kinds["cgroup"] = "private"
    if maps:
        kinds["user"] = "private"
    linux: Config = {
        "namespaces": [
            {"type": kind, "path": facts.namespaces[kind]} if kind in facts.namespaces else {"type": kind}
            for kind, wanted in kinds.items()
            if wanted != "host"
        ],
        "resources": limits.resources(options, facts),
        "sysctl": {},
    }
    if options.sysctls:
        from . import sysctls

        linux["sysctl"] = sysctls.checked(options)
    for kind, one in maps.items():
        linux[f"{kind}Mappings"] = [{"containerID": m.container, "hostID": m.host, "size": m.size} for m in one]
    if facts.devices:
        linux["devices"] = [device for device, _access in facts.devices]
    if not options.privileged:
        linux["maskedPaths"], linux["readonlyPaths"] = list(MASKED), list(READ_ONLY)
    if facts.labels and facts.labels[1]:
        linux["mountLabel"] = facts.labels[1]
    if facts.seccomp is not None:
        linux["seccomp"] = seccomp.resolve(facts.seccomp, capabilities, facts.architecture)
    if options.cgroup_parent:
        name = posixpath.basename(path)
        slice_ = options.cgroup_parent.endswith(".slice")
        linux["cgroupsPath"] = (
            f"{options.cgroup_parent}:longshore:{name}" if slice_ else f"{options.cgroup_parent}/{name}"
        )
    return linux
