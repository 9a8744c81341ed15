# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors
"""Print, as JSON, what this host can lend to a container's root file system.

Arguments: the paths at which a busybox may be; without any, the places where the distributions put it.
"""

from __future__ import annotations

import json
import os
import struct
import sys

BUSYBOX = (
    "/bin/busybox.static",  # Alpine, whose /bin/busybox is linked dynamically
    "/usr/bin/busybox-static",  # openSUSE
    "/usr/bin/busybox",
    "/bin/busybox",
    "/usr/sbin/busybox",  # Fedora
    "/sbin/busybox",
)
DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64")
PT_INTERP = 3


def is_static(path: str) -> bool:
    """An ELF program is static when it names no interpreter, that is, no dynamic loader."""
    try:
        with open(path, "rb") as program:
            header = program.read(64)
            if header[:4] != b"\x7fELF":
                return False
            wide, order = header[4] == 2, "<" if header[5] == 1 else ">"
            (table,) = struct.unpack_from(order + ("Q" if wide else "I"), header, 32 if wide else 28)
            size, count = struct.unpack_from(order + "HH", header, 54 if wide else 42)
            program.seek(table)
            entries = program.read(size * count)
    except (OSError, struct.error):
        return False
    types = [struct.unpack_from(order + "I", entries, size * index)[0] for index in range(count)]
    return bool(types) and PT_INTERP not in types


def main() -> None:
    present = [name for name in DIRECTORIES if os.path.isdir("/" + name)]
    links = {name: os.readlink("/" + name) for name in present if os.path.islink("/" + name)}
    print(
        json.dumps(
            {
                "busybox": next((path for path in sys.argv[1:] or BUSYBOX if is_static(path)), None),
                "links": links,
                "directories": [name for name in present if name not in links],
            }
        )
    )


main()
