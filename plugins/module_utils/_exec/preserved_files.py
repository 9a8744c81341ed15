# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass open files to the command of an exec session, in addition to its input and output. No module ships this.

read, write = os.pipe()
run(store, "web", Command(("tar", "-cf", "/proc/self/fd/3", "/data")), preserve=Descriptors(write))
"""

from __future__ import annotations

from .._conmon.fd_mapping import arrange


class Descriptors:
    """Descriptors for an exec session: the first is 3 there, the next is 4, and so on. The caller must close them."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def arrange(self, argv: list[str]) -> list[str]:
        """Return the command line of conmon with these descriptors."""
        words = ["--runtime-opt=--preserve-fds", f"--runtime-opt={len(self.numbers)}"]
        return arrange([*argv, *words], self.numbers)
