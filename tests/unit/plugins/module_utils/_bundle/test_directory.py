# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle import directory
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import RECORD, Request
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.parse import IdMap

pytestmark = pytest.mark.pure

MAPS = {"uid": (IdMap(0, 100000, 65536),), "gid": (IdMap(0, 200000, 65536),)}


class TestHolds:
    def test_just_this_text(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "hosts"
        path.write_text("127.0.0.1 localhost\n")
        assert directory.holds(str(path), "127.0.0.1 localhost\n")
        assert not directory.holds(str(path), "127.0.0.1 localhost")
        assert not directory.holds(str(path), "127.0.0.2 localhost\n")

    def test_what_is_no_such_file(self, tmp_path: pathlib.Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "link").symlink_to("/dev/zero")
        for name in ("nowhere", "fifo", "link", "."):
            assert not directory.holds(f"{tmp_path}/{name}", "text")
            assert not directory.holds(f"{tmp_path}/{name}/below", "")


class TestPut:
    def test_the_file_stays_the_same_one(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "hosts"
        path.write_text("a longer text")
        before = path.stat().st_ino
        directory.put(str(path), "short")
        assert (path.read_text(), path.stat().st_ino, path.stat().st_mode & 0o777) == ("short", before, 0o644)

    @pytest.mark.parametrize("kind", ["link", "fifo"])
    def test_another_kind_is_replaced(self, tmp_path: pathlib.Path, kind: str) -> None:
        path, precious = tmp_path / "hosts", tmp_path / "precious"
        precious.write_text("precious")
        os.mkfifo(path) if kind == "fifo" else path.symlink_to(precious)
        directory.put(str(path), "text")
        assert (path.read_text(), path.is_symlink(), precious.read_text()) == ("text", False, "precious")


class TestIsBlank:
    def test_only_what_is_empty(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "link").symlink_to("empty")
        assert directory.is_blank(str(tmp_path / "empty"))
        assert [directory.is_blank(str(tmp_path / name)) for name in (".", "link", "nowhere")] == [False] * 3

    @pytest.mark.parametrize("text", ["", "{", "{}\n"])
    def test_the_first_record_of_a_killed_task(self, tmp_path: pathlib.Path, text: str) -> None:
        # As files.write_text() names it.
        path = tmp_path / f"{RECORD}.4242.0123abcd"
        path.write_text(text)
        path.chmod(0o600)
        assert directory.is_blank(str(tmp_path))
        path.write_text('{"image": 1}')
        assert not directory.is_blank(str(tmp_path))
        path.write_text(text)
        (tmp_path / "more").touch()
        assert not directory.is_blank(str(tmp_path))


@pytest.mark.parametrize("path", ["web", "/", "/srv/../web", "/srv//web", "/srv/web/", "/srv/./web"])
def test_a_path_with_detours_is_refused(path: str) -> None:
    with pytest.raises(InvalidOption, match="must be absolute and normalized"):
        directory.check(Request(path))


@pytest.mark.parametrize(
    ("user", "mapped", "found"), [(0, False, (-1, 0o700)), (0, True, (200000, 0o710)), (1000, True, (-1, 0o700))]
)
def test_who_gets_in(monkeypatch: pytest.MonkeyPatch, user: int, mapped: bool, found: tuple[int, int]) -> None:
    """Root of a container with a user namespace, as the group of the directory."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert directory.owner_and_mode(MAPS if mapped else {}) == found


def test_how_a_directory_differs_from_a_private_one(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o755)
    assert directory.not_private(str(tmp_path), {}) == {"directory.mode": ("0755", "0700")}
    tmp_path.chmod(0o700)
    assert directory.not_private(str(tmp_path), {}) == {}
    assert directory.not_private(f"{tmp_path}/nowhere", {}) == {}
