# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Report what passed and failed, in lines for people and a count at the end."""

from __future__ import annotations

import textwrap

# How much of a failed test is said once more at the end.
_LINES, _WIDTH, _MOST = 12, 300, 24


class Report:
    """Parts may run side by side: each has an account of its own."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def begin(self, name: str) -> Part:
        part = Part(name)
        self._parts.append(part)
        return part

    @property
    def took(self) -> dict[str, float]:
        """The seconds of each line that did not fail, as ``PART NAME``: what fails may end early."""
        return {name: seconds for part in self._parts for name, seconds in part.took.items()}

    def summary(self) -> int:
        """Prints why something failed, in short, and the last line; returns the exit status."""
        for reason in (reason for part in self._parts for reason in part.reasons):
            print(f"\n{reason}")
        passed, failed = sum(part.passed for part in self._parts), sum(part.failed for part in self._parts)
        print(f"{passed} passed, {failed} failed", flush=True)
        return 1 if failed or not passed else 0


class Part:
    """Counts what passed and failed of one part, and prints one line for each tool."""

    def __init__(self, name: str) -> None:
        self.passed = self.failed = 0
        self.reasons: list[str] = []
        self.took: dict[str, float] = {}
        self._name = name

    def end(self) -> None:
        if not self.passed and not self.failed:
            self.add(self._name, failed=1, output="no test ran")

    def add(
        self, name: str, *, passed: int = 0, failed: int = 0, seconds: float = 0, detail: str = "", output: str = ""
    ) -> None:
        """Counts the outcome of one tool. The output is shown only when something failed."""
        self.passed += passed
        self.failed += failed
        if not failed:
            self.took[f"{self._name} {name}"] = seconds
        mark = "FAIL" if failed else "ok"
        text = f"{mark:<5} {self._name:<12} {name:<40} {seconds:7.1f} s  {detail}".rstrip()
        if failed and output:
            text += "\n" + _indented(output.rstrip())
            self.reasons.append(f"{self._name} {name}:\n{_indented(_reason(output))}")
        print(text, flush=True)


def _indented(text: str) -> str:
    return textwrap.indent(text, "      | ", lambda line: True)


def _reason(output: str) -> str:
    """The last tasks that failed in the output of a play; else how the output ends. The whole is further up."""
    lines = [line if len(line) <= _WIDTH else f"{line[:_WIDTH]} […]" for line in output.rstrip().splitlines()]
    found, task, ends = [], "", 0
    for number, line in enumerate(lines):
        task = line if line.startswith("TASK [") else task
        # A line within those of one that failed is not repeated.
        if line.startswith(("fatal: ", "failed: ", "[ERROR]: ")) and number >= ends:
            ends = number + _LINES
            found += [task, *lines[number:ends]]
    return "\n".join((found or lines)[-_MOST:])
