# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the addresses with which this host comes to another one, separated by commas. Arguments: its name or address, and a port."""

from __future__ import annotations

import contextlib
import socket
import sys


def main() -> None:
    found = []
    for family, kind, protocol, _name, address in socket.getaddrinfo(*sys.argv[1:], type=socket.SOCK_DGRAM):
        # The kernel chooses a route, and nothing is sent.
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as asked:
            asked.connect(address)
            found.append(asked.getsockname()[0])
    print(",".join(dict.fromkeys(found)))


if __name__ == "__main__":
    main()
