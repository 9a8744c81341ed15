# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse sizes in bytes, as docker and podman write them. Pure. Each function raises InvalidOption."""

from __future__ import annotations

import re
import typing as t

from .._base.errors import InvalidOption

MOST = 2**63 - 1  # of a number in a config.json, and of an option of conmon
NO_LIMIT = ("-1", "unlimited", "infinity")
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
# As RAMInBytes of go-units, which docker and podman read sizes with: .5g, 5.m and 1e9 are numbers of Go.
_SIZE = re.compile(r"\+?((?=\.?[0-9])[0-9]{0,20}(?:\.[0-9]{0,20})?(?:e[+-]?[0-9]{1,3})?)\s*(b?|[kmgtp](?:i?b)?)")


def parse_size(text: t.Any, name: str) -> int:
    """Return the bytes of ``64m``, ``1.5g`` or ``4096``. ``name`` is the option for the error."""
    found = _SIZE.fullmatch(str(text).strip().lower())
    if not found:
        raise InvalidOption(f"{name} cannot be {str(text)[:100]!r}.", hint="Use a size such as 512m or 2g.")
    number, unit = found[1], _UNITS[found[2][:1] or "b"]
    result = (int(number) if number.isdecimal() else float(number)) * unit
    if result > MOST:
        raise InvalidOption(f"{name} cannot be {str(text)[:100]!r}: it is too large for the kernel.")
    if result < 1 and re.search("[1-9]", number.partition("e")[0]):
        hint = "Use a size such as 512m. A number alone means bytes."
        raise InvalidOption(f"{name} cannot be {str(text)[:100]!r}: that is less than one byte.", hint=hint)
    return int(result)


def parse_limit(text: t.Any, name: str) -> int | None:
    """Return the bytes of a limit, or None for no limit: ``0`` as in docker and podman, ``-1`` as in the kernel, or a word."""
    return None if str(text).strip().lower() in ("0", *NO_LIMIT) else parse_size(text, name) or None
