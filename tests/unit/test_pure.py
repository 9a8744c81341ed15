# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of the pure tests refuses what they must not do, before it is done."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.tests.unit import pure

_GUARD = pure.Guard()


@pytest.mark.parametrize(
    "act",
    [
        lambda _path: subprocess.run(["true"], check=True), lambda _path: os.fork(), lambda _path: os.kill(os.getpid(), signal.SIGTERM),
        lambda _path: os.posix_spawn("/bin/true", ["true"], {}), lambda _path: os.system("true"),
        lambda _path: socket.socket().bind(("127.0.0.1", 0)), lambda path: open(path, "w", encoding="utf-8").close(),
        os.mkdir, lambda path: os.symlink("/", path), lambda path: os.rename(f"{path}/own/file", path),
    ],
    ids=["run", "fork", "kill", "spawn", "system", "bind", "write", "mkdir", "symlink", "rename"],
)  # fmt: skip
def test_what_is_refused(tmp_path: pathlib.Path, act: t.Callable[[str], object]) -> None:
    (tmp_path / "own").mkdir()
    with _GUARD.on(str(tmp_path / "own")) as refused:
        with pytest.raises(pure.Impure, match="a pure test must not do this"):
            act(f"{tmp_path}/elsewhere")
        assert len(refused) == 1
    assert sorted(os.listdir(tmp_path)) == ["own"]


def test_code_that_swallows_the_refusal_is_told_of(tmp_path: pathlib.Path) -> None:
    with _GUARD.on(str(tmp_path / "own")) as refused, contextlib.suppress(BaseException):
        os.mkdir(tmp_path / "elsewhere")
    assert len(refused) == 1
    assert refused[0].startswith("os.mkdir ")


def test_what_is_allowed(tmp_path: pathlib.Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with _GUARD.on(str(own)) as refused:
        (own / "file").write_text("text")
        (own / "link").symlink_to("/elsewhere")
        (own / "file").rename(own / "other")
        assert pathlib.Path("/proc/self/status").read_text()
        with open(os.devnull, "w", encoding="utf-8") as null:
            null.write("text")
    assert refused == []


def test_afterwards_it_is_off(tmp_path: pathlib.Path) -> None:
    with _GUARD.on(str(tmp_path / "own")):
        pass
    subprocess.run(["true"], check=True)
    (tmp_path / "elsewhere").touch()
