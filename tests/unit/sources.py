# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read source files, each once for all tests that look at them. The pure tests that import this run in one process."""

from __future__ import annotations

import ast
import functools


@functools.cache
def text(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


@functools.cache
def nodes(path: str) -> tuple[ast.AST, ...]:
    """Return all that a file consists of, itself first: what ast.walk() yields, which takes twice as long."""
    found: list[ast.AST] = [ast.parse(text(path))]
    for node in found:
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                found.append(value)
            elif isinstance(value, list):
                found += [each for each in value if isinstance(each, ast.AST)]
    return tuple(found)
