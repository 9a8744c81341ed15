# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test that runs as one item with all its cases tells the same as one with an item for each."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.tests.run import unit
from ansible_collections.longshore.oci.tests.unit import programs

CONFTEST = """
from ansible_collections.longshore.oci.tests.unit import tables

def pytest_addoption(parser):
    parser.addoption("--tables", action="store_true")

def pytest_pycollect_makeitem(collector, name, obj):
    return tables.table(collector, name, obj) if collector.config.getoption("--tables") else None
"""
TESTS = """
import pytest

@pytest.mark.parametrize("one", [1, 2, 3])
@pytest.mark.parametrize(("two", "three"), [(4, 5), (6, 7)], ids=["a", "b"])
def test_product(one, two, three):
    assert (three - two, one in (1, 2, 3)) == (1, True)

def test_alone():
    pass

class TestOfAClass:
    kept = None

    @pytest.mark.parametrize("names, values", [(["a"], [1]), (["b"], [2])])
    def test_each_has_an_object(self, names, values):
        assert self.kept is None
        self.kept = names

    @pytest.mark.parametrize("one", [1, 2])
    def test_with_fixtures(self, tmp_path, monkeypatch, one):
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "x").touch()
        assert not hasattr(pytest, "patched")
        monkeypatch.setattr(pytest, "patched", one, raising=False)

    def test_with_another_fixture(self, tmp_path_factory):
        assert tmp_path_factory.getbasetemp().is_dir()

@pytest.mark.parametrize("one", [1, 2])
class TestOfCases:
    @pytest.mark.parametrize("two", [3, 4])
    def test_both(self, one, two):
        assert (one, two) in [(1, 3), (1, 4), (2, 3), (2, 4)]

@pytest.mark.parametrize("one", [1, pytest.param(2, marks=pytest.mark.skip)])
def test_a_case_with_a_mark(one):
    assert one == 1

@pytest.fixture
def doubled(request):
    return 2 * request.param

@pytest.mark.parametrize("doubled", [1, 2], indirect=True)
def test_by_a_fixture(doubled):
    assert doubled in (2, 4)

@pytest.mark.skip
def test_skipped():
    assert False
"""
FAILS = """
@pytest.mark.parametrize("one", [1, 2, 3])
def test_of_a_case(one):
    assert one != 2
"""
OWN = """
import pytest

@pytest.fixture
def tmp_path():
    return 5

def test_own(tmp_path):
    assert tmp_path == 5
"""
AUTOUSE = """
@pytest.fixture(autouse=True)
def prepared(monkeypatch):
    monkeypatch.setattr(pytest, "prepared", True, raising=False)

def test_prepared():
    assert pytest.prepared
"""


@pytest.fixture
def run(tmp_path: pathlib.Path) -> t.Callable[[str, bool], tuple[str, tuple[int, int, int]]]:
    """Run a file of tests. Return the line that sums it up, and how many passed, failed and were skipped as bin/test counts."""

    def run(text: str, as_tables: bool) -> tuple[str, tuple[int, int, int]]:
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_x.py").write_text(text)
        words = [
            f"--junitxml={tmp_path}/x.xml",
            f"--basetemp={tmp_path}/t",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
        ]
        argv = [sys.executable, "-m", "pytest", "-q", *words, *["--tables"] * as_tables, f"{tmp_path}/test_x.py"]
        done = subprocess.run(
            argv, env=programs.python_environment(), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        last = re.sub(r" in [0-9.]+s.*", "", done.stdout.splitlines()[-1])
        return last, unit.count(f"{tmp_path}/x.xml")

    return run


def test_the_same_is_counted(run: t.Callable[[str, bool], tuple[str, tuple[int, int, int]]]) -> None:
    assert run(TESTS, False) == ("19 passed, 2 skipped", (19, 0, 2))
    # Six, two, two and four cases are one item each.
    assert run(TESTS, True) == ("9 passed, 2 skipped", (19, 0, 2))


def test_a_case_that_fails(run: t.Callable[[str, bool], tuple[str, tuple[int, int, int]]]) -> None:
    assert run(TESTS + FAILS, True) == ("1 failed, 9 passed, 2 skipped", (19, 1, 2))


def test_a_fixture_with_the_name_of_one_of_pytest(
    run: t.Callable[[str, bool], tuple[str, tuple[int, int, int]]],
) -> None:
    assert run(OWN, True) == ("1 passed", (1, 0, 0))


def test_a_fixture_that_nobody_names(run: t.Callable[[str, bool], tuple[str, tuple[int, int, int]]]) -> None:
    assert run(TESTS + AUTOUSE, True) == ("20 passed, 2 skipped", (20, 0, 2))
