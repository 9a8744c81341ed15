# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system of FUSE whose program does not answer."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import threading
import typing as t

_FORCE = 1 | 2  # MNT_FORCE: all who wait get an error; MNT_DETACH


@contextlib.contextmanager
def dead(place: pathlib.Path, *, is_read: bool = False) -> t.Iterator[None]:
    """Mount it. With ``is_read``, its program reads requests: who waits for one of these cannot be killed."""
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        if libc.mount(b"dead", os.fsencode(place), b"fuse.dead", 0, options) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(place))
        if is_read:
            threading.Thread(target=_read, args=(device,), daemon=True).start()
        yield
    finally:
        libc.umount2(os.fsencode(place), _FORCE)
        os.close(device)


def _read(device: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(device, 1 << 20):
            pass
