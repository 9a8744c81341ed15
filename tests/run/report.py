# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Counts what passed and failed and prints one line for each tool."""

from __future__ import annotations

import textwrap


class Report:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self._part = ""
        self._before_part = 0

    def begin(self, part: str) -> None:
        self._part = part
        self._before_part = self.passed + self.failed

    def end(self) -> None:
        if self.passed + self.failed == self._before_part:
            self.add(self._part, failed=1, output="no test ran")

    def add(
        self, name: str, *, passed: int = 0, failed: int = 0, seconds: float = 0, detail: str = "", output: str = ""
    ) -> None:
        """Counts the outcome of one tool. The output is shown only when something failed."""
        self.passed += passed
        self.failed += failed
        mark = "FAIL" if failed else "ok"
        print(f"{mark:<5} {self._part:<12} {name:<40} {seconds:7.1f} s  {detail}".rstrip(), flush=True)
        if failed and output:
            print(textwrap.indent(output.rstrip(), "      | ", lambda line: True), flush=True)

    def summary(self) -> int:
        """Prints the last line, and returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0
