# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The links in Markdown files: each that leads to a file of the checkout leads to one that exists, and to a heading in it.

The links of guides (docs/docsite) are checked by "bin/test docs".
"""

from __future__ import annotations

import os
import re
import time

from .report import Part
from .workspace import Workspace

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def check(_workspace: Workspace, report: Part, tree: str) -> None:
    """Count one test: no link of a Markdown file is broken."""
    started = time.monotonic()
    broken = [sentence for path in _markdown(tree) for sentence in _broken(tree, path)]
    seconds = time.monotonic() - started
    report.add("links", passed=int(not broken), failed=int(bool(broken)), seconds=seconds, output="\n".join(broken))


def _markdown(tree: str) -> list[str]:
    """Return the Markdown files, relative to the tree. Not CHANGELOG.md, whose links antsibull-changelog writes."""
    found = []
    for parent, children, names in os.walk(tree):
        children[:] = sorted(set(children) - {".git"})
        found += [os.path.relpath(os.path.join(parent, name), tree) for name in sorted(names) if name.endswith(".md")]
    return [path for path in found if path != "CHANGELOG.md"]


def _broken(tree: str, path: str) -> list[str]:
    """Return a sentence for each broken link of a file."""
    text = _CODE.sub(lambda match: match[0] if match[0].count("\n") == 0 else "", _text(tree, path))
    wrong = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _sharp, anchor = target.partition("#")
        place = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        if not os.path.exists(os.path.join(tree, place)):
            wrong.append(f"{path} links to {target}, which does not exist.")
        elif anchor and anchor not in _anchors(_text(tree, place)):
            wrong.append(f"{path} links to {target}, but {place} has no such heading.")
    return wrong


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a Markdown or reStructuredText file."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    headings += [found[0] for found in re.findall(r"^(\S.*)\n([=~-])\2+$", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _text(tree: str, path: str) -> str:
    with open(os.path.join(tree, path), encoding="utf-8") as stream:
        return stream.read()
