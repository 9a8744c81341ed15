# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors for a session: the command line, and that a program has them where it looks for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon import fd_mapping

READ = "import os, sys; sys.stdout.buffer.write(os.read(3, 10) + os.read(4, 10))"


@pytest.mark.pure
def test_the_command_line() -> None:
    words = fd_mapping.arrange(["/conmon", "--x"], [7, 5])
    assert words[0] == sys.executable
    # The site of the user is not asked, nor the environment.
    assert words[1] == "-SEc"
    assert words[3:] == ["2", "7", "5", "/conmon", "--x"]


@pytest.mark.parametrize("first_is_lower", [True, False])
def test_they_are_where_a_program_looks_for_them(first_is_lower: bool) -> None:
    pipes = [os.pipe() for _each in range(2)]
    try:
        order = pipes if first_is_lower else pipes[::-1]
        for (_read, write), text in zip(order, (b"one", b"two")):
            os.write(write, text)
        numbers = [read for read, _write in order]
        argv = fd_mapping.arrange([sys.executable, "-Ic", READ], numbers)
        done = subprocess.run(argv, pass_fds=numbers, stdout=subprocess.PIPE, timeout=30, check=True)
        assert done.stdout == b"onetwo"
    finally:
        for number in (number for pipe in pipes for number in pipe):
            os.close(number)


@pytest.mark.pure
@pytest.mark.parametrize("numbers", [(), (7,), (7, 5)])
def test_the_command_line_of_a_session(numbers: tuple[int, ...]) -> None:
    """The runtime is told how many descriptors there are, and the rest is that of a launch."""
    runtime = ["--runtime-opt=--preserve-fds", f"--runtime-opt={len(numbers)}"]
    assert fd_mapping.Descriptors(*numbers).arrange(["/conmon", "--x"]) == fd_mapping.arrange(
        ["/conmon", "--x", *runtime], numbers
    )
