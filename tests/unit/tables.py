# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all cases of a test as one item of pytest, where it needs nothing else of pytest.

For each case pytest makes an item and prepares its fixtures, which takes longer than most pure tests themselves. A test whose
arguments all come from ``parametrize`` has no fixtures, and two are as quickly made here.
"""

from __future__ import annotations

import inspect
import itertools
import typing as t

import pytest

from ansible_collections.longshore.oci.tests.unit import sources

# What pytest does for a test with another mark is left to it.
_MARKS = {"parametrize", "pure"}
_MADE_HERE = {"tmp_path", "monkeypatch"}


class Table(pytest.Item):
    """A test with all its cases. The first that fails ends it."""

    def __init__(
        self, *, function: t.Callable[..., None], cases: list[dict[str, t.Any]], fixtures: set[str], **of_pytest: t.Any
    ) -> None:
        super().__init__(**of_pytest)
        self.function, self.cls = function, _class(self.parent)
        self.own_markers.extend(_marks(function))
        self.user_properties.append(("cases", len(cases)))
        self._cases, self._fixtures = cases, fixtures

    def runtest(self) -> None:
        """Call the function with each case, of a class on an object of its own."""
        for case in self._cases:
            with pytest.MonkeyPatch.context() as monkeypatch:
                made: dict[str, t.Any] = {}
                if "tmp_path" in self._fixtures:
                    made["tmp_path"] = vars(self.config)["_tmp_path_factory"].mktemp(self.name[:30])
                if "monkeypatch" in self._fixtures:
                    made["monkeypatch"] = monkeypatch
                self.function(*[self.cls()] if self.cls else [], **case, **made)


def table(collector: pytest.Collector, name: str, function: object) -> Table | None:
    """Return the item for what a file or class defines, or None if it is not a test whose cases are all that it needs."""
    if not (name.startswith("test_") and inspect.isfunction(function)):
        return None
    # A fixture that nobody names.
    if not isinstance(collector, (pytest.Module, pytest.Class)) or "autouse=True" in sources.text(collector.path):
        return None
    # Those of a class are of each of its tests.
    marks = [*_marks(function), *collector.own_markers]
    if not {mark.name for mark in marks} <= _MARKS:
        return None
    cases: list[dict[str, t.Any]] = [{}]
    for mark in marks:
        if mark.name == "parametrize":
            more = _cases(*mark.args, **mark.kwargs)
            if more is None:
                return None
            cases = [{**some, **others} for some, others in itertools.product(cases, more)]
    given = set(list(inspect.signature(function).parameters)[1 if _class(collector) else 0 :])
    # Where there is no case, pytest says so.
    fixtures = given - set(cases[0] if cases else {})
    if not cases or given - fixtures != set(cases[0]) or not fixtures <= _MADE_HERE:
        return None
    if any(f"def {fixture}(" in sources.text(collector.path) for fixture in fixtures):
        return None
    return Table.from_parent(collector, name=name, function=function, cases=cases, fixtures=fixtures)


def _class(collector: object) -> type | None:
    return collector.obj if isinstance(collector, pytest.Class) else None


def _marks(function: t.Callable[..., None]) -> list[pytest.Mark]:
    return list(getattr(function, "pytestmark", ()))


def _cases(
    argnames: str | t.Sequence[str], argvalues: t.Iterable[t.Any], ids: object = None, **others: object
) -> list[dict[str, t.Any]] | None:
    """Return the arguments of each case, or None if there is more to a case. ``ids`` are only for who reads them."""
    names = [name.strip() for name in argnames.split(",")] if isinstance(argnames, str) else list(argnames)
    values = list(argvalues)
    if others or any(type(value) is type(pytest.param()) for value in values):
        return None
    return [dict(zip(names, [value] if len(names) == 1 else value, strict=True)) for value in values]
