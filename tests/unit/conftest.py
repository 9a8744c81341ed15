# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of several files need: real processes and a cgroup of their own, gone after the test."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.tests.unit import pure

_GUARD = pure.Guard()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pure", action="store_true", help="only the tests that any user can run, without any program")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pure: starts no program, needs no root, changes no file but its own (pure.py)")
    # A run in the background of a script ignores the interruption, and so would all that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "impure: in a file of pure tests one that needs a program, root, or seconds")


def _is_pure(item: pytest.Item) -> bool:
    return item.get_closest_marker("pure") is not None and item.get_closest_marker("impure") is None


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    """Leave out what has no pure test: its import alone takes time."""
    if config.getoption("--pure") and collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        return True if "pytest.mark.pure" not in collection_path.read_text(encoding="utf-8") else None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--pure"):
        config.hook.pytest_deselected(items=[item for item in items if not _is_pure(item)])
        items[:] = filter(_is_pure, items)


@pytest.fixture(autouse=True)
def _held_to_purity(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    """Fail a pure test that does more, even where the code under test swallows the refusal."""
    if not _is_pure(request.node):
        yield
        return
    with _GUARD.on(os.path.realpath(tmp_path_factory.getbasetemp())) as refused:
        yield
    assert refused == []


@pytest.fixture
def spawn() -> t.Iterator[t.Callable[..., subprocess.Popen[bytes]]]:
    """Start a program, ``sleep 60`` if none is named; whatever becomes of the test, it and its children end with it."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*argv: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            argv or ("sleep", "60"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        children.append(child)
        # Popen returns as soon as the kernel cannot fail any more; a little later the process has its command line.
        # One that has ended already has none, and is for the test to reap.
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not pathlib.Path(f"/proc/{child.pid}/cmdline").read_bytes() and not os.waitid(os.P_PID, child.pid, ended):
            os.sched_yield()
        return child

    yield start
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.fixture
def scratch_cgroup() -> t.Iterator[str]:
    """The path of a cgroup that does not exist yet. The test has to empty it; what is left of it fails the test."""
    path = f"/longshore-unit-{os.getpid()}-{os.urandom(4).hex()}"
    yield path
    left = cgroup_removal.kill(path, Deadline(5))
    left_directories = cgroup_removal.remove(path)
    assert (left, left_directories, cgroup.directories(path)) == ([], [], [])


@pytest.fixture
def open_files() -> t.Callable[[], dict[str, str]]:
    """What this process has open now, by number."""

    def look() -> dict[str, str]:
        found = {}
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # The directory that was just listed.
                found[entry] = os.readlink(f"/proc/self/fd/{entry}")
        return found

    return look


@pytest.fixture
def top(tmp_path: pathlib.Path, open_files: t.Callable[[], dict[str, str]]) -> t.Iterator[pathlib.Path]:
    """Few descriptors, and afterwards none may be open that was not before."""
    (tmp_path / "top").mkdir()
    before, limits = open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + 12, limits[1]))
    try:
        yield tmp_path / "top"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_files() == before
