# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a good archive without compression make others that are not; print their paths, and the error for each, as JSON."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import typing as t


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", text: bytes = b"escaped") -> tuple[t.Any, bytes]:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    header.size = len(text) if kind == tarfile.REGTYPE else 0
    return header, text


ODD = "unexpected member"
MORE = {
    "outside": (member("checkpoint/../../../../escaped"), ODD),
    "absolute": (member("/tmp/escaped"), ODD),
    "link": (member("checkpoint/link", tarfile.SYMTYPE, "/etc"), ODD),
    "hardlink": (member("checkpoint/hard", tarfile.LNKTYPE, "../../../../etc/passwd"), ODD),
    "device": (member("checkpoint/null", tarfile.CHRTYPE), ODD),
    "unknown": (member("escaped"), ODD),
    "deep": (member("checkpoint/a/escaped"), ODD),
    "twice": (member("spec.dump", text=b"{}"), "two members"),
    "unlisted": (member("checkpoint/extra.img"), "damaged"),
}


def main() -> None:
    good = sys.argv[1]
    made = []
    for name, (extra, error) in MORE.items():
        path = f"{good}.{name}"
        with tarfile.open(good) as source, tarfile.open(path, "w") as target:
            for header in source:
                target.addfile(header, source.extractfile(header) if header.isreg() else None)
            target.addfile(extra[0], io.BytesIO(extra[1]) if extra[0].isreg() else None)
        made.append({"path": path, "error": error})
    with open(good, "rb") as stream:
        data = stream.read()
    for name, text, error in (
        ("cut", data[: len(data) // 2], "damaged|has no"),
        ("flipped", flip(good, data), "damaged"),
        ("text", b"not an archive", "damaged"),
        ("empty", b"", "damaged"),
        ("gzip", b"\x1f\x8b" + data[:100], "damaged"),
    ):
        with open(f"{good}.{name}", "wb") as stream:
            stream.write(text)
        made.append({"path": f"{good}.{name}", "error": error})
    print(json.dumps(made))


def flip(good: str, data: bytes) -> bytes:
    """One bit of the memory of the container is another."""
    with tarfile.open(good) as archive:
        header = next(header for header in archive if os.path.basename(header.name).startswith("pages-"))
    where = header.offset_data + 100
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


if __name__ == "__main__":
    main()
