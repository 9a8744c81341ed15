# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the sysctls of a container. Pure."""

from __future__ import annotations

import re

from .._base.errors import InvalidOption
from . import parse
from .options import Options

# Those that belong to a namespace, by its type.
_KINDS = {
    "network": r"net\..+",
    "ipc": r"kernel\.(msg.+|sem|shm.+)|fs\.mqueue\..+",
    "uts": r"kernel\.(host|domain)name",
}
# Of one network interface, whose name has a dot: the kernel has no such path below the others.
_DOTTED = r"net\.(ipv4|ipv6|mpls)\.(conf|neigh)(\.[^.]+){3,}"


def checked(options: Options) -> dict[str, str]:
    """Return the sysctls. Refuse those that do not belong to a namespace of the container: they would change the host."""
    wanted = {"network": options.network, "ipc": options.ipc, "uts": options.uts}
    values = parse.texts("sysctls", options.sysctls)
    for name in values:
        dotted = name.replace("/", ".")
        kind = next((kind for kind, pattern in _KINDS.items() if re.fullmatch(pattern, dotted)), None)
        if kind and re.fullmatch(_DOTTED, dotted):
            raise InvalidOption(
                f"The sysctl {name[:100]!r} cannot be set: its network interface has a dot in the name, and a runtime takes each "
                "dot for the end of a word.",
                hint="Give the interface a name without one.",
            )
        if kind is None or "/" in name or ".." in name or re.search(r"\s", name):
            raise InvalidOption(
                f"The sysctl {name[:100]!r} belongs to no namespace. It would change the whole host.", hint=_near(name)
            )
        if name == "kernel.hostname":  # The runtimes refuse it beside the name that each config has.
            raise InvalidOption("The sysctl kernel.hostname cannot be set.", hint="Use hostname.")
        if wanted[kind] == "host":
            raise InvalidOption(
                f"The sysctl {name} would change the host, because the container uses its {kind} namespace."
            )
    return values


def _near(name: str) -> str:
    near = name.strip().lower().replace("/", ".")
    known = near != name and ".." not in near and any(re.fullmatch(pattern, near) for pattern in _KINDS.values())
    return (
        f"Did you mean {near}?"
        if known
        else "Namespaces have net.*, fs.mqueue.*, kernel.shm*, kernel.msg* and kernel.sem."
    )
