# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small, exact file operations. Modes are given at creation, so nothing depends on the process's umask."""

from __future__ import annotations

import json
import os
import re
import shutil
import typing as t

from .errors import EngineError, reason_of


def has_labels() -> bool:
    """Whether SELinux is enabled; where it is not, nothing of it is looked at (selinux.py)."""
    return os.path.exists("/sys/fs/selinux/enforce")


def read_text(path: str) -> str | None:
    """Content of a small file, or None where there is none (missing, or gone between two calls)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except OSError as exc:
        # ENODEV is what a file of a removed cgroup says.
        if exc.errno == 19:
            return None
        raise EngineError(f"Cannot read {path}: {exc.strerror}.") from exc


def read_tail(path: str, *, lines: int = 20, limit: int = 16384) -> list[str]:
    """The last lines of a log, at most ``limit`` bytes of it; nothing where there is no such regular file."""
    try:
        # Not to be held up by a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
            return stream.read(limit).decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return []


def read_json(path: str) -> dict[str, t.Any] | None:
    """A JSON object of our own; None where it is missing or damaged, which the caller treats alike: as not written."""
    try:
        value = json.loads(read_text(path) or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def plain_path(text: str) -> str:
    r"""From /proc/PID/mountinfo (proc(5)): blanks and backslashes are octal there, ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def write_text(path: str, text: str, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace a file in one step: a reader, or the next run after a kill, sees the old content or the new, never half.

    ``durable`` is for what shall be as whole after a power cut. Most of what is written here describes processes, and those do
    not survive it, so there is no fsync otherwise. A damaged file reads as missing.
    """
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.rename(temporary, path)
    except OSError as exc:
        remove_file(temporary)
        raise EngineError(f"Cannot write {path}: {exc.strerror}.") from exc


def make_directory(path: str, *, mode: int = 0o750) -> None:
    """Make a directory and its parents, all with ``mode``; one that exists is left as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_directory(parent, mode=mode)
    try:
        os.mkdir(path, mode)
        os.chmod(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise EngineError(f"{path} is in the way: it is not a directory.") from None
    except OSError as exc:
        raise EngineError(f"Cannot make the directory {path}: {exc.strerror}.") from exc


def remove_file(path: str) -> None:
    """Remove a file or a symbolic link; one that is gone already is fine."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        raise EngineError(f"Cannot remove {path}: {exc.strerror}.") from exc


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it; never follows a symbolic link, and one that is gone is fine."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        # Also when a file in it vanished meanwhile (conmon renames its temporary files): once more settles it.
        shutil.rmtree(path, ignore_errors=True)
    except OSError as exc:
        raise EngineError(f"Cannot remove {path}: {reason_of(exc)}.", hint="Is something mounted there?") from exc
