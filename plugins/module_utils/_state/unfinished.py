# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the leftovers of killed checkpoints and restores, from files alone.

The names of such files and directories identify their task. The leftovers of an ended task are useless.
"""

from __future__ import annotations

import os
import typing as t

from .._base.errors import WrongState
from .._base.files import read_json, read_tail, remove_file, remove_tree
from .._base.process import ProcessId, boot_id, identify, is_alive
from .model import Checkpoint, Record
from .phase import Phase
from .store import Paths

MANIFEST, PENDING = "longshore.json", "pending.json"
WORK, NOTE = ".work-", ".note-"


def own_name(prefix: str) -> str:
    """Return a unique name that identifies this task."""
    me = t.cast(ProcessId, identify(os.getpid()))
    return f"{prefix}{me.pid}-{me.start}-{os.urandom(4).hex()}"


def is_abandoned(name: str) -> bool:
    """Tell whether the task that chose this name has ended. False for a name that no task chose."""
    words = name.split("-")
    numbers = [int(word) for word in words[1:3] if word.isdecimal()]
    return len(words) == 4 and len(numbers) == 2 and not is_alive(ProcessId(numbers[0], numbers[1], boot_id()))


def is_unfinished(paths: Paths, record: Record | None) -> bool:
    """Tell whether a checkpoint or restore is in progress, was killed, or has left files."""
    if record is not None and record.phase in (Phase.CHECKPOINTING, Phase.RESTORING):
        return True
    if record is not None and record.checkpoint is not None:
        path = record.checkpoint.path
        if record.phase is not Phase.CHECKPOINTED or (_is(path, PENDING) and not _is(path, MANIFEST)):
            return True
    return bool(left(paths, record))


def left(paths: Paths, record: Record | None) -> list[str]:
    """Return the paths of useless files: those that an ended task has unpacked or written, incomplete dumps, and replaced
    checkpoints."""
    top = f"{paths.state}/checkpoints"
    own = record.checkpoint.path if record and record.checkpoint else ""
    replaced = os.path.basename(own) if record and record.phase is Phase.CHECKPOINTED and _is(own, MANIFEST) else ""
    found = []
    for name in os.listdir(top) if os.path.isdir(top) else []:
        path = f"{top}/{name}"
        if path == own:
            continue
        if name.startswith("."):
            useless = is_abandoned(name)
        elif _is(path, MANIFEST):
            useless = name < replaced and not replaced.startswith(".")
        else:
            # Without a record, it is unknown whether this is the only rest of a container.
            useless = record is not None or not has_dumped(path)
        found += [path] if useless else []
    return found


def pending(path: str) -> dict[str, t.Any]:
    """Return the facts from before a dump. Empty if the dump is complete, or if there is no dump."""
    return read_json(f"{path}/{PENDING}") or {}


def _is(directory: str, name: str) -> bool:
    return os.path.exists(f"{directory}/{name}")


def has_dumped(checkpoint: str) -> bool:
    """Tell whether the dump into this directory has succeeded, also without a task: CRIU logs it at the end."""
    log = "".join(read_tail(f"{checkpoint}/dump.log"))
    return "Dumping finished successfully" in log and _is(checkpoint, "checkpoint/inventory.img")


def has_ended(checkpoint: str) -> bool:
    """Tell whether the dump into this directory has ended its container. Never true if the container was to keep running."""
    known = read_json(f"{checkpoint}/{MANIFEST}") or pending(checkpoint)
    return has_dumped(checkpoint) and not (known.get("options") or {}).get("leave_running")


def discard(path: str) -> None:
    """Remove a checkpoint, in an order in which a partly removed one does not look complete."""
    remove_file(f"{path}/{MANIFEST}")
    remove_tree(path)


def check_whole(name: str, checkpoint: Checkpoint | None) -> None:
    """Raises WrongState if the checkpoint of a container is missing."""
    path = checkpoint.path if checkpoint else ""
    if not _is(path, "checkpoint/inventory.img") or not (_is(path, MANIFEST) or _is(path, PENDING)):
        raise WrongState(
            f"The checkpoint of the container {name} is not there any more, so it cannot be restored.",
            hint="Recreate it with restore: false, or restore it from an archive (oci_checkpoint).",
        )
