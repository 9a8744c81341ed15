# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The known members of an archive of a checkpoint by their names, and the refused ones. Pure."""

from __future__ import annotations

import re
import typing as t

from .._base.errors import InvalidInput

if t.TYPE_CHECKING:
    import tarfile

MANIFEST = "longshore.json"
SIGNATURE = "longshore.json.sig"
LOG = "ctr.log"
# CRIU's images: flat directories of regular files, the last one first. podman has one for a pre-dump.
IMAGES = ("checkpoint", *(f"pre-checkpoint-{number}" for number in range(9, 1, -1)), "pre-checkpoint")
FILES = (
    "config.dump", "spec.dump", "network.status", "stats-dump", LOG, "devshm-checkpoint.tar", "rootfs-diff.tar",
    "deleted.files", MANIFEST,
)  # fmt: skip
DOCUMENTS = ("spec.dump", "config.dump", MANIFEST)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PARENT = "parent"  # the link in a directory of images to the one of the earlier round


def known(member: tarfile.TarInfo, path: str) -> str | None:
    """Return the name for a member on disk, or None for an unneeded one. Raises InvalidInput for an unexpected one."""
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
        raise InvalidInput(f"{path} contains a volume ({name[:100]}), which cannot be restored.")
    raise InvalidInput(f"{path} is not an archive of a checkpoint: it has an unexpected member {name[:100]!r}.")


def _is_image(parts: t.Sequence[str]) -> bool:
    return len(parts) == 2 and parts[0] in IMAGES and parts[1] != PARENT and bool(_IMAGE.fullmatch(parts[1]))


def _is_parent(parts: t.Sequence[str], target: str) -> bool:
    """Tell whether it is the link to the images of an earlier round, without a loop, which CRIU would follow forever."""
    if len(parts) != 2 or parts[0] not in IMAGES or parts[1] != PARENT or not target.startswith("../"):
        return False
    return target[3:] in IMAGES[IMAGES.index(parts[0]) + 1 :]
