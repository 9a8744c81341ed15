# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""ssh's ProxyCommand: connect to ADDRESS PORT in this network namespace and hand ssh the socket.

Called with ProxyUseFdpass, so nothing stays between ssh and the host. It is copied into the state
directory and run from there, hence it imports nothing of this package.
"""

from __future__ import annotations

import socket
import sys

_CONNECT_SECONDS = 10


def main() -> int:
    address, port = sys.argv[1:3]
    try:
        connection = socket.create_connection((address, int(port)), timeout=_CONNECT_SECONDS)
    except OSError as error:
        print(f"cannot connect to {address} port {port}: {error}", file=sys.stderr)
        return 1
    # The timeout made the socket non-blocking, which ssh would inherit.
    connection.setblocking(True)
    with socket.socket(fileno=1) as to_ssh:
        socket.send_fds(to_ssh, [b"\0"], [connection.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
