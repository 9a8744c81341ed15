# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass open files to a container or to the command of an exec session, in addition to its input and output.

The runtime passes descriptors from 3 up (--preserve-fds, LISTEN_FDS), so conmon must have them there. A small program does
this, because it cannot be done between fork and exec without a change in this process.
"""

from __future__ import annotations

import sys
import typing as t

# Moves descriptors to 3 and up, where the runtime looks for them, and conmon's pipes to other numbers. Arguments: the number
# of descriptors, the descriptors, the program and its arguments.
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
    """Return a command line that runs ``argv`` with these descriptors as 3, 4 and so on. It runs Python first."""
    return [sys.executable, "-SEc", _ARRANGE, str(len(numbers)), *map(str, numbers), *argv]


class Descriptors:
    """Descriptors for an exec session: the first is 3 there, the next is 4, and so on. The caller must close them.

    This is for programs that use the library; no module has a use for it.

        read, write = os.pipe()
        run(store, "web", Command(("tar", "-cf", "/proc/self/fd/3", "/data")), preserve=Descriptors(write))
    """

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def arrange(self, argv: list[str]) -> list[str]:
        """Return the command line of conmon with these descriptors."""
        words = ["--runtime-opt=--preserve-fds", f"--runtime-opt={len(self.numbers)}"]
        return arrange([*argv, *words], self.numbers)
