# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of directories that a reader of a table of mounts can get wrong."""

from __future__ import annotations

import os

import pytest

# What tables escape, a name that looks escaped, what other programs take for the end of a line, and bytes that are not UTF-8.
_NAMES = {
    "plain": b"plain", "blank": b" a b ", "tab": b"a\tb", "line feed": b"a\nb\n", "backslash": b"a\\b\\", "octal": b"a\\040b",
    "octal of octal": b"\\134040", "number sign": b"#a#b", "dash": b"a - b", "carriage return": b"a\rb", "next line": b"a\xc2\x85b",
    "separator": b"a\x1c\xe2\x80\xa8b", "latin-1": b"caf\xe9", "not utf-8": b"\xff\xfe", "delete": b"a\x7f\x01b",
    "deleted": b"a (deleted)", "pattern": b"[a]*?", "quotes": b"'a\"b$c`d",
}  # fmt: skip
ODD_NAMES = [pytest.param(os.fsdecode(name), id=what) for what, name in _NAMES.items()]
