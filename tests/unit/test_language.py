# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check for plain words: it reads texts, and nothing but texts."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.tests.run import language


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The port shall be free.", "shall"),
        ("The container is made anew.", "made anew"),
        ("The container is made\nanew.", "made anew"),
        ("The subnet is none.", "is none"),
        ("No busybox is to be had.", "is to be had"),
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


def test_files_of_users_are_covered_and_old_fragments_are_not(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "NOT_YET", ("plugins/modules/y",))
    for path in ("README.md", "roles/a/README.md", "roles/a/meta/argument_specs.yml", "plugins/modules/x.py"):
        assert language.is_covered(path)
    assert language.is_covered("changelogs/fragments/0015-x.yml")
    for path in (
        "plugins/modules/y.py",
        "changelogs/fragments/0014-x.yml",
        "tests/unit/x.py",
        "roles/a/tasks/main.yml",
    ):
        assert not language.is_covered(path)
    (tmp_path / "README.md").write_text("It goes on.\n", encoding="ascii")
    assert language.check(str(tmp_path), ["README.md", "tests/x.md"]) == ["README.md:1: 'goes on' - better: continue"]
