# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read source files, each once for all tests that look at them. The pure tests that import this run in one process."""

from __future__ import annotations

import ast
import functools
import os


@functools.cache
def text(path: str | os.PathLike[str]) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


@functools.cache
def nodes(path: str) -> tuple[ast.AST, ...]:
    """Return all that a file consists of, itself first: what ast.walk() yields, which takes twice as long."""
    found: list[ast.AST] = []
    level: list[ast.AST] = [ast.parse(text(path))]
    while level:
        found += level
        level = [each for node in level for value in vars(node).values() for each in _nodes_in(value)]
    return tuple(found)


def _nodes_in(value: object) -> list[ast.AST]:
    if isinstance(value, list):
        return [each for each in value if isinstance(each, ast.AST)]
    return [value] if isinstance(value, ast.AST) else []
