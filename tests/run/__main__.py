# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Runs the parts of the test suite and counts. bin/test calls this with a Python that has all it needs."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Iterable

from . import docs, hosts, integration, lint, processes, sanity, sharing, unit
from .report import Report
from .workspace import Workspace

PARTS = {
    "unit": unit.run,
    "lint": lint.run,
    "docs": docs.run,
    "sanity": sanity.run,
    "integration": integration.run,
    "hosts": hosts.run,
}
# In the order in which they run: what fails soonest comes first. In a step, each list is gone through beside the others.
# unit is alone because it holds the engine to its times. integration and hosts take longest, and wait for much: they begin
# together, and lint, docs and sanity, which only compute, have done before either has.
STEPS = [[["unit"]], [["integration"], ["hosts"], ["lint", "docs", "sanity"]]]


def main() -> int:
    # Anywhere in the line: what follows the part would otherwise all be the part's own.
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--hosts", metavar="KINDS")
    where, words = early.parse_known_args()
    parser = argparse.ArgumentParser(prog="bin/test", usage="bin/test [PART [ARGUMENT...]], see bin/test --help")
    parser.add_argument("--root", required=True, help="the checkout")
    parser.add_argument("--cache", required=True, help="a directory that outlives the run")
    parser.add_argument("part", nargs="?", default="all", choices=["all", *PARTS])
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(words)
    if options.part == "all" and options.arguments:
        parser.error("arguments need a part to go to")
    if where.hosts and options.part == "integration":
        options.part = "hosts"  # the same targets, but there
    arguments = {options.part: options.arguments, "hosts": [where.hosts or "", *options.arguments]}

    # A run that is told to end still has to remove its temporary files and the processes it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    report = Report()
    quick = (options.part, options.arguments) == ("unit", ["--pure"])
    with Workspace(options.root, options.cache, quick=quick) as workspace:

        def run(names: Iterable[str]) -> None:
            for name in names:
                part = report.begin(name)
                try:
                    PARTS[name](workspace, part, arguments.get(name, []))
                except Exception:
                    # A fault of the runner must not hide what the other parts found.
                    part.add("test runner", failed=1, output=traceback.format_exc())
                part.end()

        for step in STEPS if options.part == "all" else [[[options.part]]]:
            processes.side_by_side(run, step)
    status = report.summary()
    if options.part == "all":
        # A part that runs alone is faster, and so is one that runs in part.
        sharing.keep(options.cache, report.took)
    return status


sys.exit(main())
