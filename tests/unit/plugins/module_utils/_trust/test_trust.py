# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import grp
import os
import pathlib
import shutil
import subprocess
import tempfile
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._trust import trust, untrusted

OTHER = 4242  # A user without a name.
DAEMON = 1  # On every system; the group of this number has nobody else in it.


@pytest.fixture
def top() -> t.Iterator[pathlib.Path]:
    """A directory that others can go through, which those of pytest are not."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="longshore-trust-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def user(number: int) -> t.Iterator[None]:
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)


def _tree(top: pathlib.Path, uid: int, gid: int, mode: int) -> str:
    """PARENT/bundle/config.json, with this owner and mode for PARENT; all else is root's."""
    (top / "parent" / "bundle").mkdir(parents=True)
    (top / "parent" / "bundle" / "config.json").write_text("{}")
    os.chown(top / "parent", uid, gid)
    (top / "parent").chmod(mode)
    return str(top / "parent" / "bundle" / "config.json")


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "says"),
    [
        (0, 0, 0o755, None),
        (0, OTHER, 0o750, None),
        (0, 0, 0o700, None),
        (0, 0, 0o1777, None),
        (0, 0, 0o1775, None),
        (OTHER, 0, 0o755, f"belongs to {OTHER}:root, with the mode 0755"),
        (OTHER, OTHER, 0o700, f"belongs to {OTHER}:{OTHER}"),
        (OTHER, 0, 0o1777, f"belongs to {OTHER}"),  # The owner of a sticky directory can rename what is in it.
        (0, OTHER, 0o775, f"belongs to root:{OTHER}, with the mode 0775"),
        (0, OTHER, 0o2770, "with the mode 2770"),
        (0, 0, 0o775, "with the mode 0775"),
        (0, 0, 0o777, "with the mode 0777"),
        (0, 0, 0o757, "with the mode 0757"),
        (0, 0, 0o702, "with the mode 0702"),
    ],
)
def test_parents(top: pathlib.Path, uid: int, gid: int, mode: int, says: str | None) -> None:
    path = _tree(top, uid, gid, mode)
    if says is None:
        trust.check(path, "The bundle")
        return
    with pytest.raises(InvalidOption, match=says) as caught:
        trust.check(path, "The bundle")
    assert f"The bundle {path} can be changed by users other than root: {top}/parent belongs" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("uid", "mode", "fine"),
    [
        (0, 0o600, True), (0, 0o644, True), (0, 0o4755, True), (OTHER, 0o600, False), (0, 0o664, False),
        (0, 0o666, False), (0, 0o602, False), (0, 0o1666, False),
    ],
)  # fmt: skip
def test_a_file(top: pathlib.Path, uid: int, mode: int, fine: bool) -> None:
    (top / "file").touch()
    os.chown(top / "file", uid, 0)
    (top / "file").chmod(mode)
    with contextlib.nullcontext() if fine else pytest.raises(InvalidOption, match="can be changed by users other than"):
        trust.check(f"{top}/file", "The file")


def test_a_shared_directory_is_a_way_but_no_place(top: pathlib.Path) -> None:
    (top / "shared" / "ours").mkdir(parents=True)
    (top / "shared").chmod(0o1777)
    trust.check(f"{top}/shared/ours", "The bundle")
    trust.check(f"{top}/shared/new", "The bundle", missing=True)
    for path in (f"{top}/shared", f"{top}/shared/ours/..", f"{top}/shared/.", f"{top}/shared/"):
        with pytest.raises(InvalidOption, match="with the mode 1777"):
            trust.check(path, "The bundle")
    os.chown(top / "shared" / "ours", OTHER, 0)
    with pytest.raises(InvalidOption, match=f"ours belongs to {OTHER}"):
        trust.check(f"{top}/shared/ours", "The bundle")


class TestLinks:
    def test_what_a_link_leads_to_counts(self, top: pathlib.Path) -> None:
        path = _tree(top, OTHER, 0, 0o755)
        (top / "link").symlink_to(os.path.dirname(path))
        with pytest.raises(InvalidOption, match=f"{top}/parent belongs to {OTHER}"):
            trust.check(f"{top}/link/config.json", "The bundle")

    def test_the_way_to_a_link_counts(self, top: pathlib.Path) -> None:
        """realpath() would not see it: where the link leads to, all is well."""
        (top / "good").mkdir()
        (top / "parent").mkdir()
        (top / "parent" / "link").symlink_to(top / "good")
        trust.check(f"{top}/parent/link", "The bundle")
        os.chown(top / "parent", OTHER, 0)
        with pytest.raises(InvalidOption, match=f"{top}/parent belongs to {OTHER}"):
            trust.check(f"{top}/parent/link", "The bundle")

    def test_a_way_in_the_middle_of_a_chain_counts(self, top: pathlib.Path) -> None:
        (top / "good").mkdir()
        (top / "middle").mkdir()
        (top / "middle" / "second").symlink_to("../good")
        (top / "first").symlink_to("middle/second")
        trust.check(f"{top}/first", "The bundle")
        (top / "middle").chmod(0o777)
        with pytest.raises(InvalidOption, match=f"{top}/middle belongs to root:root, with the mode 0777"):
            trust.check(f"{top}/first", "The bundle")

    def test_a_link_of_another_user_in_a_shared_directory(self, top: pathlib.Path) -> None:
        (top / "good").mkdir()
        (top / "shared").mkdir()
        (top / "shared").chmod(0o1777)
        (top / "shared" / "link").symlink_to(top / "good")
        trust.check(f"{top}/shared/link", "The bundle")
        os.chown(top / "shared" / "link", OTHER, OTHER, follow_symlinks=False)
        with pytest.raises(InvalidOption, match=f"{top}/shared/link belongs to {OTHER}"):
            trust.check(f"{top}/shared/link", "The bundle")

    def test_in_a_circle(self, top: pathlib.Path) -> None:
        (top / "link").symlink_to("link")
        with pytest.raises(InvalidOption, match="too many symbolic links"):
            trust.check(f"{top}/link", "The bundle")


@pytest.mark.pure
@pytest.mark.parametrize("path", ["/nowhere/at/all", "/etc/passwd/x", "/" + 300 * "x", "/a\0b"])
def test_what_cannot_be_read(path: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be read"):
        trust.check(path, "The bundle")


@pytest.mark.pure
def test_what_is_missing_may_be() -> None:
    trust.check("/nowhere/at/all", "The log", missing=True)
    with pytest.raises(InvalidOption, match="cannot be read"):
        trust.check("/" + 300 * "x", "The log", missing=True)


@pytest.mark.parametrize(
    ("closed", "uid", "mode", "fine"),
    [
        (0o700, OTHER, 0o777, True), (0o710, OTHER, 0o755, False), (0o750, OTHER, 0o755, False),
        (0o755, 0, 0o755, True), (0o755, 0, 0o777, False), (0o755, OTHER, 0o755, False),
        (0o755, 100_000, 0o755, True), (0o755, 100_000, 0o777, False), (0o755, 165_536, 0o755, False),
        (0o777, 0, 0o755, False),
    ],
)  # fmt: skip
def test_root_file_systems(top: pathlib.Path, closed: int, uid: int, mode: int, fine: bool) -> None:
    """The mode of its / is up to a container, and so is the owner: it counts where others can see it."""
    (top / "bundle" / "rootfs").mkdir(parents=True)
    os.chown(top / "bundle", 0, OTHER)
    (top / "bundle").chmod(closed)
    os.chown(top / "bundle" / "rootfs", uid, 0)
    (top / "bundle" / "rootfs").chmod(mode)
    with contextlib.nullcontext() if fine else pytest.raises(InvalidOption, match="can be changed by users other than"):
        trust.check(f"{top}/bundle/rootfs", "The root", tree=True, ids=[range(100_000, 165_536)])


@pytest.mark.parametrize(("group", "mode", "fine"), [(4, 0o775, True), (1000, 0o775, False), (4, 0o777, False)])
def test_logs_of_a_group_of_the_system(top: pathlib.Path, group: int, mode: int, fine: bool) -> None:
    os.chown(top, 0, group)
    top.chmod(mode)
    with contextlib.nullcontext() if fine else pytest.raises(InvalidOption, match="can be changed by users other than"):
        trust.check(f"{top}/log", "The log", missing=True, log=True)
    with pytest.raises(InvalidOption, match="can be changed by users other than"):
        trust.check(f"{top}/log", "The bundle", missing=True)


def _acl(path: pathlib.Path) -> None:
    """Let OTHER do everything there, by its name."""
    # Version 2, then tag, permissions and id of owner, named user, group, mask and others.
    entries = [(1, 7, -1), (2, 7, OTHER), (4, 5, -1), (0x10, 7, -1), (0x20, path.stat().st_mode & 7, -1)]
    value = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + (number & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, bits, number in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError:
        pytest.skip("no ACLs here")


def test_what_an_acl_opens(top: pathlib.Path) -> None:
    """The bits of the group are its mask, whatever the group is."""
    (top / "bundle" / "rootfs").mkdir(parents=True)
    (top / "bundle" / "rootfs").chmod(0o777)
    (top / "bundle").chmod(0o750)
    trust.check(f"{top}/bundle/rootfs", "The root", tree=True)
    trust.check(f"{top}/log", "The log", missing=True, log=True)
    _acl(top / "bundle")
    (top / "bundle").chmod(0o710)
    with pytest.raises(InvalidOption, match="can be changed by users other than"):
        trust.check(f"{top}/bundle/rootfs", "The root", tree=True)
    os.chown(top, 0, 4)
    _acl(top)
    with pytest.raises(InvalidOption, match="can be changed by users other than"):
        trust.check(f"{top}/log", "The log", missing=True, log=True)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("path", "fine"), [("/usr/local", True), ("/usr/local/bin", True), ("/usr/locals", False), ("/srv", False)]
)
def test_staff_has_usr_local(monkeypatch: pytest.MonkeyPatch, path: str, fine: bool) -> None:
    """As on Debian, where it could replace what is first in the PATH of root."""
    group = grp.struct_group(("staff", "x", 50, ["alice"]))
    monkeypatch.setattr("grp.getgrgid", lambda _gid: group)
    monkeypatch.setattr("os.listxattr", lambda _path: [])
    found = os.stat_result((0o42775, 0, 0, 2, 0, 50, 0, 0, 0, 0))
    assert untrusted.may_group_write(found, path, log=False) == fine


class TestOtherUsers:
    def test_root_and_the_user_are_trusted(self, top: pathlib.Path) -> None:
        path = _tree(top, DAEMON, DAEMON, 0o755)
        with user(DAEMON):
            trust.check(path, "The bundle")
        with (
            user(OTHER),
            pytest.raises(InvalidOption, match=f"by users other than {OTHER}: .*parent belongs to daemon"),
        ):
            trust.check(path, "The bundle")

    def test_a_private_group_may_write(self, top: pathlib.Path) -> None:
        """As a umask of 002 leaves it."""
        path = _tree(top, DAEMON, DAEMON, 0o775)
        with user(DAEMON):
            trust.check(path, "The bundle")
        os.chown(top / "parent", DAEMON, 100)  # users
        with user(DAEMON), pytest.raises(InvalidOption, match="daemon:users, with the mode 0775"):
            trust.check(path, "The bundle")

    @pytest.mark.parametrize(("name", "fine"), [("daemon", True), ("domain users", False)])
    def test_where_a_directory_service_lists_nobody(
        self, top: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, fine: bool
    ) -> None:
        """As sssd does by default: only the name tells that it is the user's own group."""
        path = _tree(top, DAEMON, DAEMON, 0o775)
        group = grp.struct_group((name, "x", DAEMON, []))
        monkeypatch.setattr("pwd.getpwall", list)
        monkeypatch.setattr("grp.getgrgid", lambda _gid: group)
        with user(DAEMON), contextlib.nullcontext() if fine else pytest.raises(InvalidOption, match="mode 0775"):
            trust.check(path, "The bundle")

    def test_with_an_acl_it_may_not(self, top: pathlib.Path) -> None:
        path = _tree(top, DAEMON, DAEMON, 0o755)
        _acl(top / "parent")
        assert (top / "parent").stat().st_mode & 0o777 == 0o775
        with user(DAEMON), pytest.raises(InvalidOption, match="with the mode 0775"):
            trust.check(path, "The bundle")


def test_what_is_found_is_true_until_it_is_used(top: pathlib.Path) -> None:
    """Another user swaps a directory of the user's own for a link, and back, as fast as can be: never is it taken for root's."""
    (top / "shared").mkdir()
    (top / "shared").chmod(0o1777)
    (top / "good").mkdir()
    script = f"cd {top}/shared && while :; do mkdir x; rmdir x; ln -s {top}/good x; rm x; done"
    swapping = subprocess.Popen(["sh", "-c", script], user=OTHER, stderr=subprocess.DEVNULL)
    try:
        for _attempt in range(3000):
            with pytest.raises(InvalidOption):
                trust.check(f"{top}/shared/x", "The bundle")
    finally:
        swapping.kill()
        swapping.wait()
