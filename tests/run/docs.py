# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The site of the documentation: it builds without a warning, and a browser shows what readers need. bin/docs builds it too."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback

from . import browser, processes
from .report import Part
from .workspace import NAME, NAMESPACE, Workspace

# The page of a module, and a guide that refers to modules.
MODULE, GUIDE = "oci_container_module.html", "docsite/guide_networking.html"


def run(workspace: Workspace, report: Part, _arguments: list[str]) -> None:
    """Build the site and look at it; count the build and each look as a test."""
    site = os.path.join(workspace.directory, "site")
    outcome = build(workspace, site)
    failed = int(outcome.status != 0)
    report.add("site", passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)
    if failed:
        return
    try:
        with browser.Browser(os.path.join(workspace.directory, "browser")) as window:
            for look in (_module_page, _guide, _links, _search):
                _count(report, look, window, site)
    except browser.BrowserError as error:
        report.add("browser", failed=1, output=str(error))


def build(workspace: Workspace, destination: str) -> processes.Outcome:
    """Write the HTML pages of the collection, with its guides, to a directory that does not exist yet.

    The outcome has a status other than 0 for a warning too.
    """
    tree = workspace.tree()
    env = workspace.environment(tree)
    sources = os.path.join(workspace.directory, "docs")
    pages = os.path.join(sources, "rst")
    # antsibull-docs refuses a directory that others can change.
    os.makedirs(pages, mode=0o700)
    settings = os.path.join(tree, "docs", "site")
    made = processes.run(
        [
            "antsibull-docs", "--config-file", os.path.join(settings, "antsibull-docs.cfg"), "collection",
            "--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", pages, f"{NAMESPACE}.{NAME}",
        ],
        cwd=sources,
        env=env,
    )  # fmt: skip
    if made.status:
        return made
    command = ["sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "-c", settings, pages, destination]
    written = processes.run(command, cwd=sources, env=env)
    return processes.Outcome(written.status, made.output + written.output, made.seconds + written.seconds)


def _count(report: Part, look: browser.Look, window: browser.Browser, site: str) -> None:
    """Call a function that looks at the site; count it as a test, which passed if the function raised nothing."""
    started = time.monotonic()
    output = ""
    try:
        look(window, site)
    except Exception:
        output = f"{traceback.format_exc()}\nThe page was {window.address()}"
    name = look.__name__.strip("_").replace("_", " ")
    report.add(
        name, passed=int(not output), failed=int(bool(output)), seconds=time.monotonic() - started, output=output
    )


def _module_page(window: browser.Browser, site: str) -> None:
    """A reader finds the title, an option by its address, a return value and an example."""
    window.open(os.path.join(site, MODULE))
    _expect("longshore.oci.oci_container module" in window.title(), window.title())
    _expect(window.text("h1").startswith("longshore.oci.oci_container module"), window.text("h1"))
    for anchor in ("parameter-bundle", "parameter-restart_policy", "return-container"):
        window.open(os.path.join(site, MODULE), anchor)
        _expect(window.is_in_view(anchor), f"#{anchor} is not in view")
    examples = window.text("#examples")
    _expect("longshore.oci.oci_container:" in examples, examples)
    # The highlighter knows YAML: names of keys are in elements of their own.
    _expect(window.count("#examples .highlight span.nt") > 5, "the examples are not highlighted")


def _guide(window: browser.Browser, site: str) -> None:
    """A reader comes from the index to a guide, and by a link of the guide to a module."""
    window.open(os.path.join(site, "index.html"))
    window.click("Networks and ports")
    _expect(window.text("h1").startswith("Networks and ports"), window.text("h1"))
    _expect("reserve_ports:" in window.text("#reserved-ports .highlight"), window.text("#reserved-ports"))
    _expect(window.count("table") >= 2, "the tables are missing")
    cut = window.cut_off("table")
    _expect(not cut, f"tables are wider than the page: {cut}")
    window.click("longshore.oci.oci_network")
    _expect(window.text("h1").startswith("longshore.oci.oci_network module"), window.text("h1"))


def _links(window: browser.Browser, site: str) -> None:
    """Every link to a page of the site, from the navigation or the text, leads to a file and an anchor in it."""
    for page in (MODULE, GUIDE, "index.html"):
        window.open(os.path.join(site, page))
        links = window.links()
        _expect(len(links) > 20, f"{page} has {len(links)} links only")
        for path, anchor in links:
            _expect(os.path.isfile(path), f"{page} links to {path}, which does not exist")
            if anchor and path.endswith(".html"):
                with open(path, encoding="utf-8") as stream:
                    _expect(f'id="{anchor}"' in stream.read(), f"{page} links to #{anchor}, which {path} lacks")


def _search(window: browser.Browser, site: str) -> None:
    """The search finds a guide by a word in it."""
    window.open(os.path.join(site, "search.html"), query="q=slirp4netns")
    window.wait_for("#search-results a")
    found = window.text("#search-results")
    _expect("Networks and ports" in found, found)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def main(arguments: list[str]) -> int:
    """Build the site into dist/docs of the checkout, or elsewhere; return the exit status."""
    parser = argparse.ArgumentParser(prog="bin/docs", description="Build the site of the documentation.")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cache", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--output", metavar="DIRECTORY", help="where to put the pages (default: dist/docs)")
    options = parser.parse_args(arguments)
    destination = os.path.abspath(options.output or os.path.join(options.root, "dist", "docs"))
    if os.path.lexists(destination) and not os.path.exists(os.path.join(destination, "searchindex.js")):
        print(f"{destination} is no site that bin/docs has built: name another directory.", file=sys.stderr)
        return 1
    with Workspace(options.root, options.cache) as workspace:
        site = os.path.join(workspace.directory, "site")
        outcome = build(workspace, site)
        if outcome.status:
            print(outcome.output, file=sys.stderr)
            return 1
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(site, destination)
    print(os.path.join(destination, "index.html"))
    return 0
