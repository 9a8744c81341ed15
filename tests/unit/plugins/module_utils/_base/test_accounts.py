# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import accounts
from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User, find_user
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle import facts
from ansible_collections.longshore.oci.plugins.module_utils._exec.container_fs import Rootfs
from ansible_collections.longshore.oci.tests.unit.accounts import CASES, GROUP, PASSWD

pytestmark = pytest.mark.pure


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_one_meaning(text: str, expected: User | str) -> None:
    refused = pytest.raises(InvalidOption, match=expected) if isinstance(expected, str) else contextlib.nullcontext()
    with refused:
        assert find_user(text, passwd=_decoded(PASSWD), group=_decoded(GROUP), where="image") == expected


def test_the_same_in_a_bundle_and_in_a_container(tmp_path: pathlib.Path) -> None:
    """Read from the root file system of an image, and from that of a process."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(PASSWD)
    (tmp_path / "etc/group").write_bytes(GROUP)
    rootfs = Rootfs(str(tmp_path))
    texts = {name: rootfs.read_text(f"/etc/{name}") for name in ("passwd", "group")}
    for text, expected in CASES:
        for look_up in (
            lambda text: facts.look_up(str(tmp_path), text),
            lambda text: find_user(text, **texts, where="container"),
        ):
            assert _answer(look_up, text)[: len(t.cast(str, expected))] == expected, text


def _answer(look_up: t.Callable[[str], User], text: str) -> t.Any:
    """Return the user, or the words of the refusal."""
    try:
        return look_up(text)
    except InvalidOption as exc:
        return exc.message


@pytest.mark.parametrize(
    ("to", "where"),
    [("/nix/store/x", "nix/store/x"), ("../../../usr/etc/x", "usr/etc/x"), ("../x", "x"), ("/etc/./../srv/x", "srv/x")],
)
def test_links_stay_inside(tmp_path: pathlib.Path, to: str, where: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_bytes(PASSWD)
    (tmp_path / "etc/passwd").symlink_to(to)
    (tmp_path / "etc/group").write_bytes(GROUP)
    assert facts.look_up(str(tmp_path), "app").home == "/home/app"
    text = Rootfs(str(tmp_path)).read_text("/etc/passwd")
    assert find_user("1000", passwd=text, group=None, where="container") == User(1000, 100, (), "/home/app")


def test_files_that_are_too_large(tmp_path: pathlib.Path) -> None:
    """A part of one would tell of other users than all of it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(b"x" * accounts.MOST_BYTES + b"\n")
    with pytest.raises(InvalidOption, match=r"no usable etc/passwd: .* is larger than 4194304 bytes"):
        facts.look_up(str(tmp_path), "app")


def test_numbers_need_no_files() -> None:
    assert find_user("5:6", passwd=None, group=None, where="image") == User(5, 6, (), "/")
    assert find_user("5", passwd=None, group=None, where="image") == User(5, 0, (), "/")
    assert find_user("", passwd=None, group=None, where="image") == User(0, 0, (), "/")


@pytest.mark.parametrize(
    ("text", "passwd", "says", "hint"),
    [
        ("nobody", "", "There is no user 'nobody' in the container.", "A uid (with :gid) works without an entry."),
        ("app", None, "There is no user 'app' in the container, which has no /etc/passwd.", "A uid (with :gid) works without an entry."),
        ("0:x", "", "There is no group 'x' in the container, which has no /etc/group.", "A gid works without an entry."),
        ("4294967295", "", "There is no user '4294967295'.", "The largest number of a user is 4294967294."),
        ("0:" + "9" * 5000, "", f"There is no group '{'9' * 64}'.", "The largest number of a group is 4294967294."),
    ],
)  # fmt: skip
def test_words(text: str, passwd: str | None, says: str, hint: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        find_user(text, passwd=passwd, group=None, where="container")
    assert (caught.value.message, caught.value.hint) == (says, hint)


@pytest.mark.parametrize(
    ("text", "home", "files"),
    [
        ("0:0", True, (False, False)),
        ("0:0", False, (True, False)),
        (":0", True, (False, False)),
        ("0", True, (True, True)),
        ("0:", True, (True, True)),
        ("app:0", True, (True, False)),
        ("0:wheel", True, (False, True)),
        ("0:0:wheel", True, (False, False)),
        ("0::0", True, (True, True)),
        ("\u0661:0", True, (True, False)),
    ],
)
def test_what_has_to_be_read(text: str, home: bool, files: tuple[bool, bool]) -> None:
    assert accounts.needed_files(text, home=home) == files
