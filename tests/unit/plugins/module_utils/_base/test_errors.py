# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

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


def test_each_error_is_an_engine_error() -> None:
    """A module catches this one class, and makes a message of it."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 3
    assert all(issubclass(kind, errors.LongshoreError) for kind in kinds)


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (OSError(2, "No such file or directory", "/secret"), "No such file or directory"),
        (ValueError("embedded null byte"), "embedded null byte"), (OSError("timed out"), "timed out"),
    ],
)  # fmt: skip
def test_the_reason_has_no_number_and_no_path(exc: OSError | ValueError, reason: str) -> None:
    assert errors.reason_of(exc) == reason
