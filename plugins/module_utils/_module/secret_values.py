# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of secret options: shown as hidden, and masked in the words of other programs."""

from __future__ import annotations

import typing as t

HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
# Shorter ones are masked nowhere: there is too much that they are a part of by chance.
_SHORTEST, _SHORTEST_LINE = 4, 8
_WITH_ENVIRONMENTS = ("hooks", "spec")


def hidden(name: str, value: t.Any) -> t.Any:
    """Return the value of a secret option as results show it."""
    if name in _WITH_ENVIRONMENTS:
        return hide_environments(value)
    return dict.fromkeys(value, HIDDEN) if isinstance(value, dict) else HIDDEN


def hide_environments(value: t.Any, *, inside: bool = False) -> t.Any:
    """Hide the values of what is called ``env`` at any depth; of ``NAME=VALUE`` the name stays."""
    if isinstance(value, dict):
        if inside:  # Not as it should be: the names are the keys then.
            return dict.fromkeys(value, HIDDEN)
        return {name: hide_environments(each, inside=name == "env") for name, each in value.items()}
    if isinstance(value, list):
        return [hide_environments(each, inside=inside) for each in value]
    name, equals, _value = str(value).partition("=")
    return value if not inside or value is None else f"{name}={HIDDEN}" if equals else HIDDEN


def leaves(value: t.Any) -> set[str]:
    """Return what Ansible would mask of a value: each text and number in it."""
    if isinstance(value, (dict, list)):
        return {leaf for each in (value.values() if isinstance(value, dict) else value) for leaf in leaves(each)}
    return {str(value)}


def masked(params: t.Mapping[str, t.Any], names: t.Iterable[str]) -> set[str]:
    """Return the texts to mask where another program speaks, the lines of a longer text too: a log is a list of lines."""
    found = set()
    for name in names:
        value = params.get(name)
        inner = _environments(value) if name in _WITH_ENVIRONMENTS else leaves(value)
        for text in inner if value is not None else ():
            found |= {text} if len(text) >= _SHORTEST else set()
            found |= {line for line in text.split("\n") if len(line) >= _SHORTEST_LINE}
    return found


def _environments(value: t.Any, *, inside: bool = False) -> set[str]:
    """Return the values that hide_environments() hides."""
    if isinstance(value, dict):
        below = [(each, inside or name == "env") for name, each in value.items()]
    elif isinstance(value, list):
        below = [(each, inside) for each in value]
    else:
        name, equals, rest = str(value).partition("=")
        return set() if not inside or value is None else {rest if equals else name}
    return {text for each, within in below for text in _environments(each, inside=within)}
