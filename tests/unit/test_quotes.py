# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pages quote: the program says each message today, in these words, and the files of tests exist.

In a guide, a message is in italics or in a block of text. Each word of it is in the code beside the same two words, or is a value.
"""

from __future__ import annotations

import ast
import functools
import glob
import os
import re
import typing as t

import pytest

from ansible_collections.longshore.oci.tests.unit import sources

pytestmark = pytest.mark.pure

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Messages of other programs: (guide, message, program).
OF_OTHERS = {
    ("guide_bundles", "crun: setrlimit (RLIM_MEMLOCK)", "crun"),
    ("guide_checkpoint", "has unreachable sharing", "CRIU"),
    ("guide_checkpoint", "doesn't have a proper root mount", "CRIU"),
    ("guide_checkpoint", "invalid reference format", "podman"),
    ("guide_checkpoint", "Can't move 1 into .../cgroup.procs", "CRIU"),
    ("guide_checkpoint", "Locking network failed", "CRIU"),
    ("guide_checkpoint", "Can't get 1:16 opt: Operation not supported", "CRIU"),
    ("guide_checkpoint", "Can't get rlimit", "CRIU"),
}
# Values in quoted messages that look like words of the program.
VALUES = ("inet: Connected TCP socket, consider using --tcp-established option", "web:", "paused", "createRuntime")
# Output of a playbook: the names of its tasks, and the words of its report.
TASK = re.compile(r"TASK \[longshore\.oci\.(\w+) : ([^\]]+)\]")


def _text(path: str) -> str:
    return sources.text(os.path.join(COLLECTION, path))


def _guides() -> dict[str, str]:
    paths = glob.glob(os.path.join(COLLECTION, "docs/docsite/rst/*.rst"))
    return {os.path.basename(path)[:-4]: _text(path) for path in sorted(paths)}


def _in_italics() -> list[tuple[str, str]]:
    pattern = re.compile(r"(?<![*\w`])\*([^*\s`][^*`]*)\*(?![*\w])")
    return [(guide, " ".join(found.split())) for guide, text in _guides().items() for found in pattern.findall(text)]


def _blocks() -> list[tuple[str, str]]:
    pattern = re.compile(r"^\.\. code-block:: text\n\n((?:    .*\n|\n)+)", re.MULTILINE)
    return [(guide, " ".join(found.split())) for guide, text in _guides().items() for found in pattern.findall(text)]


def _words(text: str) -> list[str]:
    return [word.strip(".,:;()\"'").lower() for word in text.split()]


@functools.cache
def _said() -> set[tuple[str, ...]]:
    """Return what the engine and the modules can say: three words that follow one another, and texts shorter than that.

    A value in a text ends a group of words.
    """
    found: set[tuple[str, ...]] = set()
    for path in glob.glob(os.path.join(COLLECTION, "plugins/module_utils/**/*.py"), recursive=True):
        for text in _texts(sources.nodes(path)):
            words = tuple(_words(text))
            found |= {words[start : start + 3] for start in range(max(len(words) - 2, 1))}
    return found


def _texts(nodes: tuple[ast.AST, ...]) -> t.Iterator[str]:
    """Yield the texts of a file without its docstrings, and formatted ones in pieces."""
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def _unsaid(quoted: str) -> list[str]:
    """Return the words of a quoted message that the program does not say. A word with a digit or a sign, or of one letter, is a value."""
    for value in VALUES:
        quoted = quoted.replace(value, "0")
    words = _words(quoted)
    covered = set()
    for size in (3, 2, 1):
        for start in range(len(words) - size + 1):
            if tuple(words[start : start + size]) in _said():
                covered |= set(range(start, start + size))
    return [word for place, word in enumerate(words) if place not in covered and re.fullmatch(r"[a-z'-]{2,}", word)]


def _messages() -> list[tuple[str, str]]:
    others = {(guide, message) for guide, message, _program in OF_OTHERS}
    found = [*_in_italics(), *(pair for pair in _blocks() if not TASK.match(pair[1]))]
    return sorted(set(found) - others)


def test_messages_are_found() -> None:
    """Without this, guides of another form would leave nothing to check."""
    assert len(_in_italics()) - len(OF_OTHERS) >= 8
    assert len(_blocks()) >= 4


@pytest.mark.parametrize(("guide", "quoted"), _messages())
def test_a_quoted_message_is_said(guide: str, quoted: str) -> None:
    assert _unsaid(quoted) == []


@pytest.mark.parametrize(
    ("quoted", "unsaid"),
    [
        # Sentences of former releases.
        ("127.0.0.1:8282/tcp is in use by python3 (process 29670). Choose another port, or stop who has it.", ["who"]),
        ("It goes on as before. Give the option tcp_established.", ["goes", "give"]),
        ("... has a session X already", ["already"]),
    ],
)  # fmt: skip
def test_a_former_message_is_not_said(quoted: str, unsaid: list[str]) -> None:
    assert [word for word in unsaid if word in _unsaid(quoted)] == unsaid


@pytest.mark.parametrize(("guide", "quoted", "program"), sorted(OF_OTHERS))
def test_a_message_of_another_program_is_still_quoted(guide: str, quoted: str, program: str) -> None:
    assert (guide, quoted) in _in_italics()
    assert program in _guides()[guide]


def test_the_output_of_a_playbook_names_its_tasks() -> None:
    quoted = [match for _guide, block in _blocks() for match in TASK.findall(block)]
    assert quoted
    for role, name in quoted:
        tasks = glob.glob(os.path.join(COLLECTION, f"roles/{role}/tasks/*.yml"))
        assert any(re.search(rf"^\s*- name: {re.escape(name)}$", _text(path), re.MULTILINE) for path in tasks), name


def test_the_run_in_the_readme_is_one_of_the_quickstart() -> None:
    (run,) = re.findall(r"^```\n(A container on .*?)^```", _text("README.md"), re.MULTILINE | re.DOTALL)
    template = _text("playbooks/templates/quickstart_report.j2")
    assert run.splitlines()[-1] in template
    titles = [line.split("  ")[0] for line in run.splitlines()[3:-2]]
    assert titles == re.findall(r"- title: (.*)", _text("playbooks/quickstart.yml"))


def test_named_tests_exist() -> None:
    pages = ("docs/*.md", "docs/docsite/rst/*.rst", "plugins/module_utils/*/README.md", "*.md", "roles/*/README.md")
    texts = {path: _text(path) for page in pages for path in glob.glob(os.path.join(COLLECTION, page))}
    named = {(path, name) for path, text in texts.items() for name in re.findall(r"\btest_\w+\.py\b", text)}
    known = {
        os.path.basename(path)
        for path in glob.glob(os.path.join(COLLECTION, "tests/unit/**/test_*.py"), recursive=True)
    }
    assert len(named) > 30
    assert sorted((path, name) for path, name in named if name not in known and not re.search("[A-Z]", name)) == []
