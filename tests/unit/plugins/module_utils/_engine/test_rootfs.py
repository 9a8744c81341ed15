# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of a container is a directory here, with another around it that no path may reach."""

from __future__ import annotations

import os
import pathlib
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._engine.errors import EngineError
from ansible_collections.longshore.oci.plugins.module_utils._engine.rootfs import Rootfs


@pytest.fixture
def top(tmp_path: pathlib.Path, open_files: t.Callable[[], dict[str, str]]) -> t.Iterator[pathlib.Path]:
    """Afterwards nothing may be open that was not before."""
    root = tmp_path / "root"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    (root / "etc/.hidden").write_text("")
    (root / "etc/a.conf").write_text("")
    (tmp_path / "secret").write_text("outside")
    before = open_files()
    yield root
    assert open_files() == before


def _link(top: pathlib.Path, name: str, target: str) -> None:
    (top / name).symlink_to(target)


class TestRead:
    @pytest.mark.parametrize("path", ["/etc/passwd", "etc/passwd", "//etc/./deep/../passwd", "/../../etc/passwd"])
    def test_paths(self, top: pathlib.Path, path: str) -> None:
        assert Rootfs(str(top)).read_text(path) == "inside"

    @pytest.mark.parametrize(
        ("target", "text"),
        [
            ("/etc/passwd", "inside"),
            ("etc/passwd", "inside"),
            ("../../../../etc/passwd", "inside"),
            ("../secret", None),
            ("/../secret", None),
            ("etc/deep/../../../secret", None),
            ("/nowhere", None),
        ],
    )
    def test_links_stay_inside(self, top: pathlib.Path, target: str, text: str | None) -> None:
        _link(top, "link", target)
        _link(top, "to-link", "link")
        assert Rootfs(str(top)).read_text("/link") == Rootfs(str(top)).read_text("/to-link") == text

    def test_a_directory_that_is_a_link(self, top: pathlib.Path) -> None:
        _link(top, "usr", "/etc/../etc")
        assert Rootfs(str(top)).read_text("/usr/passwd") == "inside"

    def test_a_link_to_all_of_the_host(self, top: pathlib.Path) -> None:
        _link(top, "host", "/proc/1/root")
        assert Rootfs(str(top)).read_text("/host/etc/passwd") is None

    def test_a_loop(self, top: pathlib.Path) -> None:
        _link(top, "loop", "loop")
        assert Rootfs(str(top)).read_text("/loop") is None

    def test_what_is_no_file_is_not_waited_for(self, top: pathlib.Path) -> None:
        os.mkfifo(top / "fifo")
        rootfs = Rootfs(str(top))
        assert (rootfs.read_text("/fifo"), rootfs.read_text("/etc"), rootfs.read_text("/etc/passwd/x")) == (None,) * 3

    def test_no_more_than_asked_for(self, top: pathlib.Path) -> None:
        assert Rootfs(str(top)).read_text("/etc/passwd", limit=2) == "in"

    def test_a_container_that_is_gone(self, top: pathlib.Path) -> None:
        assert Rootfs("/proc/0/root").read_text("/etc/passwd") is None

    def test_a_directory_that_is_exchanged_for_a_link_all_the_time(self, top: pathlib.Path) -> None:
        """The race that a check before the use would lose."""
        (top / "real").mkdir()
        (top / "real/secret").write_text("inside")
        _link(top, "evil", str(top.parent))
        stop = threading.Event()

        def exchange() -> None:
            while not stop.is_set():
                os.rename(top / "real", top / "swing")
                os.rename(top / "swing", top / "real")
                os.rename(top / "evil", top / "swing")
                os.rename(top / "swing", top / "evil")

        thread = threading.Thread(target=exchange)
        thread.start()
        try:
            rootfs = Rootfs(str(top))
            assert {rootfs.read_text("/swing/secret") for _try in range(300)} <= {"inside", None}
        finally:
            stop.set()
            thread.join()


class TestExists:
    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("/etc/passwd", True),
            ("/etc/deep/", True),
            ("/etc/nothing", False),
            ("/etc/passwd/nothing", False),
            ("/nothing/at/all", False),
            ("/", True),
            ("/..", True),
            ("/etc/..", True),
            ("/nothing/..", False),
            ("/../secret", False),
            ("/etc/*.conf", True),
            ("/*/pass??", True),
            ("/etc/[a-b].conf", True),
            ("/etc/*.ini", False),
            ("/*/nothing", False),
            ("/etc/passwd/*", False),
            ("/nothing/*", False),
            ("/etc/*idden", False),
            ("/etc/.*", True),
        ],
    )
    def test_patterns(self, top: pathlib.Path, pattern: str, found: bool) -> None:
        assert Rootfs(str(top)).exists(pattern) is found

    def test_a_broken_link_is_there(self, top: pathlib.Path) -> None:
        _link(top, "broken", "/nowhere")
        assert Rootfs(str(top)).exists("/broken") is True
        assert Rootfs(str(top)).exists("/broken/x") is False

    def test_what_may_not_be_looked_at(self, top: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(*_arguments: t.Any, **_more: t.Any) -> t.Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "stat", deny)
        with pytest.raises(EngineError, match="Cannot look at /etc/passwd in the container: Permission denied"):
            Rootfs(str(top)).exists("/etc/passwd")
        monkeypatch.undo()
