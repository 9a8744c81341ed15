# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a container can be written to disk on this host: asked before anything is touched."""

from __future__ import annotations

from .._base.errors import MissingPrerequisite, WrongState
from .._base.versions import numbers
from .._criu import criu
from .._state.model import NetworkHelper, Program, Record, Status
from .request import Request

# The first CRIU that can dump a frozen container (criu pull request 2514).
_DUMPS_FROZEN = (4, 1)


def check_dump(request: Request, record: Record, status: Status) -> Program:
    """Return the program criu. Raises MissingPrerequisite or WrongState for what neither CRIU nor the runtime of the container can do."""
    check_parts(request.name, record)
    criu.check_options("checkpoint", request.options, record.runtime)
    program = criu.find()
    reason = criu.why_not(program, record.runtime)
    if program is None or reason:
        raise MissingPrerequisite(
            f"The container {request.name} cannot be checkpointed on this host: {reason}.",
            hint="The module longshore.oci.oci_engine_info returns which features work on this host.",
        )
    if request.options.pre_dump and not criu.tracks_memory(program):
        raise MissingPrerequisite(
            "pre_dump needs a kernel that tracks memory changes (CONFIG_MEM_SOFT_DIRTY), and this one does not."
        )
    check_frozen(request, status, program.version)
    return program


def check_parts(name: str, record: Record) -> None:
    """Refuse a container with a part that CRIU cannot write to disk. Pure."""
    if record.definition.listen:
        raise WrongState(
            f"The container {name} cannot be checkpointed: its sockets (listen) belong to another network "
            "namespace than its own, which CRIU does not support."
        )
    if record.definition.network_helper is not NetworkHelper.NONE:
        raise WrongState(
            f"The container {name} cannot be checkpointed: CRIU cannot dump the network device that"
            f" {record.definition.network_helper.value} holds.",
            hint="Only a container without network_helper can be checkpointed.",
        )


def check_frozen(request: Request, status: Status, version: str) -> None:
    """Refuse a dump of a frozen container by a CRIU that would wait for ever. Pure."""
    frozen = status is Status.PAUSED or (request.include_rootfs and request.options.leave_running)
    if frozen and numbers(version) < _DUMPS_FROZEN:
        raise MissingPrerequisite(f"A paused container needs criu 4.1 or newer. This host has {version}.")
