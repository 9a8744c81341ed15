# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a container comes to what listens on the loopback of its host. Arguments:

listen PORT  on the host: TCP and UDP on 127.0.0.1 and ::1; prints who came, and ends when "end" comes over UDP
try PORT     in the container: every way there is without any rights
end PORT     on the host: let it end
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys

KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(port: int) -> None:
    servers = []
    for address in ("127.0.0.1", "::1"):
        for kind in KINDS:
            with contextlib.suppress(OSError):  # a host without IPv6
                server = socket.socket(family(address), kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    server.listen(99)
                servers.append(server)
    while True:
        for server in select.select(servers, [], [], 60)[0]:
            if server.type == socket.SOCK_STREAM:
                print("tcp", server.accept()[1], flush=True)
                continue
            word, who = server.recvfrom(100)
            if word == b"end":
                return
            print("udp", word, who, flush=True)


def attempt(port: int) -> None:
    devices = [name for _number, name in socket.if_nameindex() if name != "lo"]
    routes = subprocess.run(["ip", "route"], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    gateways = [after for word, after in zip(routes, routes[1:]) if word == "via"]
    for address in (
        "127.0.0.1",
        "127.0.0.2",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.1.1",
        "169.254.1.2",
        "10.0.2.2",
        "10.0.2.3",
        *gateways,
    ):
        for device in ("", *devices):
            for kind in KINDS:
                with contextlib.suppress(OSError), socket.socket(family(address), kind) as client:
                    client.settimeout(0.3)
                    if device:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
                    client.connect((address, port))
                    client.sendall(f"{address} by {device}".encode())
    print("tried", *devices)


def end(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"end", ("127.0.0.1", port))


if __name__ == "__main__":
    {"listen": listen, "try": attempt, "end": end}[sys.argv[1]](int(sys.argv[2]))
