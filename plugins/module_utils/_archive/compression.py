# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compressions of archives: none and gzip by Python itself, zstd by the program of that name."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import subprocess
import typing as t

from .._base.errors import InvalidOption, MissingPrerequisite, ProgramFailed
from .._base.program import SEARCH_PATH, clean_environment

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def of(head: bytes) -> str:
    """Return the compression of a file by its first four bytes: none, gzip or zstd."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "none")


def check(name: str | None, *, pipe: bool = False) -> str:
    """Return the compression. None means zstd if this host has it, otherwise gzip, and no compression for a pipe. Raises
    InvalidOption for another one, MissingPrerequisite for one that is not on this host."""
    if pipe:
        if name == "zstd":
            raise InvalidOption("The compression zstd cannot be used with a pipe.", hint="Use none or gzip.")
        return name or "none"
    if name is None:
        return "zstd" if _zstd() else "gzip"
    if name == "zstd" and not _zstd():
        hint = "Install it, or use gzip."
        raise MissingPrerequisite("The compression zstd needs the program zstd on the host.", hint=hint)
    return name


def _zstd() -> str | None:
    return shutil.which("zstd", path=SEARCH_PATH)


@contextlib.contextmanager
def compressor(stream: t.IO[bytes], compression: str) -> t.Iterator[t.IO[bytes]]:
    """Give a file to write to, whose data goes into ``stream``. Raises ProgramFailed where zstd fails."""
    if compression == "none":
        yield stream
    elif compression == "gzip":
        # Level 1: memory images are big, and higher levels save little.
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
            yield t.cast(t.IO[bytes], packed)
    else:
        with contextlib.ExitStack() as stack:
            child = stack.enter_context(_zstd_process(["-T0", "-c"], stdin=subprocess.PIPE, stdout=stream))
            yield t.cast(t.IO[bytes], child.stdin)


@contextlib.contextmanager
def _zstd_process(arguments: list[str], **streams: t.Any) -> t.Iterator[subprocess.Popen[bytes]]:
    """Run zstd at one end of a pipe, and end it afterwards. Raises ProgramFailed if it fails."""
    argv = [_zstd() or "zstd", "-q", *arguments]
    # Its short error output fits into memory. A pipe would have to be read.
    with open(os.memfd_create("stderr"), "w+b") as err:
        with subprocess.Popen(argv, stderr=err, env=clean_environment(), **streams) as child:
            try:
                yield child
                for stream in (child.stdin, child.stdout):
                    if stream:
                        stream.close()
                status = child.wait()
            except BaseException:
                child.kill()
                raise
        err.seek(0)
        said = err.read().decode("utf-8", "replace").strip()[-300:]
    if status not in (0, -13):  # 13 is SIGPIPE: all needed data has been read
        raise ProgramFailed(f"zstd says: {said or f'no message, only exit status {status}'}")


@contextlib.contextmanager
def decompressor(descriptor: int) -> t.Iterator[t.IO[bytes]]:
    """Give the data of an open file from its beginning. The file stays open, for the next one who reads it.

    Raises MissingPrerequisite where zstd is missing, ProgramFailed where it fails.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    compression = of(os.pread(descriptor, 4, 0))
    if compression == "zstd":
        check("zstd")
        with contextlib.ExitStack() as stack:
            child = stack.enter_context(_zstd_process(["-d", "-c"], stdin=descriptor, stdout=subprocess.PIPE))
            yield t.cast(t.IO[bytes], child.stdout)
        return
    # A buffer of its own: one that was used before could still have the beginning of a file that has changed.
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(descriptor, "rb", closefd=False))
        yield stack.enter_context(_unpacked(stream, compression))


@contextlib.contextmanager
def from_pipe(pipe: t.BinaryIO) -> t.Iterator[t.IO[bytes]]:
    """Give the data that comes through a pipe, uncompressed or by gzip."""
    head = t.cast(io.BufferedReader, pipe).peek(4)
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(_unpacked(pipe, "gzip" if of(head) == "gzip" else "none"))


@contextlib.contextmanager
def _unpacked(stream: t.BinaryIO, compression: str) -> t.Iterator[t.IO[bytes]]:
    if compression != "gzip":
        yield stream
        return
    with gzip.GzipFile(fileobj=stream) as unpacked:
        yield t.cast(t.IO[bytes], unpacked)
