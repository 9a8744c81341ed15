# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small, exact file operations. Files get their mode at creation, so the umask of the process has no effect."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import typing as t

from .errors import InvalidOption, LongshoreError

_AT_ONCE = 1 << 16
_MOST_BYTES = 16 << 20


def read_text(path: str, *, limit: int = _MOST_BYTES, errors: str = "replace") -> str | None:
    """Return the content of a small file, or None if it does not exist (any more).

    Never wait, and use no more memory than ``limit``. A FIFO, a device, a leased file and a larger file are errors.
    """
    try:
        with open(path, "rb", opener=without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise LongshoreError(f"Cannot read {path}: it is not a regular file.")
            # Most files are tiny, and read() allocates memory for the largest possible result.
            data = stream.read(min(limit + 1, _AT_ONCE)) or b""
            data += (stream.read(limit + 1 - _AT_ONCE) or b"") if len(data) == _AT_ONCE else b""
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except OSError as exc:
        # The files of a removed cgroup fail with ENODEV.
        if exc.errno == 19:
            return None
        raise LongshoreError(f"Cannot read {path}: {exc.strerror}.") from exc
    if len(data) > limit:
        raise LongshoreError(f"Cannot read {path}: it is larger than {limit} bytes.")
    return data.decode("utf-8", errors)


def without_waiting(path: str, flags: int) -> int:
    """Open a file, for open(opener=), without blocking on a FIFO, a device or a file with a lease (fcntl(2))."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def split_lines(text: str) -> list[str]:
    """Return the lines of a text that is not from this collection. Only a line feed ends a line, and one carriage return before
    it does not count: splitlines() also ends a line at a form feed or at U+2028, so a value could add a line."""
    found = text.split("\n")
    return [line.removesuffix("\r") for line in (found if found[-1] else found[:-1])]


def read_tail(path: str, *, lines: int = 20, limit: int = 16384) -> list[str]:
    """Return the last lines of a log, at most ``limit`` bytes. Empty if no such regular file exists."""
    try:
        with open(path, "rb", opener=without_waiting) as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
            return split_lines(stream.read(limit).decode("utf-8", "replace"))[-lines:]
    except OSError:
        return []


def read_json(path: str) -> dict[str, t.Any] | None:
    """Return a JSON object of Longshore, or None if the file is missing or damaged. Callers treat both as not written."""
    try:
        value = json.loads(read_text(path) or "null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def check_text(name: str, text: str) -> None:
    """Refuse a name or path that is not valid in a line of a unit, a log or a message: one with control characters, or with
    bytes that are not UTF-8 (lone surrogates in Python)."""
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text):
        raise InvalidOption(f"{name} cannot have control characters, or bytes that are not UTF-8: {text!a}.")


def refuse_bytes(name: str, value: t.Any, *, is_path: bool = False) -> None:
    """Refuse NUL anywhere in an option, because programs written in C read only what stands in front of it. Refuse bytes that are
    not UTF-8 (lone surrogates) too, because a JSON document cannot hold them: crun refuses it, and runc changes them. Only a
    path of the host may have them."""
    if isinstance(value, str) and re.search("\0" if is_path else r"[\0\ud800-\udfff]", value):
        what = "a NUL character in it" if "\0" in value else "bytes that are not UTF-8"
        raise InvalidOption(f"{name} cannot have {what}.")
    for each in value if isinstance(value, (tuple, list, t.Mapping)) else ():
        refuse_bytes(name, each, is_path=is_path)
        if isinstance(value, t.Mapping):
            refuse_bytes(f"{name}.{str(each)[:100]}", value[each], is_path=is_path)


def write_text(path: str, text: str, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace a file in one step. A reader, or the next run after a kill, sees the complete old or the complete new content.

    ``durable`` guarantees the same after a power cut. Most files describe processes, which do not survive a power cut, so
    there is no fsync by default. A damaged file reads as missing. A kill may leave the temporary file: leftovers.py
    removes the ones whose directory is not removed as a whole.
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
    except BaseException as exc:  # also from a signal
        with contextlib.suppress(LongshoreError):  # The first error counts.
            remove_file(temporary)
        if isinstance(exc, OSError):
            raise LongshoreError(f"Cannot write {path}: {exc.strerror}.") from exc
        raise


def has_no_room(error: LongshoreError) -> bool:
    """Tell whether a file could not be written because its file system is full."""
    return getattr(error.__cause__, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)


def make_directory(path: str, *, mode: int = 0o750, tries: int = 100) -> None:
    """Create a directory and its parents, all with ``mode``. An existing directory stays as it is.

    Refuse a directory of another user in a shared place (sticky, such as /tmp), where every user may create it.
    """
    try:
        if os.path.isdir(path):
            if os.lstat(path).st_uid not in (0, os.geteuid()) and os.stat(os.path.dirname(path)).st_mode & stat.S_ISVTX:
                message = f"The directory {path} belongs to another user."
                raise LongshoreError(message, hint="Choose another path, or remove it.")
            return
        parent = os.path.dirname(path)
        if parent and parent != path:
            make_directory(parent, mode=mode)
        os.mkdir(path, mode)
        os.chmod(path, mode)
    except OSError as exc:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise LongshoreError(f"Cannot create the directory {path}: a file with this name exists.") from None
        if not isinstance(exc, (FileExistsError, FileNotFoundError)) or not tries:
            raise LongshoreError(f"Cannot create the directory {path}: {exc.strerror}.") from exc
        # Another task has created it, or has removed it or its parent because they were empty.
        # A task removes a directory once, when it ends: so many failures in a row would take as many tasks that end at once.
        make_directory(path, mode=mode, tries=tries - 1)


def lock_file(run_dir: str, name: str) -> str:
    """Return the path of the lock of a container, or of another object whose name no container can have."""
    return f"{run_dir}/locks/{name}"


def is_busy(run_dir: str, name: str) -> bool:
    """Tell whether a task works on the object with this lock name, or was killed while it did. A task with nothing to do
    only asks this and takes no lock."""
    return os.path.lexists(lock_file(run_dir, name))


def remove_file(path: str) -> None:
    """Remove a file or a symbolic link, if it exists."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        raise LongshoreError(f"Cannot remove {path}: {exc.strerror}.") from exc


def remove_tree(path: str) -> None:
    """Remove a directory tree of any depth, if it exists. Never follow a symbolic link."""
    if os.path.lexists(path):
        from .trees import remove

        remove(path)
