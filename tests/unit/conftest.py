# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of several files need: real processes and a cgroup of their own, gone after the test."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import pathlib
import re
import resource
import signal
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.tests.unit import pure, sources, tables

_GUARD = pure.Guard()
# A test that holds something to a time: beside what computes it would fail for nothing.
_TIMED = re.compile(r"monotonic\(\) - \w+ < ")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pure", action="store_true", help="only the tests that any user can run, without any program")
    parser.addoption(
        "--timed", choices=["only", "never"], help="the tests that hold something to a time: only they, or all others"
    )
    parser.addoption("--tables", action="store_true", help="all cases of a test as one, where it has no fixtures")


def pytest_configure(config: pytest.Config) -> None:
    # What is collected stays: to look for garbage in it, again and again, takes a tenth of the time of all pure tests.
    gc.disable()
    config.addinivalue_line("markers", "pure: starts no program, needs no root, changes no file but its own (pure.py)")
    # A run in the background of a script ignores the interruption, and so would all that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "impure: in a file of pure tests one that needs a program, root, or seconds")


def _is_pure(item: pytest.Item) -> bool:
    return item.get_closest_marker("pure") is not None and item.get_closest_marker("impure") is None


def _is_timed(item: pytest.Item) -> bool:
    """Whether the test, or another one of its class, holds something to a time: a fixture of the class may do it for all."""
    source = getattr(item, "cls", None) or getattr(item, "function", None)
    return source is not None and _has_a_time(item.path) and _holds_to_a_time(source)


@functools.cache
def _has_a_time(path: pathlib.Path) -> bool:
    """Look at the whole file first: to find one function in it takes far longer."""
    return _TIMED.search(sources.text(path)) is not None


@functools.cache
def _holds_to_a_time(source: t.Any) -> bool:
    """Look once at a class, or at a function with many cases."""
    return _TIMED.search(inspect.getsource(source)) is not None


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    """Leave out what has no pure test, or none with a time: its import alone takes time."""
    if collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        if config.getoption("--pure") and "pytest.mark.pure" not in sources.text(collection_path):
            return True
        if config.getoption("--timed") == "only" and not _has_a_time(collection_path):
            return True
    return None


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> pytest.Item | None:
    return tables.table(collector, name, obj) if collector.config.getoption("--tables") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    timed = config.getoption("--timed")

    def wanted(item: pytest.Item) -> bool:
        return (_is_pure(item) or not config.getoption("--pure")) and (
            not timed or _is_timed(item) == (timed == "only")
        )

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = filter(wanted, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()
    # A quick run is over before its garbage counts.
    if not session.config.getoption("--tables"):
        gc.enable()


_DIRECTORY = pytest.StashKey[str]()


def _held_to_purity(item: pytest.Item) -> t.Generator[None, t.Any, t.Any]:
    """Fail a pure test that does more, even where the code under test swallows the refusal.

    Hooks call it: a fixture for each test takes as long as most of the pure tests themselves.
    """
    if not _is_pure(item):
        return (yield)
    if _DIRECTORY not in item.config.stash:
        # Where pytest keeps what makes tmp_path.
        item.config.stash[_DIRECTORY] = os.path.realpath(vars(item.config)["_tmp_path_factory"].getbasetemp())
    with _GUARD.on(item.config.stash[_DIRECTORY]) as refused:
        result = yield
    assert refused == []
    return result


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> t.Generator[None, t.Any, t.Any]:
    return (yield from _held_to_purity(item))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> t.Generator[None, t.Any, t.Any]:
    return (yield from _held_to_purity(item))


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
