# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks with the real kernel: a task that is killed anywhere is completed by the next."""

from __future__ import annotations

import collections
import itertools
import re
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink import links, netns
from ansible_collections.longshore.oci.plugins.module_utils._network import firewall, forwarding
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import Outcome
from ansible_collections.longshore.oci.plugins.module_utils._network.records import Records
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface
from ansible_collections.longshore.oci.tests.unit import killing
from ansible_collections.longshore.oci.tests.unit.network_host import OTHER, POOL, WEB, Host, host

__all__ = ["host"]  # the fixture


# What changes something: a task may be killed before each of them, that is after the one before.
STEPS = (
    (Records, "save"), (Records, "save_changed"), (Records, "forget"), (links.Links, "create_bridge"), (links.Links, "create_veth_pair"),
    (links.Links, "change"), (links.Links, "add_address"), (links.Links, "add_route"), (links.Links, "remove"),
    (links.Links, "set_hairpin"), (netns, "create"), (netns, "remove"), (firewall, "load"), (forwarding, "write"),
    (forwarding, "write_all"),
)  # fmt: skip


class Killed(BaseException):
    pass


def _killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: t.Callable[[], object]) -> bool:
    """Whether there were so many steps."""
    count = itertools.count()

    def step(original: t.Callable[..., object]) -> t.Callable[..., object]:
        def until_then(*arguments: t.Any, **more: t.Any) -> object:
            if next(count) == number:
                raise Killed
            return original(*arguments, **more)

        return until_then

    with monkeypatch.context() as context:
        for owner, name in STEPS:
            context.setattr(owner, name, step(getattr(owner, name)))
        try:
            work()
        except Killed:
            return True
    return False


def test_a_killed_task_is_completed_by_the_next(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.is_like()
    publish = ("8080:80",)
    host.converge(WEB, POOL, publish=publish)
    made = host.of(WEB), host.is_like()
    host.converge(WEB, absent=True)
    seen: collections.Counter[str] = collections.Counter()
    for number in itertools.count():
        killed = _killed_at(number, monkeypatch, lambda: host.converge(WEB, POOL, publish=publish))
        host.converge(WEB, POOL, publish=publish)
        assert (host.of(WEB), host.is_like()) == made, number
        also = _killed_at(number, monkeypatch, lambda: host.converge(WEB, absent=True))
        host.converge(WEB, absent=True)
        assert host.is_like() == before, number
        seen.update(made=killed, removed=also)
        if not killed:
            break
        # Removed after a launch that was killed.
        _killed_at(number, monkeypatch, lambda: host.converge(WEB, POOL, publish=publish))
        host.converge(WEB, absent=True)
        assert host.is_like() == before, number
    assert seen["made"] > 20
    assert seen["removed"] > 6


@pytest.mark.parametrize(
    "other",
    [
        Interface("net1", "lsu-br1", subnet=("10.79.1.0/24",)),
        POOL._replace(address=("10.78.1.99", "fd00:78:1::99"), gateway=("10.78.1.254",)),
    ],
)  # fmt: skip
def test_a_killed_change_is_completed_by_the_next(
    host: Host, monkeypatch: pytest.MonkeyPatch, other: Interface
) -> None:
    """Beside a network that stays, so that the bridge does."""
    host.converge(OTHER, POOL)
    before = host.is_like()
    host.converge(WEB, other)
    changed = host.of(WEB), host.is_like()
    for number in itertools.count():
        host.converge(WEB, POOL._replace(address=("10.78.1.3", "fd00:78:1::3")), routes=(("10.9.0.0/16", "10.78.1.9"),))
        killed = _killed_at(number, monkeypatch, lambda: host.converge(WEB, other))
        host.converge(WEB, other)
        assert (host.of(WEB), host.is_like()) == changed, number
        if not killed:
            break
    assert number > 10
    for number in itertools.count():
        killed = _killed_at(number, monkeypatch, lambda: host.converge(WEB, absent=True))
        host.converge(WEB, absent=True)
        assert host.is_like() == before, number
        if not killed:
            break
        host.converge(WEB, other)


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes something beside files is a step of killing.py as well: a call of the kernel's, and one of netlink."""
    monkeypatch.setattr(killing, "_EVENTS", {*killing._EVENTS, "longshore.step"})

    def step(name: str, original: t.Callable[..., object]) -> t.Callable[..., object]:
        def audited(*arguments: t.Any, **more: t.Any) -> object:
            sys.audit("longshore.step", name, arguments[:1])
            return original(*arguments, **more)

        return audited

    for owner, names in (
        (links.Links, ("create_bridge", "create_veth_pair", "remove")),
        (netns, ("_mount", "_checked")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, step(name, getattr(owner, name)))


def test_a_task_that_gets_a_signal_is_completed_by_the_next(host: Host, exactly: None) -> None:
    """As above, with SIGKILL, so that nothing is cleared away by the task itself."""

    def is_like() -> dict[str, t.Any]:
        # Of what a task wrote as it was killed only the whole file counts here; files.write_text has its own tests.
        found = host.is_like()
        return {**found, "files": [path for path in found["files"] if not re.search(r"\.\d+\.[0-9a-f]{8}$", path)]}

    def make() -> Outcome:
        return host.converge(WEB, POOL, publish=("8080:80",))

    def remove() -> Outcome:
        return host.converge(WEB, absent=True)

    before = host.is_like()
    make()
    remove()  # Directories are left.
    steps = killing.steps(make)
    made = host.of(WEB), is_like()
    gone = killing.steps(remove)
    assert is_like() == before
    for task, names in ((make, steps), (remove, gone)):
        # Each step is one of the tests above. These make a difference when the task has no chance to clear away.
        some = [
            number for number, name in enumerate(names) if name.startswith(("os.re", "subprocess", "longshore.step"))
        ]
        for count, number in enumerate(killing.spread(len(some), 16)):
            if task is remove:
                make()
            assert killing.kill(task, at=some[number]).was_killed
            if count % 3 == 2:
                make()
                assert (host.of(WEB), is_like()) == made, names[some[number]]
            remove()
            assert is_like() == before, names[some[number]]
