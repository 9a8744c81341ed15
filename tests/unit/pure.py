# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the tests that are marked ``pure`` to what any user can run anywhere: no program, no root, no file but their own.

``bin/test unit --pure`` runs these tests alone. The guard holds in every run, so a test that breaks the rule fails where it was
changed, and not only where a program is missing. That no test needs root is shown by a run as another user: tests/run/unit.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
import typing as t

# Starting a program or a process, sending a signal, talking to another process.
_NEVER = {
    "subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system", "os.kill", "os.killpg",
    "socket.bind", "socket.connect",
}  # fmt: skip
# What changes a file; the first argument is its path. Of "open" only that for writing counts.
_CHANGES = {
    "open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.setxattr", "os.removexattr", "os.utime",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Impure(BaseException):
    """Raised in the place of what a pure test must not do. No ``except Exception`` of the code under test swallows it."""


class Guard:
    """Refuses what a pure test must not do, while it is on. An audit hook cannot be removed, so there is one for a process."""

    def __init__(self) -> None:
        self._directory: str | None = None
        self._refused: list[str] = []
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def on(self, directory: str) -> t.Iterator[list[str]]:
        """Refuse all changes but those below ``directory``. Gives the list of what was refused, which grows."""
        self._directory, self._refused = directory, []
        try:
            yield self._refused
        finally:
            self._directory = None

    def _hook(self, event: str, arguments: tuple[t.Any, ...]) -> None:
        if self._directory is None or not (
            event in _NEVER or (event in _CHANGES and self._is_elsewhere(event, arguments))
        ):
            return
        refused = f"{event} {arguments[:2]!a}"
        self._refused.append(refused)
        raise Impure(f"a pure test must not do this: {refused}")

    def _is_elsewhere(self, event: str, arguments: tuple[t.Any, ...]) -> bool:
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
            return False
        # Of links the place where they are made; what they lead to is not changed.
        path = arguments[1 if event in ("os.link", "os.symlink", "os.rename") else 0]
        # What is open already has been looked at. A relative path belongs to a directory that is open: the working directory
        # is the checkout, in which the run as another user cannot write.
        if isinstance(path, int) or not os.path.isabs(os.fsdecode(path)):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return real != os.devnull and not real.startswith(f"{self._directory}/") and "__pycache__" not in real
