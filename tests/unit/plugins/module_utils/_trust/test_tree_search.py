# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search a tree by an open of another: here one that stays below a directory because no test has a link in it."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._trust import tree_search

pytestmark = pytest.mark.pure


@pytest.fixture
def exists(tmp_path: pathlib.Path) -> t.Callable[[str], bool]:
    """Search below a directory."""
    (tmp_path / "etc/deep").mkdir(parents=True)
    (tmp_path / "etc/a.conf").touch()
    (tmp_path / "etc/.hidden").touch()

    def open_path(path: str) -> int | None:
        found = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
        for name in filter(
            None, os.path.normpath(f"/{path}").split("/")
        ):  # one by one: a path may be too long for open(2)
            try:
                found, before = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=found), found
            except (FileNotFoundError, NotADirectoryError):
                os.close(found)
                return None
            os.close(before)
        return found

    return lambda pattern: tree_search.search(open_path, pattern)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/", True), ("", True), ("/etc", True), ("/etc/a.conf", True), ("/etc/a.conf/", True), ("/etc/b.conf", False),
        ("/etc/a.conf/x", False), ("/*/*.conf", True), ("/etc/[ab].conf", True), ("/etc/[!a].conf", False), ("/etc/?.conf", True),
        ("/etc/*hidden", False), ("/etc/.h*", True), ("/*/deep/..", True), ("/nothing/*", False), ("/etc/a.conf/*", False),
    ],
)  # fmt: skip
def test_patterns(exists: t.Callable[[str], bool], pattern: str, found: bool) -> None:
    assert exists(pattern) is found


def test_nothing_stays_open(exists: t.Callable[[str], bool], open_files: t.Callable[[], dict[str, str]]) -> None:
    before = open_files()
    assert exists("/*/*")
    assert open_files() == before


@pytest.mark.parametrize("pattern", ["/a" * 2048, "/*" * 2047, "/etc/.." * 500, "/[" * 2000])
def test_a_long_pattern(exists: t.Callable[[str], bool], pattern: str) -> None:
    assert exists(pattern) is (pattern[:4] == "/etc")


def test_one_that_is_too_long(exists: t.Callable[[str], bool]) -> None:
    with pytest.raises(InvalidOption, match="at most 4096 characters"):
        exists("/a" * 2049)


def test_a_search_that_takes_too_long(exists: t.Callable[[str], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_search, "_SEARCH_SECONDS", 0.0)
    with pytest.raises(DeadlineExceeded, match=r"The search for \* in the container took too long"):
        exists("/*/*/nothing")
