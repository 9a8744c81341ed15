# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse words that no kernel passes to a program (execve(2)). Pure.

A runtime reports them only after the container has started, or copies them many times first: with runc 1.1, a program with a name
of 70,000 bytes took minutes.
"""

from __future__ import annotations

import typing as t

from .._base.errors import InvalidOption
from .._base.program import MOST_WORD

_MOST_PATH = 4095  # PATH_MAX without its NUL
_STACK = 8 << 20  # _STK_LIM, the kernel's default for RLIMIT_STACK
_POINTER = 8  # bytes
_SHOWN = 60


def check(process: t.Mapping[str, t.Any]) -> None:
    """Raise InvalidOption for words of the ``process`` of a config.json that are too long, alone or together."""
    args, env = _texts(process.get("args")), _texts(process.get("env"))
    for what, path in (("name of the program", args[:1]), ("working directory", _texts([process.get("cwd")]))):
        for word in path:
            if _bytes(word) > _MOST_PATH:
                raise InvalidOption(
                    f"The {what} {word[:_SHOWN]!r}... has {_bytes(word)} bytes. A path has at most {_MOST_PATH}."
                )
    for number, word in enumerate(args):
        if _bytes(word) > MOST_WORD:
            raise _too_long(f"The argument {number} of the program", word)
    for word in env:
        if _bytes(word) > MOST_WORD:
            raise _too_long(f"The variable {word.partition('=')[0][:_SHOWN]}", word)
    total = sum(_bytes(word) + 1 + _POINTER for word in (*args, *env))
    most = _most_together(process.get("rlimits"))
    if total > most:
        raise InvalidOption(
            f"The arguments and the environment have {total} bytes together. The kernel takes at most {most}.",
            hint="Put them into a file, and mount it.",
        )


def _most_together(rlimits: t.Any) -> int:
    """Return the limit of the kernel: a quarter of the stack, at most 6 MiB, and at least 128 KiB."""
    entries = rlimits if isinstance(rlimits, list) else []
    soft = [each.get("soft") for each in entries if isinstance(each, dict) and each.get("type") == "RLIMIT_STACK"]
    stack = soft[-1] if soft and isinstance(soft[-1], int) else _STACK
    return max(min(stack // 4, _STACK // 4 * 3), 1 << 17)


def _too_long(what: str, word: str) -> InvalidOption:
    return InvalidOption(
        f"{what} has {_bytes(word)} bytes. The kernel takes at most {MOST_WORD}.",
        hint="Put it into a file, and mount it.",
    )


def _texts(values: t.Any) -> list[str]:
    return [word for word in values if isinstance(word, str)] if isinstance(values, list) else []


def _bytes(word: str) -> int:
    return len(word.encode("utf-8", "surrogatepass"))
