# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The links in Markdown files: each that leads to a file of the checkout leads to one that exists, and to a heading in it.

A page that Galaxy shows stands there alone, so its links are URLs of the repository. Other pages of the built collection link to
files of the built collection. The links of guides (docs/docsite) are checked by "bin/test docs".
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
import typing as t

import yaml  # type: ignore[import-untyped]

from .report import Part
from .workspace import Workspace

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)|^\[[\w-]+\]: (\S+)$", re.MULTILINE)
_REFERENCE = re.compile(r"\[[^\]\n]+\]\[([a-z][\w-]*)\]")
_ON_GALAXY = re.compile(r"README\.md|roles/\w+/README\.md")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def check(_workspace: Workspace, report: Part, tree: str) -> None:
    """Count one test: no link of a Markdown file is broken."""
    started = time.monotonic()
    broken = faults(tree)
    seconds = time.monotonic() - started
    report.add("links", passed=int(not broken), failed=int(bool(broken)), seconds=seconds, output="\n".join(broken))


def faults(tree: str) -> list[str]:
    """Return a sentence for each broken link in the Markdown files of a checkout."""
    galaxy = yaml.safe_load(_text(tree, "galaxy.yml"))
    return [sentence for path in _markdown(tree) for sentence in _broken(tree, path, galaxy)]


def _markdown(tree: str) -> list[str]:
    """Return the Markdown files, relative to the tree. Not CHANGELOG.md, whose links antsibull-changelog writes."""
    found = []
    for parent, children, names in os.walk(tree):
        children[:] = sorted(set(children) - {".git"})
        found += [os.path.relpath(os.path.join(parent, name), tree) for name in sorted(names) if name.endswith(".md")]
    return [path for path in found if path != "CHANGELOG.md"]


def _broken(tree: str, path: str, galaxy: dict[str, t.Any]) -> list[str]:
    """Return a sentence for each broken link of a file."""
    text = _CODE.sub(lambda match: match[0] if match[0].count("\n") == 0 else "", _text(tree, path))
    repository = f"{galaxy['repository']}/blob/main/"
    defined = set(re.findall(r"^\[([\w-]+)\]: ", text, re.MULTILINE))
    wrong = [
        f"{path} uses the link [{name}] without defining it."
        for name in sorted(set(_REFERENCE.findall(text)) - defined)
    ]
    for target in ("".join(found) for found in _LINK.findall(text)):
        file, _sharp, anchor = target.removeprefix(repository).partition("#")
        place = os.path.normpath(file)
        if not target.startswith(repository):
            if re.match(r"[a-z]+:", target):
                continue
            place = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            if file and _ON_GALAXY.fullmatch(path):
                wrong.append(f"{path} links to {target}, which does not work on Galaxy: link to {repository}{place}.")
            elif _is_shipped(path, galaxy) and not _is_shipped(place, galaxy):
                wrong.append(
                    f"{path} links to {target}, which is not in the built collection: link to {repository}{place}."
                )
        if not os.path.exists(os.path.join(tree, place)):
            wrong.append(f"{path} links to {target}, which does not exist.")
        elif anchor and anchor not in _anchors(_text(tree, place)):
            wrong.append(f"{path} links to {target}, but {place} has no such heading.")
    return wrong


def _is_shipped(path: str, galaxy: dict[str, t.Any]) -> bool:
    """Tell whether ansible-galaxy puts a file into the built collection."""
    parts = path.split("/")
    parents = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return not any(fnmatch.fnmatch(parent, pattern) for parent in parents for pattern in galaxy["build_ignore"])


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a Markdown or reStructuredText file."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    headings += [found[0] for found in re.findall(r"^(\S.*)\n([=~-])\2+$", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _text(tree: str, path: str) -> str:
    with open(os.path.join(tree, path), encoding="utf-8") as stream:
        return stream.read()
