# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain why a command could not run in a container."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from .._base.errors import LongshoreError, ProgramFailed
from .._base.files import read_tail, split_lines
from .._base.process import is_alive
from .._runtime.failure import last_error
from .._state.model import Record
from .._state.store import Store
from .container_fs import Rootfs
from .process_spec import Command
from .session_store import SessionPaths

# Errors of runc 1.0 to 1.3 and crun 1.8 to 1.28 for a program that does not exist, or cannot be executed.
_NOT_FOUND = re.compile(r"executable file .*not found|exec(: | `?\S*/).*no such file", re.IGNORECASE)
_NOT_EXECUTABLE = re.compile(
    r"permission denied|exec format error|is a directory|not a directory|operation not permitted", re.IGNORECASE
)
_LONGEST = 8192  # bytes of the output that are searched for an error
_DIRECTORY = re.compile(r"\b(cwd|chdir|working directory)\b", re.IGNORECASE)


class _Tree:
    """The files of a running container, for program_fault."""

    def __init__(self, rootfs: Rootfs) -> None:
        self._rootfs = rootfs

    def open(self, path: str) -> t.BinaryIO | None:
        return self._rootfs.open(path)

    def resolve(self, path: str) -> str:
        stream = self._rootfs.open(path)
        if stream is None:
            raise FileNotFoundError(path)
        stream.close()
        return path


def late(
    store: Store, record: Record, paths: SessionPaths, command: Command, output: tuple[bytes, bytes]
) -> LongshoreError | None:
    """Return the error of a command that has ended with the exit code 1 or 255, if the kernel has refused its program.

    crun logs that where no container can write. runc writes it to the output of the command, as any program could. So the file must
    have a fault, or else the command has run.
    """
    if (last_error("\n".join(read_tail(paths.runtime_log))) or "").startswith("exec"):
        return explain(ProgramFailed(""), record, paths, command)
    text = b"".join(output) if command.tty or not output[0] else b""
    said = re.fullmatch(r"(exec (.+): [^:\r\n]+)\r?\n", os.fsdecode(text[:_LONGEST]), re.DOTALL)
    if not said or (said[2] if "/" in command.argv[0] else said[2].rpartition("/")[2]) != command.argv[0]:
        return None
    cwd = command.cwd or (store.load_config(record.name) or {}).get("process", {}).get("cwd") or "/"
    return explain(ProgramFailed(said[1]), record, paths, command) if _has_fault(said[2], record, cwd) else None


def _has_fault(path: str, record: Record, cwd: str) -> bool:
    from .._config import program_fault

    with contextlib.suppress(LongshoreError, OSError, ValueError):  # It is unknown.
        if record.init is not None and is_alive(record.init):
            tree = _Tree(Rootfs(f"/proc/{record.init.pid}/root"))
            # The kernel would not have refused the file if a program for it were registered (binfmt_misc).
            return program_fault.find(tree, os.path.join(cwd, path), cwd, binfmt=os.devnull) != ""
    return False


def explain(exc: LongshoreError, record: Record, paths: SessionPaths, command: Command) -> LongshoreError:
    """Return the error with the best reason: the runtime's last error, then conmon's message, then conmon's output."""
    log = "\n".join(read_tail(paths.runtime_log))
    written = read_tail(paths.conmon_log)
    reasons = (last_error(log), exc.message, " ".join(written[-3:]), "the runtime ended without a message")
    reason = next(text for text in reasons if text).rstrip(".")
    details: dict[str, t.Any] = {
        "runtime_log": split_lines(log)[-20:],
        "conmon_log": written,
        "cmd": list(command.argv),
    }
    what = f"{command.argv[0]} in the container {record.name}"
    if not _DIRECTORY.search(reason):
        for code, words, pattern in ((127, "found", _NOT_FOUND), (126, "executed", _NOT_EXECUTABLE)):
            if pattern.search(reason):
                return ProgramFailed(
                    f"Cannot run {what}: it cannot be {words} ({reason}).", rc=code, stdout="", stderr="", **details
                )
    return type(exc)(f"Cannot run {what}: {reason}.", hint=exc.hint, **details)
