# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits, the AppArmor profile and the SELinux labels that this host can give a container.

They are read from files alone. The functions that decide get the text or the path of these files, so tests can use the files of
other hosts. Every run must choose the same values, or it would recreate the container. So nothing here is random, and a
recorded choice stays as long as it is possible.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import resource
import typing as t

from .._base.errors import InvalidOption, MissingPrerequisite
from .._base.files import read_text, split_lines
from .._base.versions import numbers
from .._bundle_spec.options import Facts, Options
from .._config.sizes import parse_limit
from .._host import cgroup
from .._host.selinux_state import has_labels

APPARMOR = "/sys/kernel/security/apparmor/profiles"
SELINUX = "/etc/selinux"
_PREFIX = "containers-default-"  # podman's profile, with the version of its author
_OURS = f"{_PREFIX}longshore"  # the same profile, which the role longshore.oci.runtime loads at boot
_DOCKERS = "docker-default"
_CATEGORIES = 1024
UNCONFINED = "unconfined"  # apparmor_profile
DISABLED = "disable"  # selinux_label


class Labels(t.NamedTuple):
    """The labels of the processes of a container, and of its files."""

    process: str
    file: str


def most(*, may_raise: bool, open_files: int | None = None) -> dict[str, int]:
    """Return the highest possible limits by type: those of this process, unless ``may_raise``, and never more open files than
    the kernel allows (``open_files``)."""
    kinds = [] if may_raise else [name for name in dir(resource) if name.startswith("RLIMIT_")]
    found = {kind: _hard(getattr(resource, kind)) for kind in kinds}
    if open_files is not None:
        found["RLIMIT_NOFILE"] = min(open_files, found.get("RLIMIT_NOFILE", open_files))
    return found


def _hard(kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return 2**64 - 1 if hard == resource.RLIM_INFINITY else hard


def counts_processes(uid: int, root: str = "/sys/fs/cgroup") -> bool:
    """Tell whether cgroups of this user have a pids controller. Without it, the runtimes refuse every limit."""
    return "pids" in (cgroup.controllers(uid, root) or ())


def limits_swap(uid: int, root: str = "/sys/fs/cgroup") -> bool:
    """Tell whether cgroups of this user can limit swap: a kernel may lack that, or not count it."""
    if os.path.isdir(f"{root}/memory"):
        return os.path.exists(f"{root}/memory/memory.memsw.limit_in_bytes")
    below = [""] if uid == 0 else [f"user.slice/user-{uid}.slice/user@{uid}.service"]
    if uid == 0:  # The root of cgroup v2 has no limits, and its children have the same ones.
        with contextlib.suppress(OSError):
            below = sorted(os.listdir(root))
    has_memory = [name for name in below if os.path.exists(f"{root}/{name}/memory.max")]
    return not has_memory or os.path.exists(f"{root}/{has_memory[0]}/memory.swap.max")


def can_set_recursively(release: str) -> bool:
    """Tell whether a kernel can change the flags of all mounts below one: mount_setattr(2), since Linux 5.12."""
    return numbers(release)[:2] >= (5, 12)


def profiles(text: str) -> dict[str, str]:
    """Return the modes of profiles by name, from the kernel's list with lines ``NAME (MODE)``."""
    lines = [line.rpartition(" (") for line in split_lines(text)]
    return {name: mode.rstrip(")") for name, _space, mode in lines if name}


def default_profile(loaded: t.Mapping[str, str], previous: str | None) -> str | None:
    """Return the first enforced profile of: the bundle's, Longshore's, podman's newest, docker's."""
    fit = [name for name, mode in loaded.items() if mode in ("enforce", "kill")]
    known = [name for name in fit if name.startswith(_PREFIX)]
    dockers = _DOCKERS if _DOCKERS in fit else None
    for name in (previous, _OURS):
        if name and name in (*known, dockers):
            return name
    newest = max(known, key=lambda name: ([int(number) for number in re.findall(r"\d+", name)], name), default=None)
    return newest or dockers


def apparmor_profile(
    options: Options, uid: int, previous: str | None, path: str | None = None
) -> tuple[str | None, bool]:
    """Return the profile of a container, and whether it should have one but does not. Raises MissingPrerequisite for a
    requested profile that is not loaded, because crun would run the container without it."""
    wanted = options.apparmor_profile
    if wanted == UNCONFINED or (not wanted and (options.privileged or uid != 0)):
        return None, False
    text = _loaded(path or APPARMOR)
    if wanted:
        if text is None:
            raise MissingPrerequisite(f"There is no AppArmor on this host for the profile {wanted}.")
        # Users other than root cannot read the list.
        if text and wanted not in profiles(text):
            hint = "Load it with apparmor_parser --replace FILE."
            raise MissingPrerequisite(f"The AppArmor profile {wanted} is not loaded.", hint=hint)
        return wanted, False
    found = default_profile(profiles(text or ""), previous)
    return found, text is not None and found is None


def _loaded(path: str) -> str | None:
    """Return the list of profiles, empty if it cannot be read, None if the kernel has no AppArmor."""
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as stream:
            return stream.read()
    except OSError:
        return ""


def policy(path: str = SELINUX) -> dict[str, str]:
    """Return the labels for containers in the policy of the host (lxc_contexts(5)), by name, such as process and file."""
    kinds = re.findall(r"(?m)^\s*SELINUXTYPE\s*=\s*(\S+)", read_text(f"{path}/config") or "")
    text = read_text(f"{path}/{kinds[-1] if kinds else 'targeted'}/contexts/lxc_contexts") or ""
    return dict(re.findall(r'(?m)^\s*(\w+)\s*=\s*"?([^"\s#]+)"?\s*$', text))


def level(path: str, taken: t.Collection[str]) -> str:
    """Return an unused level with two categories for the bundle at ``path``: the first free one, starting at a position that
    depends on the path."""
    pairs = _CATEGORIES * (_CATEGORIES - 1) // 2
    start = int(hashlib.sha256(path.encode()).hexdigest()[:12], 16) % pairs
    for number in range(start, start + pairs):
        # The pairs in order: (0, 1), (0, 2), (1, 2), (0, 3), ...
        place = number % pairs
        high = (1 + math.isqrt(1 + 8 * place)) // 2
        found = f"s0:c{place - high * (high - 1) // 2},c{high}"
        if found not in taken:
            return found
    raise InvalidOption("All pairs of SELinux categories are in use.", hint="Set a label with selinux_label.")


def level_of(label: str | None) -> str | None:
    """Return the level of a label, or None."""
    parts = (label or "").split(":", 3)
    return parts[3] if len(parts) == 4 else None


def with_level(label: str, new: str) -> str:
    """Return the label with another level, if it has a level."""
    return ":".join([*label.split(":", 3)[:3], new]) if level_of(label) else label


def labels(
    options: Options, path: str, previous: str | None, taken: t.Callable[[], t.Collection[str]],
    said: t.Mapping[str, str],
) -> Labels | None:  # fmt: skip
    """Return the labels of the bundle at ``path`` according to the policy (``said``). ``previous`` is its recorded level, ``taken``
    are the levels of others."""
    wanted = options.selinux_label
    if wanted == DISABLED:
        return None
    if wanted:
        return Labels(wanted, with_level(said.get("file", ""), level_of(wanted) or "s0"))
    # As in podman: a privileged container, or one that sees the processes or the memory of the host, has no label.
    if options.privileged or "host" in (options.pid, options.ipc) or not (said.get("process") and said.get("file")):
        return None
    chosen = previous or level(path, taken())
    return Labels(with_level(said["process"], chosen), with_level(said["file"], chosen))


def host_labels(
    options: Options, path: str, previous: t.Callable[[], str | None], taken: t.Callable[[], t.Collection[str]]
) -> Labels | None:
    """Return the labels, none if SELinux is not enabled, except a label that the task sets."""
    if options.selinux_label and not re.fullmatch(r"[^:\s]+:[^:\s]+:[^:\s]+(:[^\s]+)?", options.selinux_label):
        if options.selinux_label != DISABLED:
            hint = "Write user:role:type:level, or disable."
            raise InvalidOption(f"selinux_label cannot be {options.selinux_label!r}.", hint=hint)
    return labels(options, path, previous(), taken, policy()) if has_labels() else None


def missing_protections(options: Options, facts: Facts) -> tuple[str, ...]:
    """Return warnings for a new or changed bundle about protections that this host lacks."""
    found = []
    if facts.unconfined:
        found.append(
            "The container has no AppArmor profile: AppArmor is enabled on this host, but no profile for containers is loaded"
            " (containers-default or docker-default). Set apparmor_profile to a profile, or to unconfined."
        )
    if options.pids_limit is None and not facts.pids:
        found.append("The number of processes has no limit, because the cgroups of this host have no pids controller.")
    if not facts.swap and parse_limit(options.memory or "0", "memory"):
        found.append("The memory is limited without swap, because the cgroups of this host do not limit swap.")
    return tuple(found)
