# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of the tests of networks. Arguments:

serve                    in the container: repeats at port 18000, TCP and UDP, what it is told, and prints it; "end" ends it
ask KIND HOST PORT WORD  on the host: say a word, until there is an answer, and print that
tell HOST PORT WORD      on the host: send a word over UDP
gone PID...              until none of the processes is there any more, but for zombies
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
import typing as t


def serve() -> None:
    # Both versions of IP where the network has both.
    tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for each in (tcp, udp):
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        each.bind(("::", 18000))
    tcp.listen(16)
    while True:
        for ready in select.select([tcp, udp], [], [])[0]:
            if ready is udp:
                word, address = udp.recvfrom(100)
                print("udp", word.decode(), flush=True)
                udp.sendto(b"udp " + word, address)
                continue
            with tcp.accept()[0] as connection:
                word = connection.recv(100)
                connection.sendall(b"tcp " + word)
            if word == b"end":
                return


def ask(kind: str, host: str, port: str, word: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    end = time.monotonic() + 10
    problem: object = None
    while time.monotonic() < end:
        try:
            with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as connection:
                connection.settimeout(1)
                connection.connect((host, int(port)))
                connection.sendall(word.encode())
                answer = connection.recv(100)
            if answer:
                print(answer.decode())
                return
        except OSError as exc:
            problem = exc
        time.sleep(0.1)
    sys.exit(f"no answer: {problem}")


def tell(host: str, port: str, word: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(word.encode(), (host, int(port)))


def gone(*pids: str) -> None:
    def there(pid: str) -> bool:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                return stream.read().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    end = time.monotonic() + 10
    while any(map(there, pids)):
        if time.monotonic() > end:
            sys.exit(f"still there: {[pid for pid in pids if there(pid)]} ({os.getpid()} looks)")
        time.sleep(0.05)


def main() -> None:
    does: dict[str, t.Callable[..., None]] = {"serve": serve, "ask": ask, "tell": tell, "gone": gone}
    does[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
