# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an archive of a checkpoint by their names: which there are, and which are refused. Pure."""

from __future__ import annotations

import re
import typing as t

from .._base.errors import InvalidInput

if t.TYPE_CHECKING:
    import tarfile

MANIFEST = "longshore.json"
SIGNATURE = "longshore.json.sig"
LOG = "ctr.log"
# CRIU's, flat directories of regular files, the last first. podman has one that is made beforehand.
IMAGES = ("checkpoint", *(f"pre-checkpoint-{number}" for number in range(9, 1, -1)), "pre-checkpoint")
FILES = (
    "config.dump", "spec.dump", "network.status", "stats-dump", LOG, "devshm-checkpoint.tar", "rootfs-diff.tar",
    "deleted.files", MANIFEST,
)  # fmt: skip
DOCUMENTS = ("spec.dump", "config.dump", MANIFEST)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PARENT = "parent"  # the link in a directory of images to the one that was made before it


def known(member: tarfile.TarInfo, path: str) -> str | None:
    """The name under which a member is written, None for one that is of no use. Raises InvalidInput for anything odd."""
    name = member.name[2:] if member.name.startswith("./") else member.name
    parts = (name.rstrip("/") if member.isdir() else name).split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and getattr(member, "sparse", None) is None
    if plain and member.isdir() and len(parts) == 1 and name not in (*FILES, SIGNATURE):
        return None
    if plain and parts[0] == "artifacts" and (member.isdir() or member.isreg()):
        return None
    if plain and member.isreg() and (name in (*FILES, SIGNATURE) or _is_image(parts)):
        return name
    if plain and member.issym() and _is_parent(parts, member.linkname):
        return name
    if member.isdir() and name in ("", "."):
        return None
    if parts[0] == "volumes":
        raise InvalidInput(f"{path} has a volume in it ({name[:100]}), which cannot be restored.")
    raise InvalidInput(
        f"{path} is not an archive of a checkpoint: it has a member {name[:100]!r}, which has no business there."
    )


def _is_image(parts: t.Sequence[str]) -> bool:
    return len(parts) == 2 and parts[0] in IMAGES and parts[1] != PARENT and bool(_IMAGE.fullmatch(parts[1]))


def _is_parent(parts: t.Sequence[str], target: str) -> bool:
    """Whether it is the link of images to those before them, and not in a circle, which CRIU would go round for ever."""
    if len(parts) != 2 or parts[0] not in IMAGES or parts[1] != PARENT or not target.startswith("../"):
        return False
    return target[3:] in IMAGES[IMAGES.index(parts[0]) + 1 :]
