# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the config in an archive with the config of this host, which must allow all that it asks for. Pure.

A restored process has the rights in CRIU's images, which the config in the archive describes. The runtime uses the config of
this host. So the two must agree. The error names each right that only the archive has.
"""

from __future__ import annotations

import posixpath
import typing as t

from .._config.namespaces import namespaces_of

Config = t.Mapping[str, t.Any]
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_STRICT = ("ro", "nosuid", "nodev", "noexec")
_MOST_NAMED = 12


def excess(asked: Config, allowed: Config) -> list[str]:
    """Return descriptions of the rights that ``asked`` has and ``allowed`` does not have."""
    found = [
        *_process(asked["process"], allowed["process"]), *_mounts(asked, allowed), *_namespaces(namespaces_of(asked), namespaces_of(allowed)),
        *_linux(_of(asked, "linux"), _of(allowed, "linux")),
        *_hooks(_of(asked, "hooks"), _of(allowed, "hooks")),
    ]  # fmt: skip
    if allowed["root"].get("readonly") and not asked["root"].get("readonly"):
        found.append("a writable root file system")
    return found


def differences(asked: Config, allowed: Config) -> list[str]:
    """Return descriptions of differences between CRIU's images and the config of this host that are not rights."""
    found = []
    if bool(asked["process"].get("terminal")) != bool(allowed["process"].get("terminal")):
        found.append(f"it has {'a' if asked['process'].get('terminal') else 'no'} terminal")
    found += [f"it has nothing mounted at {place}" for place in sorted(_places(allowed).keys() - _places(asked).keys())]
    theirs, mine = namespaces_of(asked), namespaces_of(allowed)
    kinds = [kind for kind in sorted(theirs) if kind not in mine or (mine[kind] and not theirs[kind])]
    return found + [f"it has a {kind} namespace of its own" for kind in kinds]


def named(words: t.Sequence[str]) -> str:
    """Return a list for a sentence, with a limited length."""
    shown = [word if len(word) <= 120 else f"{word[:120]}..." for word in words[:_MOST_NAMED]]
    more = len(words) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more else "")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _of(config: Config, name: str) -> Config:
    return config.get(name) or {}


def _process(asked: Config, allowed: Config) -> t.Iterator[str]:
    listed: set[str] = set()
    for kind in _SETS:
        more = (
            set(_of(asked, "capabilities").get(kind) or []) - set(_of(allowed, "capabilities").get(kind) or []) - listed
        )
        listed |= more
        yield from (f"capability {name}" + ("" if kind == "bounding" else f" ({kind})") for name in sorted(more))
    if allowed.get("noNewPrivileges") and not asked.get("noNewPrivileges"):
        yield "new privileges (noNewPrivileges is off)"
    for name in ("uid", "gid"):
        mine, theirs = _of(allowed, "user").get(name) or 0, _of(asked, "user").get(name) or 0
        if mine != theirs:
            yield f"the {name} {theirs} (here it is {mine})"
    groups = set(_of(asked, "user").get("additionalGids") or []) - set(_of(allowed, "user").get("additionalGids") or [])
    groups.discard(_of(asked, "user").get("gid") or 0)  # A process has that anyway.
    yield from (f"the group {group}" for group in sorted(groups))
    limits = {each.get("type"): each.get("hard") for each in asked.get("rlimits") or []}
    for limit in allowed.get("rlimits") or []:
        kind, mine, theirs = limit.get("type"), limit.get("hard", 0), limits.get(limit.get("type"))
        if theirs is None:  # then it is that of the task that started the container
            yield f"no {kind}"
        elif theirs > mine:
            yield f"{kind} of {theirs} (here {mine})"
    mine, theirs = allowed.get("oomScoreAdj") or 0, asked.get("oomScoreAdj") or 0
    if theirs < mine:
        yield f"oomScoreAdj of {theirs} (here {mine})"
    for name, what in (("apparmorProfile", "the AppArmor profile"), ("selinuxLabel", "the SELinux label")):
        if allowed.get(name) and _type_of(asked.get(name)) != _type_of(allowed[name]):
            yield f"{what} {asked[name]}" if asked.get(name) else f"no {what[4:]}"


def _type_of(label: str | None) -> str:
    """Of a label of SELinux, user, role and type: the categories are another host's. A name without colons as it is."""
    return ":".join((label or "").split(":")[:3])


def _places(config: Config) -> dict[str, Config]:
    return {
        posixpath.normpath(f"/{mount['destination']}").replace("//", "/"): mount for mount in config.get("mounts") or []
    }


def is_bind(mount: Config) -> bool:
    return mount.get("type") == "bind" or bool({"bind", "rbind"} & set(mount.get("options") or ()))


def _kind(mount: Config) -> str:
    kind = "bind" if is_bind(mount) else str(mount.get("type") or "none")
    return "cgroup" if kind == "cgroup2" else kind


def _mounts(asked: Config, allowed: Config) -> t.Iterator[str]:
    mine = _places(allowed)
    for place, mount in _places(asked).items():
        source = f" of {mount['source']}" if is_bind(mount) and mount.get("source") else ""
        kind = _kind(mount)
        if place not in mine:
            yield f"a mount{source} at {place}" if source else f"a mount at {place} ({kind})"
            continue
        if kind != _kind(mine[place]):
            yield f"a mount{source} at {place} of the kind {kind} (here {_kind(mine[place])})"
        lacking = {word for word in _STRICT if word in (mine[place].get("options") or [])} - set(
            mount.get("options") or []
        )
        yield from (f"a mount at {place} without {word}" for word in _STRICT if word in lacking)


def _namespaces(theirs: t.Mapping[str, str], mine: t.Mapping[str, str]) -> t.Iterator[str]:
    yield from (f"the {kind} namespace of the host" for kind in mine if kind not in theirs)
    yield from (
        f"the {kind} namespace {path}" for kind, path in theirs.items() if path and kind in mine and not mine[kind]
    )


def _linux(asked: Config, allowed: Config) -> t.Iterator[str]:
    for name in ("uidMappings", "gidMappings"):
        if (asked.get(name) or []) != (allowed.get(name) or []):
            yield f"other {name}"
    yield from (f"{path} not masked" for path in _lacking(allowed, asked, "maskedPaths"))
    yield from (f"{path} not read-only" for path in _lacking(allowed, asked, "readonlyPaths"))
    yield from _devices(asked, allowed)
    yield from _seccomp(asked.get("seccomp"), allowed.get("seccomp"))
    here = allowed.get("sysctl") or {}
    yield from (
        f"sysctl {name}={value}" for name, value in (asked.get("sysctl") or {}).items() if here.get(name) != value
    )


def _lacking(one: Config, other: Config, name: str) -> list[str]:
    return sorted(set(one.get(name) or []) - set(other.get(name) or []))


def _devices(asked: Config, allowed: Config) -> t.Iterator[str]:
    mine = {_node(device) for device in allowed.get("devices") or []}
    yield from (f"device {each.get('path')}" for each in asked.get("devices") or [] if _node(each) not in mine)
    rules = {_rule(rule) for rule in _of(allowed, "resources").get("devices") or []}
    if any(rule[:4] == (True, "a", None, None) for rule in rules):
        return
    for rule in _of(asked, "resources").get("devices") or []:
        if rule.get("allow") and _rule(rule) not in rules:
            kind, major, minor, access = _rule(rule)[1:]
            numbers = f" {'*' if major is None else major}:{'*' if minor is None else minor}"
            yield "access to all devices" if kind == "a" else f"access to the devices {kind}{numbers} ({access})"


def _node(device: Config) -> tuple[t.Any, ...]:
    return tuple(device.get(name) for name in ("path", "type", "major", "minor"))


def _rule(rule: Config) -> tuple[t.Any, ...]:
    """Return a comparable rule. Negative numbers mean any, like missing ones."""
    numbers = [None if (rule.get(name) or 0) < 0 else rule.get(name) for name in ("major", "minor")]
    return (bool(rule.get("allow")), rule.get("type") or "a", *numbers, "".join(sorted(rule.get("access") or "rwm")))


def _seccomp(asked: Config | None, allowed: Config | None) -> t.Iterator[str]:
    if not allowed:
        return
    if not asked:
        yield "no seccomp"
        return
    if _refuses(allowed.get("defaultAction")) and not _refuses(asked.get("defaultAction")):
        yield f"seccomp that allows by default ({asked.get('defaultAction')})"
        return
    more = sorted(_allows(asked) - _allows(allowed, conditional=True))
    if _refuses(allowed.get("defaultAction")) and more:
        yield f"the system calls {named(more)}"
    # With a deny list, all its system calls must be forbidden.
    less = sorted(_forbids(allowed) - _forbids(asked)) if not _refuses(allowed.get("defaultAction")) else []
    if less and not _refuses(asked.get("defaultAction")):
        yield f"the system calls {named(less)}"


def _refuses(action: str | None) -> bool:
    return action not in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", None)


def _allows(seccomp: Config, *, conditional: bool = False) -> set[str]:
    rules = [rule for rule in seccomp.get("syscalls") or [] if not _refuses(rule.get("action"))]
    return {name for rule in rules if conditional or not rule.get("args") for name in rule.get("names") or []}


def _forbids(seccomp: Config) -> set[str]:
    rules = [rule for rule in seccomp.get("syscalls") or [] if _refuses(rule.get("action")) and not rule.get("args")]
    return {name for rule in rules for name in rule.get("names") or []}


def _hooks(asked: Config, allowed: Config) -> t.Iterator[str]:
    for kind, hooks in asked.items():
        mine = [(hook.get("path"), hook.get("args")) for hook in allowed.get(kind) or []]
        for hook in hooks:
            if (hook.get("path"), hook.get("args")) not in mine:
                yield f"hook {kind} {hook.get('path', '')}".rstrip()
