# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named network namespaces: real ones, as ip netns sees them, and the caller stays where it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.tests.unit import programs


def _where() -> set[str]:
    """Of all threads of Python; the kernel shows one that has ended a moment longer."""
    return {os.readlink(f"/proc/self/task/{thread.native_id}/ns/net") for thread in threading.enumerate()}


@pytest.fixture
def name() -> t.Iterator[str]:
    chosen = f"longshore-unit-{os.getpid()}"
    yield chosen
    netns.remove(chosen)
    assert not os.path.lexists(netns.path_of(chosen))


def test_ip_sees_it_and_the_caller_stays(name: str) -> None:
    before = _where()
    assert not netns.exists(name)
    netns.create(name)
    assert netns.exists(name)
    assert _where() == before
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert name in listed.split()
    links = subprocess.run(["ip", "-netns", name, "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert len(links.splitlines()) >= 1
    assert "lo:" in links


def test_work_is_done_inside(name: str) -> None:
    netns.create(name)
    before = _where()
    there = netns.inside(name, lambda: os.readlink("/proc/thread-self/ns/net"))
    assert there not in before
    assert f"net:[{os.stat(netns.path_of(name)).st_ino}]" == there
    with pytest.raises(ZeroDivisionError):
        netns.inside(name, lambda: 1 // 0)
    assert _where() == before


def test_a_new_one_does_not_forward(name: str) -> None:
    """A new one takes what the first one of the machine has."""
    child = "import sys; from {0} import _stop_forwarding, _FORWARDING; open(_FORWARDING, 'w').write('1'); _stop_forwarding(); print(open(_FORWARDING).read())"
    argv = ["unshare", "--net", sys.executable, "-c", child.format(netns.__name__)]
    done = subprocess.run(argv, env=programs.python_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    netns.create(name)
    assert netns.inside(name, lambda: files.read_text(netns._FORWARDING)) == "0\n"


def test_what_is_half_made_is_made_again(name: str) -> None:
    netns.create(name)
    netns.remove(name)
    with open(netns.path_of(name), "w", encoding="utf-8"):
        pass
    assert not netns.exists(name)
    netns.create(name)
    assert netns.exists(name)


def test_who_is_in_it(name: str) -> None:
    netns.create(name)
    assert netns.users(netns.path_of(name)) == []
    child = subprocess.Popen(
        ["ip", "netns", "exec", name, "sh", "-c", "echo in; exec sleep 60"], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in\n"
        assert netns.users(netns.path_of(name)) == [child.pid]
    finally:
        child.kill()
        child.communicate()


def test_one_that_has_lost_its_name_gets_it_again(name: str) -> None:
    netns.create(name)
    inode = netns.inode(name)
    assert inode is not None
    with netns.opened(netns.path_of(name)) as descriptor:
        netns.remove(name)
        assert netns.inode(name) is None
        with open(netns.path_of(name), "w", encoding="utf-8"):  # of a killed task
            pass
        netns.attach(name, descriptor)
    assert netns.inode(name) == inode
    assert netns.users_of(inode) == []
    assert os.getpid() in netns.users_of(os.stat("/proc/self/ns/net").st_ino)
