# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client, and whoever else wants a port. What it finds goes to standard output.

``free N`` finds N ports that are free for TCP and UDP, in a row; ``bind tcp|udp HOST PORT`` tells ``free`` or ``in use``;
``say tcp|udp HOST PORT TEXT`` and ``say unix PATH TEXT`` send a line and tell what comes back.
"""

from __future__ import annotations

import errno
import socket
import sys

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "unix": socket.SOCK_STREAM}


def family(host: str) -> int:
    return socket.AF_UNIX if "/" in host else socket.AF_INET6 if ":" in host else socket.AF_INET


def is_free(kind: str, host: str, port: int) -> bool:
    with socket.socket(family(host), KINDS[kind]) as probe:
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def free(count: int) -> int:
    """The first of them. Below those that the kernel gives to clients."""
    for first in range(20011, 32000, 97):
        if all(is_free(kind, "::", port) for port in range(first, first + count) for kind in ("tcp", "udp")):
            return first
    raise SystemExit("no ports are free")


def say(kind: str, address: str | tuple[str, int], text: str) -> str:
    with socket.socket(family(address if isinstance(address, str) else address[0]), KINDS[kind]) as client:
        client.settimeout(20)
        client.connect(address)
        client.sendall(f"{text}\n".encode())
        return client.recv(4096).decode().strip()


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "free":
        print(free(int(words[0])))
    elif verb == "bind":
        print("free" if is_free(words[0], words[1], int(words[2])) else "in use")
    elif words[0] == "unix":
        print(say("unix", words[1], words[2]))
    else:
        print(say(words[0], (words[1], int(words[2])), words[3]))


if __name__ == "__main__":
    main()
