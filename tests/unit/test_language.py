# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check for plain words: it reads texts, and nothing but texts."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.tests.run import language

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The port shall be free.", "shall"),
        ("The container is made anew.", "made anew"),
        ("The container is made\nanew.", "made anew"),
        ("The subnet is none.", "is none"),
        ("No busybox is to be had.", "is to be had"),
        ("No service is not to be had.", "is not to be had"),
        ("The container goes\n  on.", "goes on"),
        ("It went on.", "went on"),
        ("Whoever made it decides.", "Whoever"),
        ("Nobody else may write there.", "Nobody"),
        ("A port that somebody has.", "somebody"),
        ("The next task mends it.", "mends"),
        ("All but for one.", "but for"),
        ("What is there stays.", "What"),
        ("It ends. What is left stays.", "What"),
        ("- **What is left** stays.", "What"),
    ],
)
def test_banned_words_are_found(text: str, words: str) -> None:
    assert [fault.words for fault in language.faults("README.md", text)] == [words]
    for source in (f'"""{text}"""\n', f'raise ValueError(f"""{text} {{name}}""")\n'):
        assert [fault.words for fault in language.faults("plugins/x.py", source)] == [words]


@pytest.mark.parametrize(
    "text",
    [
        "What is a bundle?",
        "The user nobody, and `nobody goes on` in code.",
        "O(env=goes on) and C(What) are markup.",
        "```\nWhat goes on\n```",
        "The one is none of ours, and V(null) is returned when there is none.",
        "It depends on what is there, marshalled and recommended.",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert language.faults("README.md", text) == []


def test_the_code_of_a_program_is_no_text() -> None:
    source = "shall = 1\nNOBODY, nobody = 65534, shall\nmend(nobody)  # Set the owner.\nargv = ['--user', 'nobody']\n"
    assert language.faults("plugins/x.py", source) == []


def test_comments_and_lines_are_told() -> None:
    source = 'a = 1  # Nobody reads it.\nb = (\n    "It goes "\n    f"on {a}, somebody said"\n)\n'
    assert [(fault.line, fault.words) for fault in language.faults("plugins/x.py", source)] == [
        (1, "Nobody"),
        (3, "goes on"),
        (4, "somebody"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "tests/unit/fixtures/README.md", "docs/design.md",
        "docs/docsite/rst/guide_exec.rst", "plugins/modules/x.py", "plugins/module_utils/_base/README.md", "roles/a/tasks/main.yml",
        "roles/a/meta/argument_specs.yml", "playbooks/quickstart.yml", "playbooks/templates/x.j2", ".github/workflows/x.yml",
        "bin/test", "bin/lib/python.sh", "benchmarks/lifecycle", "benchmarks/measure/x.py", "changelogs/fragments/0015-x.yml",
        ".ci/run", "ruff.toml", "mypy.ini", ".ansible-lint.yml", "docs/site/conf.py", "docs/docsite/links.yml", "galaxy.yml",
        "tests/run/unit.py", "tests/hosts/kinds.py", "tests/hosts/scenarios/migrate.yml", "tests/campaign/onhost/leaks.py",
    ],
)  # fmt: skip
def test_texts_of_users_and_contributors_are_covered(path: str) -> None:
    assert language.is_covered(path)


@pytest.mark.parametrize(
    "path",
    [
        "changelogs/fragments/0014-x.yml", "CHANGELOG.md", "docs/coding_style.md", "tests/unit/x.py", "galaxy.yml.orig",
        "bin/lib/__pycache__/x.cpython-311.pyc", "tests/run/language.py", "tests/run/__pycache__/x.cpython-311.pyc",
        "tests/integration/targets/x/tasks/main.yml",
    ],
)  # fmt: skip
def test_other_files_are_not_covered(path: str) -> None:
    assert not language.is_covered(path)


def test_a_test_of_jinja_is_no_text() -> None:
    for path in ("roles/a/tasks/main.yml", "playbooks/templates/x.j2"):
        assert language.faults(path, "when: x is none\n") == []


def test_each_fault_is_a_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "README.md").write_text("It goes on.\n", encoding="ascii")
    assert language.check(str(tmp_path), ["README.md", "tests/unit/x.py"]) == [
        "README.md:1: 'goes on' - better: continue"
    ]
