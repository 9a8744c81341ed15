# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import errors

pytestmark = pytest.mark.pure


def test_a_hint_follows_the_sentence() -> None:
    error = errors.LongshoreError("Cannot do it.", hint="Do something else.", argv=["x"], rc=1)
    assert str(error) == "Cannot do it. Do something else."
    assert (error.message, error.hint) == ("Cannot do it.", "Do something else.")
    assert error.details == {"argv": ["x"], "rc": 1}


def test_without_a_hint() -> None:
    assert str(errors.InvalidOption("Cannot do it.")) == "Cannot do it."
    assert errors.InvalidOption("Cannot do it.").details == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("runc says: it failed..", "runc says: it failed."),
        ("runc says: it failed.. Try again..", "runc says: it failed. Try again."),
        ("One..\nTwo..", "One.\nTwo."),
        # These are no double full stops.
        *[(text, text) for text in ("And so on...", "Not '/a/..'.", "Not /a/.. here.", "From 1..2 on.", "a..b", "x ... y.", "")],
    ],
)  # fmt: skip
def test_a_sentence_has_one_full_stop(text: str, shown: str) -> None:
    error = errors.ProgramFailed(text, hint=text)
    assert (error.message, error.hint) == (shown, shown)
    assert str(error) == f"{shown} {shown}".strip()


@pytest.mark.parametrize("size", [4001, 70000, 1 << 20])
def test_a_long_text_is_cut_in_its_middle(size: int) -> None:
    error = errors.InvalidOption(f"Cannot run {'a' * size} in the container web: no such file.", hint="b" * size)
    assert 4000 <= len(error.message) < 4020
    assert error.message.startswith("Cannot run aaa")
    assert error.message.endswith("aaa in the container web: no such file.")
    assert " [...] " in error.message
    assert len(str(error)) < 8100
    assert errors.InvalidOption("c" * 4000).message == "c" * 4000


def test_each_error_is_an_engine_error() -> None:
    """A module catches this one class, and makes a message of it."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 3
    assert all(issubclass(kind, errors.LongshoreError) for kind in kinds)
    # Each has its row in the tree.
    assert set(re.findall(r"^ +(?:[|`].*-- )?(\w+)  ", errors.__doc__ or "", re.MULTILINE)) == {
        kind.__name__ for kind in kinds
    }


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (OSError(2, "No such file or directory", "/secret"), "No such file or directory"),
        (ValueError("embedded null byte"), "embedded null byte"), (OSError("timed out"), "timed out"),
    ],
)  # fmt: skip
def test_the_reason_has_no_number_and_no_path(exc: OSError | ValueError, reason: str) -> None:
    assert errors.reason_of(exc) == reason
