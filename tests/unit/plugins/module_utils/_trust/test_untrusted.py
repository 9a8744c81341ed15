# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for what is refused, and the groups that may write. How paths are judged: test_trust.py."""

from __future__ import annotations

import errno
import grp
import os
import pathlib
import pwd
import types
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._trust import untrusted

pytestmark = pytest.mark.pure


def _found(uid: int, gid: int, mode: int = 0o664) -> t.Any:
    return types.SimpleNamespace(st_uid=uid, st_gid=gid, st_mode=0o100000 | mode)


class TestRefuse:
    def test_who_may_write_is_named(self) -> None:
        with pytest.raises(InvalidOption) as refused:
            untrusted.refuse(_found(0, 0, 0o4775), "/srv/x", "The bundle")
        assert " /srv/x belongs to root:root, with the mode 4775." in refused.value.message
        assert refused.value.message.startswith("The bundle can be changed by users other than ")
        assert "chown, chmod go-w" in refused.value.hint

    def test_numbers_stand_for_what_has_no_name(self) -> None:
        with pytest.raises(InvalidOption, match="belongs to 3999999:3999998, with the mode 0777"):
            untrusted.refuse(_found(3_999_999, 3_999_998, 0o777), "/srv/x", "The log")


class TestPrivateGroup:
    """As a user whose group has the user's name, by tables of accounts of the test."""

    @pytest.fixture(autouse=True)
    def _accounts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.members: list[str] = []
        self.others: list[t.Any] = []
        me = types.SimpleNamespace(pw_name="me", pw_uid=1000, pw_gid=1000)
        self.me = me
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(pwd, "getpwuid", lambda _uid: me)
        monkeypatch.setattr(pwd, "getpwall", lambda: [me, *self.others])
        monkeypatch.setattr(
            grp, "getgrgid", lambda gid: types.SimpleNamespace(gr_name="me", gr_gid=gid, gr_mem=self.members)
        )
        monkeypatch.setattr(untrusted, "has_acl", lambda _path: False)

    def test_alone_in_it(self) -> None:
        assert untrusted.is_private_group(_found(1000, 1000), "/x")
        self.members.append("me")
        assert untrusted.is_private_group(_found(1000, 1000), "/x")

    def test_another_group(self) -> None:
        assert not untrusted.is_private_group(_found(1000, 100), "/x")

    def test_another_member(self) -> None:
        self.members.append("you")
        assert not untrusted.is_private_group(_found(1000, 1000), "/x")

    def test_another_account_has_it_as_its_first_group(self) -> None:
        self.others.append(types.SimpleNamespace(pw_name="you", pw_uid=1001, pw_gid=1000))
        assert not untrusted.is_private_group(_found(1000, 1000), "/x")

    def test_an_acl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(untrusted, "has_acl", lambda _path: True)
        assert not untrusted.is_private_group(_found(1000, 1000), "/x")

    def test_never_for_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert not untrusted.is_private_group(_found(0, 1000), "/x")

    def test_where_nobody_is_listed_the_name_tells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pwd, "getpwall", list)
        assert untrusted.is_private_group(_found(1000, 1000), "/x")
        self.me.pw_name = "other"
        assert not untrusted.is_private_group(_found(1000, 1000), "/x")


class TestGroupsOfTheSystem:
    @pytest.fixture(autouse=True)
    def _accounts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.users = [types.SimpleNamespace(pw_name="daemon", pw_uid=1, pw_gid=1)]
        self.group = types.SimpleNamespace(gr_name="adm", gr_gid=4, gr_mem=["daemon"])
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(pwd, "getpwall", lambda: self.users)
        monkeypatch.setattr(grp, "getgrgid", lambda _gid: self.group)
        monkeypatch.setattr(untrusted, "has_acl", lambda _path: False)

    @pytest.mark.parametrize(("log", "trusted"), [(True, True), (False, False)])
    def test_one_without_people_may_write_where_logs_are(self, log: bool, trusted: bool) -> None:
        assert untrusted.may_group_write(_found(0, 4), "/var/log/x", log=log) is trusted

    def test_one_with_a_person_may_not(self) -> None:
        self.users.append(types.SimpleNamespace(pw_name="you", pw_uid=1001, pw_gid=4))
        assert not untrusted.may_group_write(_found(0, 4), "/var/log/x", log=True)

    def test_nor_where_the_file_is_not_of_root(self) -> None:
        assert not untrusted.may_group_write(_found(1, 4), "/var/log/x", log=True)

    @pytest.mark.parametrize(
        ("path", "trusted"), [("/usr/local", True), ("/usr/local/bin", True), ("/usr/localbin", False), ("/srv", False)]
    )
    def test_staff_has_usr_local(self, path: str, trusted: bool) -> None:
        self.group.gr_name, self.group.gr_mem = "staff", ["you"]
        self.users.append(types.SimpleNamespace(pw_name="you", pw_uid=1001, pw_gid=1001))
        assert untrusted.may_group_write(_found(0, 50), path, log=False) is trusted


class TestACL:
    def test_a_file_without(self, tmp_path: pathlib.Path) -> None:
        assert not untrusted.has_acl(str(tmp_path))

    @pytest.mark.parametrize(("number", "raised"), [(errno.ENOTSUP, False), (errno.EACCES, True)])
    def test_a_file_system_without(self, monkeypatch: pytest.MonkeyPatch, number: int, raised: bool) -> None:
        def fail(_path: str) -> list[str]:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "listxattr", fail)
        if raised:
            with pytest.raises(PermissionError):
                untrusted.has_acl("/x")
        else:
            assert not untrusted.has_acl("/x")


def test_a_group_that_nobody_knows_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_gid: int) -> grp.struct_group:
        raise KeyError

    monkeypatch.setattr(grp, "getgrgid", unknown)
    assert not untrusted.may_group_write(_found(0, 4), "/var/log/x", log=True)
