# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an archive of a checkpoint: known and refused names, sizes and digests."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import typing as t

from .._base.errors import InvalidOption

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
_CHUNK = 1 << 20


class Member(t.NamedTuple):
    """A member that was read: ``size`` in bytes, and the sha256 of its data. In JSON it is a list of the two."""

    size: int
    sha256: str


Members = dict[str, Member]


class HashingReader:
    """A file that is hashed while it is read."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self._stream, self._hash, self._size = stream, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self._size += len(data)
        return data

    def read_all(self) -> Member:
        """Read to the end; return size and digest of all that was read."""
        while self.read(_CHUNK):
            pass
        return self.result()

    def result(self) -> Member:
        return Member(self._size, self._hash.hexdigest())


def digest(members: Members) -> str:
    """Return the sha256 of all data for a restore, which excludes the log of the container."""
    lines = [f"{name} {size} {sha256}\n" for name, (size, sha256) in sorted(members.items()) if name != LOG]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def members_in(directory: str) -> t.Iterator[tuple[str, str]]:
    """Yield name and path of each member of a stored checkpoint, except manifest and links."""
    for name in FILES[:-1]:
        if os.path.isfile(f"{directory}/{name}"):
            yield name, f"{directory}/{name}"
    for images in IMAGES:
        if os.path.isdir(f"{directory}/{images}"):
            for name in sorted(os.listdir(f"{directory}/{images}")):
                path = f"{directory}/{images}/{name}"
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield f"{images}/{name}", path


def measure(directory: str) -> Members:
    """Read all members of a stored checkpoint; return their sizes and digests by name."""
    found: Members = {}
    for name, path in members_in(directory):
        with open(path, "rb") as stream:
            found[name] = HashingReader(stream).read_all()
    return found


def known(member: tarfile.TarInfo, path: str) -> str | None:
    """Return the name for a member on disk, or None for an unneeded one. Raises InvalidOption for an unexpected one."""
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
        raise InvalidOption(f"{path} contains a volume ({name[:100]}), which cannot be restored.")
    raise InvalidOption(f"{path} is not an archive of a checkpoint: it has an unexpected member {name[:100]!r}.")


def _is_image(parts: t.Sequence[str]) -> bool:
    return len(parts) == 2 and parts[0] in IMAGES and parts[1] != PARENT and bool(_IMAGE.fullmatch(parts[1]))


def _is_parent(parts: t.Sequence[str], target: str) -> bool:
    """Tell whether it is the link to the images of an earlier round, without a loop, which CRIU would follow forever."""
    if len(parts) != 2 or parts[0] not in IMAGES or parts[1] != PARENT or not target.startswith("../"):
        return False
    return target[3:] in IMAGES[IMAGES.index(parts[0]) + 1 :]
