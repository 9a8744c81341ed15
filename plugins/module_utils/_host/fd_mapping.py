# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files for a container or for the command of an exec session, beside its input and output.

    read, write = os.pipe()
    exec.run(store, "web", Command(("tar", "-cf", "/proc/self/fd/3", "/data")), preserve=Descriptors(write))

The runtime takes them from 3 up (--preserve-fds, LISTEN_FDS), so that is where conmon must have them; nothing else of a
process can be arranged between fork and exec without changing this one.
"""

from __future__ import annotations

import sys
import typing as t

# Puts descriptors at 3 and up, where the runtime looks for them, and conmon's pipes out of their way. Arguments: how many,
# their numbers, the program and its arguments.
_ARRANGE = """
import fcntl, os, sys
count = int(sys.argv[1])
numbers, argv = [int(word) for word in sys.argv[2:2 + count]], sys.argv[2 + count:]
high = 100 + count
for name in ("_OCI_SYNCPIPE", "_OCI_STARTPIPE", "_OCI_ATTACHPIPE"):
    if name in os.environ:
        number = fcntl.fcntl(int(os.environ[name]), fcntl.F_DUPFD, high)
        os.close(int(os.environ[name]))
        os.environ[name] = str(number)
moved = [fcntl.fcntl(number, fcntl.F_DUPFD, high) for number in numbers]
for number in numbers:
    os.close(number)
for index, number in enumerate(moved):
    os.dup2(number, 3 + index)
    os.close(number)
os.execv(argv[0], argv)
"""


def arrange(argv: t.Sequence[str], numbers: t.Sequence[int]) -> list[str]:
    """A command line that gives ``argv`` these descriptors as 3, 4 and so on: of a Python that sees to it first."""
    return [sys.executable, "-SEc", _ARRANGE, str(len(numbers)), *map(str, numbers), *argv]


class Descriptors:
    """For an exec session: the first is 3 in it, the next 4, and so on. They stay open here, and are the caller's to close."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def arrange(self, argv: list[str]) -> list[str]:
        """The command line of conmon."""
        words = ["--runtime-opt=--preserve-fds", f"--runtime-opt={len(self.numbers)}"]
        return arrange([*argv, *words], self.numbers)
