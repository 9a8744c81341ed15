# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of links in Markdown files."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.tests.run import links

pytestmark = pytest.mark.pure

URL = "https://example.com/longshore/blob/main/"
FILES = {
    "galaxy.yml": "repository: https://example.com/longshore\nbuild_ignore: [bench, docs/inner.md]\n",
    "docs/page.md": "# One heading\n",
    "docs/inner.md": "",
    "bench/README.md": "",
}


def _faults(directory: pathlib.Path, path: str, target: str) -> list[str]:
    for name, text in {**FILES, path: f"[word]({target})\n"}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="ascii")
    return links.faults(str(directory))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("README.md", f"{URL}docs/page.md"), ("README.md", f"{URL}docs/page.md#one-heading"), ("README.md", f"{URL}bench/README.md"),
        ("README.md", "https://example.com/other"), ("README.md", "https://example.com/longshore"),
        ("roles/a/README.md", f"{URL}docs/page.md"),
        ("docs/x.md", "page.md#one-heading"), ("docs/x.md", f"{URL}docs/inner.md"), ("docs/inner.md", "../bench/README.md"),
        ("bench/README.md", "../docs/inner.md"), ("plugins/module_utils/_a/README.md", "../../../docs/page.md"),
    ],
)  # fmt: skip
def test_a_good_link(tmp_path: pathlib.Path, path: str, target: str) -> None:
    assert _faults(tmp_path, path, target) == []


@pytest.mark.parametrize(
    ("path", "target", "fault"),
    [
        ("README.md", "docs/page.md", f"which does not work on Galaxy: link to {URL}docs/page.md."),
        ("roles/a/README.md", "../../docs/page.md", f"which does not work on Galaxy: link to {URL}docs/page.md."),
        ("docs/x.md", "inner.md", f"which is not in the built collection: link to {URL}docs/inner.md."),
        ("docs/x.md", "../bench/README.md", f"which is not in the built collection: link to {URL}bench/README.md."),
        ("README.md", f"{URL}docs/none.md", "which does not exist."),
        ("README.md", f"{URL}docs/page.md#two", "but docs/page.md has no such heading."),
        ("docs/x.md", "none.md", "which does not exist."),
    ],
)
def test_a_broken_link(tmp_path: pathlib.Path, path: str, target: str, fault: str) -> None:
    assert _faults(tmp_path, path, target) == [f"{path} links to {target}, {fault}"]


def test_a_link_by_reference(tmp_path: pathlib.Path) -> None:
    assert _faults(
        tmp_path, "README.md", f"{URL}docs/page.md) [a][good] [b][bad] `c[0][1]`\n\n[good]: {URL}docs/none.md\n\n("
    ) == [
        "README.md uses the link [bad] without defining it.",
        f"README.md links to {URL}docs/none.md, which does not exist.",
    ]
