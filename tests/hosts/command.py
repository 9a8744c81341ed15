# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Run one command to its end, with a deadline and an error that says what went wrong."""

from __future__ import annotations

import os
import shlex
import subprocess
import typing as t


class HostsError(Exception):
    """A problem that ends this tool; the text is for the person who called it."""


class CommandFailed(HostsError):
    def __init__(self, argv: t.Sequence[str], *, why: str, output: str) -> None:
        super().__init__(f"{shlex.join(argv)}: {why}\n{output.strip()}".rstrip())
        self.argv = argv
        self.output = output


def run(
    argv: t.Sequence[str],
    *,
    seconds: float = 30,
    log: t.IO[bytes] | None = None,
    check: bool = True,
    extra_env: t.Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command without input. With `log`, its output goes to that file and not to the result."""
    env = {**os.environ, "LC_ALL": "C.UTF-8", **(extra_env or {})}
    try:
        result = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            encoding=None if log else "utf-8",
            errors=None if log else "replace",
            env=env,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandFailed(argv, why="no such command", output=str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, why=f"not done after {seconds:.0f} s", output="") from error
    if check and result.returncode != 0:
        output = f"see {log.name}" if log else result.stdout + result.stderr
        raise CommandFailed(argv, why=f"exit status {result.returncode}", output=output)
    return result


__all__ = ("CommandFailed", "HostsError", "run")
