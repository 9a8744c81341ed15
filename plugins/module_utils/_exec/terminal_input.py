# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse input that a terminal would not pass to a program as it is (termios(3)). Pure."""

from __future__ import annotations

import re

from .._base.errors import InvalidOption

_MOST_LINE = 4095  # bytes before the end of the line; the kernel drops more (N_TTY_BUF_SIZE in n_tty.c)
# The special characters of a new terminal of the kernel (INIT_C_CC).
_SPECIAL = {
    0x03: "interrupts the program", 0x04: "ends the input", 0x11: "lets output continue", 0x12: "prints the line again",
    0x13: "stops the output", 0x15: "removes the line", 0x16: "quotes the next character", 0x17: "removes a word",
    0x1A: "suspends the program", 0x1C: "ends the program", 0x7F: "removes a character",
}  # fmt: skip
_HINT = "Leave out tty, unless the program needs a terminal."


def check(stdin: bytes) -> None:
    """Raise InvalidOption for input of which a terminal would drop or interpret a part."""
    found = re.search(b"[%s]" % re.escape(bytes(_SPECIAL)), stdin)
    if found:
        number = found[0][0]
        raise InvalidOption(
            f"stdin has the character 0x{number:02x}, at which a terminal {_SPECIAL[number]}.", hint=_HINT
        )
    longest = max(map(len, re.split(b"[\r\n]", stdin)))
    if longest > _MOST_LINE:
        raise InvalidOption(
            f"stdin has a line of {longest} bytes. Of a line, a terminal takes only {_MOST_LINE}.", hint=_HINT
        )
