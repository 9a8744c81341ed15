# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input for a terminal: the table is held against a terminal of the kernel."""

from __future__ import annotations

import os
import pty
import select
import termios

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._exec import terminal_input

pytestmark = pytest.mark.pure

LINES = [b"", b"\n", b"a\n", b"a", b"x" * 4095 + b"\n", b"x" * 4095, b"x" * 4095 + b"\r", b"\xc3\xa9" * 2047 + b"\n"]
TOO_LONG = [b"x" * 4096 + b"\n", b"x" * 4096, b"a\n" + b"x" * 10000, b"\xc3\xa9" * 2048 + b"\n", b"x" * 5000 + b"\rx\n"]


def _through(data: bytes) -> bytes:
    """Return what a program reads from a new terminal into which this is typed. It ends with a line feed."""
    ours, theirs = pty.openpty()
    end, found = b"the end\n", b""
    data += end
    try:
        os.set_blocking(ours, False)
        for start in range(0, len(data), 1000):
            os.write(ours, data[start : start + 1000])
            if select.select([ours], [], [], 0)[0]:
                os.read(ours, 65536)  # the echo
        while not found.endswith(end):
            assert select.select([theirs], [], [], 10)[0]
            found += os.read(theirs, 65536)
        return found[: -len(end)]
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_line_that_a_terminal_takes(line: bytes) -> None:
    terminal_input.check(line)
    if line.endswith(b"\n"):
        assert _through(line) == line


@pytest.mark.parametrize("line", TOO_LONG, ids=range(len(TOO_LONG)))
def test_a_line_that_is_too_long(line: bytes) -> None:
    with pytest.raises(
        InvalidOption, match=r"a line of \d+ bytes. Of a line, a terminal takes only 4095. Leave out tty"
    ):
        terminal_input.check(line)
    if line.endswith(b"\n"):
        assert _through(line) != line.replace(b"\r", b"\n")


@pytest.mark.parametrize("number", [*range(32), 127, 128, 255])
def test_each_control_character(number: int) -> None:
    """Those that this terminal passes on are allowed, and no others. It makes a line feed of a carriage return, as for a key."""
    typed = b"a" + bytes([number]) + b"b\n"
    if _through(typed) == typed.replace(b"\r", b"\n"):
        terminal_input.check(typed)
    else:
        with pytest.raises(InvalidOption, match=f"0x{number:02x}, at which a terminal "):
            terminal_input.check(typed)


def test_the_special_characters_are_those_of_the_kernel() -> None:
    ours, theirs = pty.openpty()
    try:
        codes = termios.tcgetattr(theirs)[6]
    finally:
        os.close(ours)
        os.close(theirs)
    used = {ord(code) for code in codes if isinstance(code, bytes) and code != b"\0"}
    # VDISCARD does nothing on Linux, VTIME and VMIN are numbers.
    ignored = {ord(codes[termios.VDISCARD]), 0, 1}
    assert used - ignored == set(terminal_input._SPECIAL)
