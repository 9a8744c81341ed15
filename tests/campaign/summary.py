# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The results of a campaign: each failure with the command that repeats it, a table at the end, and a file for programs."""

from __future__ import annotations

import collections
import json
import threading
import time
import typing as t

from .onhost.scenario import OUTCOMES


class Book:
    """Keeps all results."""

    def __init__(self, repeat: t.Callable[[int], str], *, verbose: bool) -> None:
        self._repeat, self._verbose = repeat, verbose
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.results: list[dict[str, t.Any]] = []
        self.notes: list[str] = []
        self._broken = False

    def note(self, text: str, *, failed: bool = False) -> None:
        with self._lock:
            print(text, flush=True)
            self.notes += [text] if failed else []

    def broken(self, text: str) -> None:
        """The campaign itself has not come to its end."""
        self.note(text, failed=True)
        self._broken = True

    def add(self, result: dict[str, t.Any]) -> None:
        with self._lock:
            self.results.append(result)
            if result["outcome"] != "recovered" or self._verbose:
                print(self._told(result), flush=True)
            if len(self.results) % 100 == 0:
                print(f"{len(self.results)} trials in {time.monotonic() - self._started:.0f} s", flush=True)

    def _told(self, result: dict[str, t.Any]) -> str:
        about = [result["user"], result.get("runtime"), result.get("slow"), result.get("launch")]
        lines = [
            f"trial {result['trial']}: {result['outcome']} ({', '.join(str(each) for each in about if each)}; {result.get('seconds')} s)",
            f"  {result.get('state')}, then {result.get('operation')}: {result.get('fault')} [{result.get('killed')}]",
            f"  next: {result.get('next')}",
        ]
        for outcome, text in result["findings"]:
            lines.append(f"  {outcome}: " + text.replace("\n", "\n      "))
        if result["outcome"] != "recovered":
            lines.append(f"  again: {self._repeat(result['trial'])}")
        return "\n".join(lines)

    def table(self) -> str:
        """Outcomes by scenario."""
        counts: dict[str, collections.Counter[str]] = {}
        for result in self.results:
            counts.setdefault(str(result["scenario"]), collections.Counter())[result["outcome"]] += 1
        shown = [each for each in OUTCOMES if any(row[each] for row in counts.values())]
        rows = [["", "trials", *shown]]
        for name, row in sorted(counts.items()):
            rows.append([name, str(sum(row.values())), *(str(row[each] or "-") for each in shown)])
        total: collections.Counter[str] = collections.Counter()
        for row in counts.values():
            total.update(row)
        rows.append(["all", str(sum(total.values())), *(str(total[each] or "-") for each in shown)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

    def close(self, path: str | None, about: dict[str, t.Any]) -> int:
        """Say how it went. The exit status is 0 when all recovered."""
        seconds = time.monotonic() - self._started
        print()
        print(self.table() if self.results else "no trials")
        struck = sum(bool(result.get("killed")) for result in self.results)
        print(
            f"seed {about['seed']}: {len(self.results)} of {about['asked']} trials in {seconds:.0f} s, {struck} of them killed in the middle",
            flush=True,
        )
        if path:
            with open(path, "w", encoding="utf-8") as stream:
                json.dump(
                    {**about, "seconds": round(seconds), "notes": self.notes, "trials": self.results}, stream, indent=1
                )
        good = self.results and all(result["outcome"] == "recovered" for result in self.results)
        return 0 if good and not self._broken else 1
