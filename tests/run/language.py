# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Find words and forms in texts that a reader with English as a second language would have to read twice."""

from __future__ import annotations

import io
import os
import re
import tokenize
import typing as t

# Files that quote the banned words. CHANGELOG.md is made from the fragments, which are checked themselves.
_EXEMPT = ("docs/coding_style.md", "CHANGELOG.md", "tests/run/language.py")
# Changelog fragments of former releases stay as they were published.
_NEW_FRAGMENTS = re.compile(r"changelogs/fragments/(001[5-9]|00[2-9]|0[1-9]|[1-9])")

# Texts that a user or a contributor reads: pages, modules, roles, playbooks, settings, and programs with a shebang or a suffix.
# Below tests these are the pages, and the programs that users run too: bin/test, bin/hosts and bin/campaign. The texts of the tests
# themselves describe cases, and quote words that are refused.
_COVERED = re.compile(
    r".*\.(md|rst)|plugins/.*\.py|(roles|playbooks|meta|docs|\.github)/.*\.(ya?ml|j2|py|sh)|[\w.-]+\.(yml|toml|ini)"
    r"|(bin|benchmarks|\.ci)/([^.]+|.*\.(py|sh|txt))|tests/(hosts|run|campaign)/([^.]+|.*\.(py|sh|txt|ya?ml|json))"
)


class Fault(t.NamedTuple):
    line: int
    words: str
    better: str


# Each form of a word that is banned, and what to write in its place.
_BANNED: tuple[tuple[str, str], ...] = (
    (r"shall", "must, or the present tense"),
    (r"(?:made |make |makes |making )?anew|afresh", "again, from zero, or recreate"),
    (r"(?<!there\s)(?:is|are|was|were) (?-i:none)\b(?! of)", "does not exist, or is not a ..."),
    (r"(?:is|are|was|were|can be|could be) (?:not )?(?:to be )?had", "is available"),
    (r"go(?:es|ing)? on|went on|gone on", "continue"),
    (r"whoever|whosoever", "name the actor: the user, the process, the task that ..."),
    (r"nobody(?! user)", "no other process, no other user, no task: name the actor"),
    (r"somebody", "another user, process or task: name the actor"),
    (r"mend(?:s|ed|ing)?", "fix, repair or apply"),
    (r"as systemd has it", "with the values that systemd uses"),
    (r"told of", "reported, or known"),
    (r"let to (?:its|their) ends?", "runs until it ends"),
    (r"but for", "except"),
    (r"for want of", "because ... is missing"),
    (r"in the place of", "instead of"),
    (r"by way of", "through"),
    (r"heed(?:s|ed|ing)?", "use, or respect"),
    (r"over there", "on the target host"),
    (r"lest|whence|thence|hither|thither|thereof|wherein", "a plain conjunction: so that ... not, from which"),
)  # fmt: skip
# The words may stand on two lines, also in two strings of Python that are one text.
_BLANK = r"""(?:\s+|\s*["']\s*\n\s*f?["']\s*)"""
_WORDS = tuple((re.compile(rf"\b(?:{form})\b".replace(" ", _BLANK), re.IGNORECASE), better) for form, better in _BANNED)
# A sentence begins with a text or after a full stop. Questions may begin so.
_WHAT = re.compile(r"(?:(?:\A|\n)[ \t#>*|+-]*|[\"'][-\s*]*|[.!?:;][\s*_]+)(What\b)(?![^.?]{0,200}\?)")

# Code in a text is not language: literals of Markdown and reStructuredText, and the markup of Ansible.
_CODE = re.compile(
    r"^[ \t]*```.*?^[ \t]*```|``[^`\n]+``|`[^`\n]+`|\b[A-Z]{1,2}\((?:[^()\n]|\\\)|\([^()\n]*\))*\)",
    re.MULTILINE | re.DOTALL,
)
# A test of Jinja, in a task or a template.
_JINJA = re.compile(r"\bis none\b")
# The user of this name is no actor.
_A_NAME = re.compile(r"\"nobody\"|'nobody'|\bnobody(?=:)|(?<==)nobody\b|\buser nobody\b")


def faults(path: str, source: str) -> list[Fault]:
    """Return what the texts of a file say in banned words, in the order of its lines.

    In Python these are strings and comments; in any other file it is all but code.
    """
    text = _blank(_CODE, _texts_of_python(source) if path.endswith(".py") else source)
    text = _blank(_A_NAME, text)
    if path.endswith((".yml", ".yaml", ".j2")):
        text = _blank(_JINJA, text)
    found = [(match, better) for pattern, better in _WORDS for match in pattern.finditer(text)]
    found += [(match, "begin with the subject of the sentence") for match in _WHAT.finditer(text)]
    located = [
        Fault(text.count("\n", 0, match.start(match.lastindex or 0)) + 1, match.group(match.lastindex or 0), better)
        for match, better in found
    ]
    return sorted(fault._replace(words=" ".join(re.findall(r"\w{2,}", fault.words))) for fault in located)


def check(tree: str, paths: t.Iterable[str]) -> list[str]:
    """Return a line with file, line, words and better words for each fault in the texts that the check covers."""
    found = []
    for path in paths:
        if not is_covered(path):
            continue
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            source = file.read()
        found += [f"{path}:{line}: '{words}' - better: {better}" for line, words, better in faults(path, source)]
    return found


def is_covered(path: str) -> bool:
    """Tell whether the check reads a file, which is named by its path in the collection."""
    return path not in _EXEMPT and bool(_COVERED.fullmatch(path) or _NEW_FRAGMENTS.match(path))


def _texts_of_python(source: str) -> str:
    """Return the source with blanks in place of all that is neither in a string nor in a comment."""
    lines = source.splitlines(keepends=True)
    kept = [[character if character == "\n" else " " for character in line] for line in lines]
    names = {"STRING", "COMMENT", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] not in names:
            continue
        (first, start), (last, end) = token.start, token.end
        for number in range(first, last + 1):
            begin = start if number == first else 0
            stop = end if number == last else len(lines[number - 1])
            kept[number - 1][begin:stop] = lines[number - 1][begin:stop]
            if token.type == tokenize.COMMENT:
                kept[number - 1][begin] = " "
    return "".join("".join(line) for line in kept)


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
