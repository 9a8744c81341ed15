# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small, exact file operations. Modes are given at creation, so nothing depends on the process's umask."""

from __future__ import annotations

import json
import os
import re
import stat
import typing as t

from .errors import EngineError, InvalidInput

_AT_ONCE = 1 << 16
_MOST_BYTES = 16 << 20


def has_labels() -> bool:
    """Whether SELinux is enabled; where it is not, nothing of it is looked at (selinux.py)."""
    return os.path.exists("/sys/fs/selinux/enforce")


def read_text(path: str, *, limit: int = _MOST_BYTES, errors: str = "replace") -> str | None:
    """Return the content of a small file, or None where there is none (missing, or gone between two calls).

    Never waits, and takes no more memory than ``limit``: a FIFO, a device, a leased file and a larger one are errors.
    """
    try:
        with open(path, "rb", opener=without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise EngineError(f"Cannot read {path}: it is not a regular file.")
            # Most files are tiny, and read() makes room for all that it may get.
            data = stream.read(min(limit + 1, _AT_ONCE)) or b""
            data += (stream.read(limit + 1 - _AT_ONCE) or b"") if len(data) == _AT_ONCE else b""
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except OSError as exc:
        # ENODEV is what a file of a removed cgroup says.
        if exc.errno == 19:
            return None
        raise EngineError(f"Cannot read {path}: {exc.strerror}.") from exc
    if len(data) > limit:
        raise EngineError(f"Cannot read {path}: it is larger than {limit} bytes.")
    return data.decode("utf-8", errors)


def without_waiting(path: str, flags: int) -> int:
    """For open(opener=): a FIFO, a device, or a file with a lease on it (fcntl(2)) cannot hold the open up."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def read_tail(path: str, *, lines: int = 20, limit: int = 16384) -> list[str]:
    """The last lines of a log, at most ``limit`` bytes of it; nothing where there is no such regular file."""
    try:
        with open(path, "rb", opener=without_waiting) as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
            return stream.read(limit).decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return []


def read_json(path: str) -> dict[str, t.Any] | None:
    """A JSON object of our own; None where it is missing or damaged, which the caller treats alike: as not written."""
    try:
        value = json.loads(read_text(path) or "null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def check_text(name: str, text: str) -> None:
    """Refuse a name or path that cannot stand in a line of a unit, a log or a message: one with control characters, or with bytes
    that are not UTF-8, which are lone surrogates here."""
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text):
        raise InvalidInput(f"{name} cannot have control characters, or bytes that are not UTF-8: {text!a}.")


def plain_path(text: str) -> str:
    r"""From /proc/PID/mountinfo (proc(5)): blanks and backslashes are octal there, ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def write_text(path: str, text: str, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace a file in one step: a reader, or the next run after a kill, sees the old content or the new, never half.

    ``durable`` is for what shall be as whole after a power cut. Most of what is written here describes processes, and those do
    not survive it, so there is no fsync otherwise. A damaged file reads as missing. A kill may leave the temporary file:
    leftovers.py clears those that are in no directory that goes as a whole.
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
    except BaseException as exc:  # also one by a signal
        remove_file(temporary)
        if isinstance(exc, OSError):
            raise EngineError(f"Cannot write {path}: {exc.strerror}.") from exc
        raise


def make_directory(path: str, *, mode: int = 0o750, tries: int = 20) -> None:
    """Make a directory and its parents, all with ``mode``; one that exists is left as it is.

    One that another user has made in a shared place (sticky, such as /tmp) is refused: nobody had to be asked for that.
    """
    try:
        if os.path.isdir(path):
            if os.lstat(path).st_uid not in (0, os.geteuid()) and os.stat(os.path.dirname(path)).st_mode & stat.S_ISVTX:
                raise EngineError(
                    f"The directory {path} belongs to another user.", hint="Choose another place, or remove it."
                )
            return
        parent = os.path.dirname(path)
        if parent and parent != path:
            make_directory(parent, mode=mode)
        os.mkdir(path, mode)
        os.chmod(path, mode)
    except OSError as exc:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise EngineError(f"{path} is in the way: it is not a directory.") from None
        if not isinstance(exc, (FileExistsError, FileNotFoundError)) or not tries:
            raise EngineError(f"Cannot make the directory {path}: {exc.strerror}.") from exc
        # Another task has made it, or has removed it or its parent, as they are removed when they are empty.
        make_directory(path, mode=mode, tries=tries - 1)


def lock_file(run_dir: str, name: str) -> str:
    """Return where the lock of a container is, or of what else has a name that no container can have."""
    return f"{run_dir}/locks/{name}"


def is_busy(run_dir: str, name: str) -> bool:
    """Whether a task is at work on what is locked by a name, or was killed at that. A task with nothing to do asks only this, and
    locks nothing."""
    return os.path.lexists(lock_file(run_dir, name))


def remove_file(path: str) -> None:
    """Remove a file or a symbolic link; one that is gone already is fine."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        raise EngineError(f"Cannot remove {path}: {exc.strerror}.") from exc


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it, however deep; never follows a symbolic link, and one that is gone is fine."""
    if os.path.lexists(path):
        from .trees import remove

        remove(path)
