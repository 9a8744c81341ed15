# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read why CRIU failed, from its log, and what helps. Pure.

The texts are those of CRIU 3.17 to 4.2 (``pr_err`` and ``pr_perror`` in its sources).
"""

from __future__ import annotations

import re
import typing as t

_CRIU_NOISE = re.compile(
    r"rlimit: |exited, status=|Dump files |Dumping FAILED|Restoring FAILED|\S+save -V failed"
    # Of the end after a failure: the directory is removed by criu_leftovers.py.
    r"|mnt: Can't remove the directory /tmp/\.criu|cg: cgroupd: recv req error"
)


def criu_error(log: t.Sequence[str]) -> str:
    """Return why CRIU failed, from its log: the last errors, without those that it also logs on success."""
    return "; ".join(_errors(log)[-3:])


def _errors(log: t.Sequence[str]) -> list[str]:
    errors = [re.sub(r"^(\([\d.]+\) +(\d+: )?)?Error \([^)]*\): ", "", line) for line in log if "Error (" in line]
    return list(dict.fromkeys(text.rstrip(".") for text in errors if not _CRIU_NOISE.match(text)))


# Options that CRIU itself names, some by another name.
_OPTION = re.compile(
    r"(?:--|[Uu]se )(tcp-established|tcp-close|ext-unix-sk|file-locks|link-remap|shell-job|(?:tcp-)?skip-in-flight)\b"
)
# By what an error matches. The first error is the cause of the others.
_HINTS = (
    (r"iptables-restore", "Install iptables, with which CRIU blocks the network, or use network_lock (crun only)."),
    # Before "No space left": with that, cpuset refuses processors that this host, or the cgroup above, does not have.
    (
        r"^cg: |cpuset|subtree_control",
        "Set manage_cgroups_mode: ignore, or for runc 1.1 a line manage-cgroups=ignore in /etc/criu/runc.conf. CRIU then leaves the "
        "cgroups to the runtime.",
    ),
    (r"No space left|ENOSPC", "Free space in the state directory: an image is about as big as the used memory."),
    (r"mem.*dirty|Memory tracking", "Remove pre_dump: this kernel does not track memory."),
    # CRIU 4.2 mounts the old root there for a moment.
    (r"temporary directory: Read-only", "A read-only root file system needs a directory /tmp. Create it, and restore again."),
    # SO_PASSCRED: Linux 6.16 and later refuse it for sockets of other families than AF_UNIX. CRIU 4.2 does not ask for it there.
    (r"Can't [gs]et 1:16\b.*Operation not supported", "Install criu 4.2 or newer: older ones cannot dump TCP and UDP sockets on this kernel."),
    (
        r"Can't get rlimit",
        "CRIU needs the capability CAP_SYS_RESOURCE. If this host is a container or has a limited root, give it this capability.",
    ),
    (r"ghost file .* increase limit", "A program has a large deleted file open. Add a line such as ghost-limit=64M to /etc/criu/runc.conf (crun: since 1.26)."),
    (
        r"has bad (size|build-ID|mode)",
        "A file has changed since the checkpoint. Put its former content back, or use include_rootfs for the next checkpoint.",
    ),
    (r"Can't re-create deleted", "The source of a mount was replaced before the checkpoint, so it cannot be restored. Create the container again."),
    (r"Can't stat mountpoint|move_mount", "Create the mount point that is missing or of another kind in the volume that it is in."),
    (r"proper root mount", "CRIU knows only the mounts in the config of the container, by the paths that they have there."),
    (r"capabilities do not match|xsave|xfeatures|FPU feature", "Restore the container on a host with the same kind of processor."),
    (r"Pid \d+ do(es)? not match|Can't fork for \d+: File exists", "Use a pid namespace for the container: its process ids are in use."),
    (r"Unsupported proto 262", "Set the environment variable GODEBUG=multipathtcp=0 for a program in Go: CRIU cannot dump MPTCP."),
    (r"io_uring|Unknown file type", "A program has a kind of file open that CRIU cannot dump, such as io_uring."),
    (r"overmounted", "A program has a file open below a later mount. Start it after the mount."),
)  # fmt: skip


def criu_hint(log: t.Sequence[str], lacks: t.Callable[[str], str] = lambda _option: "") -> str:
    """Return what helps, or an empty string. CRIU itself often names the option. ``lacks`` returns why the runtime does not have an
    option, or an empty string."""
    errors = _errors(log)
    named = _OPTION.search("\n".join(errors))
    if named:
        option = named.group(1).replace("-", "_").replace("tcp_skip", "skip").replace("skip", "tcp_skip")
        return f"Use the option {option}." if not lacks(option) else f"The option {option} would help. {lacks(option)}"
    found = (advice for text in errors for pattern, advice in _HINTS if re.search(pattern, text))
    return next(found, "")
