# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import threading

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import named_pipe
from ansible_collections.longshore.oci.plugins.module_utils._archive.archive_reader import unpack_pipe
from ansible_collections.longshore.oci.plugins.module_utils._archive.archive_writer import pack
from ansible_collections.longshore.oci.plugins.module_utils._archive.layout import MANIFEST
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    InvalidOption,
    LongshoreError,
)

pytestmark = pytest.mark.pure


@pytest.fixture
def stored(tmp_path: pathlib.Path) -> str:
    """A stored checkpoint, as far as archives go."""
    directory = tmp_path / "stored"
    (directory / "checkpoint").mkdir(parents=True)
    (directory / "checkpoint" / "inventory.img").write_bytes(b"inventory")
    (directory / "spec.dump").write_text(json.dumps({"root": {"path": "/srv/web/rootfs"}, "process": {}}))
    (directory / "config.dump").write_text('{"name": "web"}')
    return str(directory)


@pytest.fixture
def pipe(tmp_path: pathlib.Path) -> str:
    path = str(tmp_path / "pipe")
    os.mkfifo(path, 0o600)
    return path


@pytest.mark.impure  # Threads that wait for one another.
@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_what_goes_in_comes_out(stored: str, tmp_path: pathlib.Path, pipe: str, kind: str) -> None:
    """With more in it than a pipe holds."""
    (pathlib.Path(stored) / "checkpoint" / "pages-2.img").write_bytes(os.urandom(3 << 20))
    target = tmp_path / "unpacked"
    target.mkdir()

    def receive() -> None:
        with named_pipe.reader(pipe, Deadline(30)) as stream:
            unpack_pipe(stream, pipe, str(target))

    receiver = threading.Thread(target=receive)
    receiver.start()
    while True:
        try:
            stream = named_pipe.writer(pipe, Deadline(30))
            break
        except InvalidOption:  # The other thread has not got that far.
            threading.Event().wait(0.01)
    with stream:
        pack(stored, pipe, compression=kind, log=None, pipe=stream, manifest=Manifest("web").with_members)
    receiver.join()
    assert (target / "checkpoint" / "pages-2.img").read_bytes() == (
        pathlib.Path(stored) / "checkpoint" / "pages-2.img"
    ).read_bytes()
    assert (target / MANIFEST).exists()


@pytest.mark.impure
@pytest.mark.parametrize(("owner", "mode"), [(0, 0o666), (0, 0o620), (0, 0o640), (0, 0o604), (4242, 0o600)])
def test_a_pipe_that_others_can_open(pipe: str, owner: int, mode: int) -> None:
    os.chown(pipe, owner, 0)
    os.chmod(pipe, mode)
    # With a reader, or there would be another reason.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for attempt in (
            lambda: named_pipe.writer(pipe, Deadline(1)), lambda: named_pipe.reader(pipe, Deadline(1)),
            lambda: named_pipe.check_pipe(pipe),
        ):  # fmt: skip
            with pytest.raises(InvalidOption, match=r"is open to other users|can be changed by users other than"):
                attempt()
    finally:
        os.close(reader)


def test_a_link_to_a_pipe(pipe: str) -> None:
    os.symlink(pipe, f"{pipe}-link")
    assert named_pipe.is_pipe(f"{pipe}-link")
    for attempt in (named_pipe.check_pipe, lambda path: named_pipe.reader(path, Deadline(1))):
        with pytest.raises(InvalidOption, match=r"is not a pipe itself|Too many levels of symbolic links"):
            attempt(f"{pipe}-link")


def test_nobody_reads(pipe: str) -> None:
    with pytest.raises(InvalidOption, match=r"The pipe .* has no reader"):
        named_pipe.writer(pipe, Deadline(30))


def test_nobody_comes(pipe: str, tmp_path: pathlib.Path) -> None:
    with named_pipe.reader(pipe, Deadline(0.1)) as stream, pytest.raises(DeadlineExceeded, match="in time"):
        unpack_pipe(stream, pipe, str(tmp_path))


def test_nobody_takes_it(pipe: str, stored: str) -> None:
    (pathlib.Path(stored) / "checkpoint" / "pages-2.img").write_bytes(os.urandom(3 << 20))
    with named_pipe.reader(pipe, Deadline(30)):
        stream = named_pipe.writer(pipe, Deadline(0.1))
        with pytest.raises(DeadlineExceeded, match="in time"):
            pack(stored, pipe, compression="none", log=None, pipe=stream, manifest=Manifest("web").with_members)
        with pytest.raises(DeadlineExceeded):
            stream.close()


def test_the_sender_gives_up(pipe: str, tmp_path: pathlib.Path) -> None:
    with named_pipe.reader(pipe, Deadline(30)) as stream:
        named_pipe.writer(pipe, Deadline(30)).close()
        with pytest.raises(InvalidOption, match="not an archive of a checkpoint, or it is damaged"):
            unpack_pipe(stream, pipe, str(tmp_path))


def test_the_receiver_gives_up(pipe: str, stored: str) -> None:
    (pathlib.Path(stored) / "checkpoint" / "pages-2.img").write_bytes(os.urandom(3 << 20))
    with named_pipe.reader(pipe, Deadline(30)):
        stream = named_pipe.writer(pipe, Deadline(30))
    with pytest.raises(LongshoreError, match="Cannot write the archive into the pipe"):
        pack(stored, pipe, compression="none", log=None, pipe=stream, manifest=Manifest("web").with_members)
