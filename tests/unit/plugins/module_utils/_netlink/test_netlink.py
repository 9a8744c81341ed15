# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an answer of the kernel is taken, and what its errors are called."""

from __future__ import annotations

import errno
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import EngineError
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netlink

pytestmark = pytest.mark.pure

exceptions = pytest.importorskip("pyroute2.netlink.exceptions")


def _message(flags: int = 0) -> dict[str, t.Any]:
    return {"header": {"flags": flags}}


def _refuse(code: int) -> t.Callable[[], t.Any]:
    def call() -> t.Any:
        raise exceptions.NetlinkError(code)

    return call


@pytest.mark.parametrize("answer", [None, (), []])
def test_nothing(answer: t.Any) -> None:
    assert netlink.ask("list", lambda: answer) == []


def test_messages() -> None:
    assert netlink.ask("list", lambda: iter([_message(), _message(0x2)])) == [_message(), _message(0x2)]


def test_a_list_that_changed_is_asked_for_again() -> None:
    """By the flag of the kernel (pyroute2 0.9), or by an error (0.7)."""
    answers: list[t.Any] = [[_message(0x10)], exceptions.NetlinkDumpInterrupted(), [_message()]]

    def call() -> t.Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert netlink.ask("list", call) == [_message()]
    assert answers == []


def test_one_that_changes_all_the_time() -> None:
    asked: list[int] = []

    def call() -> t.Any:
        asked.append(1)
        return [_message(0x10)]

    with pytest.raises(EngineError, match="Cannot list links: other programs change it continuously"):
        netlink.ask("list links", call)
    assert 10 < len(asked) < 1000


def test_what_the_kernel_refuses() -> None:
    with pytest.raises(EngineError) as refused:
        netlink.ask("make the bridge b", _refuse(errno.EPERM))
    assert refused.value.message == "Cannot make the bridge b: Operation not permitted."
    assert "CAP_NET_ADMIN" in refused.value.hint
    with pytest.raises(EngineError) as refused:
        netlink.ask("make the bridge b", _refuse(errno.EEXIST))
    assert str(refused.value) == "Cannot make the bridge b: File exists."


def test_what_is_so_already() -> None:
    assert netlink.ask("make it", _refuse(errno.EEXIST), fine=(errno.EEXIST,)) == []
