# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of an archive while it is written: it has no name until it is complete, so a killed task leaves nothing.

It contains all memory of a container, and no other program cleans up its directory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import typing as t

from .._base.files import remove_file, write_text
from .._state.unfinished import NOTE, own_name

# Errors of kernels and file systems that do not support files without a name (open(2)).
_CANNOT = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


@contextlib.contextmanager
def replacing(path: str, notes: str) -> t.Iterator[t.BinaryIO]:
    """Yield a file that replaces ``path`` on success. Raises OSError.

    If it needs a temporary name, a note in the directory ``notes`` is written first, so that the next task of the container
    removes both (recovery.py).
    """
    words = own_name("")
    temporary, note = f"{path}.{words}", f"{notes}/{NOTE}{words}"
    noted = False
    try:
        descriptor = _without_name(os.path.dirname(path))
        named = descriptor < 0
        if named:
            noted = _note(note, temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            if not named:
                with contextlib.suppress(FileExistsError):
                    return _link(descriptor, path)
                noted = _note(note, temporary)
                _link(descriptor, temporary)
        os.rename(temporary, path)
    finally:
        if noted:
            remove_file(temporary)
            remove_file(note)


def _without_name(directory: str) -> int:
    """Return a file without a name, or -1 if that is not supported."""
    try:
        return os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
        return -1


def _note(path: str, temporary: str) -> bool:
    write_text(path, json.dumps({"path": temporary}))
    return True


def _link(descriptor: int, path: str) -> None:
    """Give an open file a name. With a descriptor of the directory, Python calls linkat(2), which follows the link in /proc."""
    directory = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(str(descriptor), path, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)
