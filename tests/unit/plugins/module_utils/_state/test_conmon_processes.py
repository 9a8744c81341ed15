# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for conmons among processes that do not want to be looked at."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.files import read_text
from ansible_collections.longshore.oci.plugins.module_utils._state import conmon_processes
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program

# Says that 64 MiB of its memory are its command line (prctl(2), PR_SET_MM_MAP): no right is needed for that.
_LONG = """
import ctypes, mmap, struct, time
size = 64 << 20
room = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
room.write(b"x" * (size - 1))
start = ctypes.addressof(ctypes.c_char.from_buffer(room))
text = open("/proc/self/stat").read().rpartition(")")[2].split()
code = [int(text[number - 3]) for number in (26, 27, 45, 46, 47, 47, 28)]
table = struct.pack("=12QIi", *code, start, start + size, start + size, start + size, 0, 0, -1)
print(ctypes.CDLL(None).prctl(35, 14, table, len(table), 0), flush=True)
time.sleep(60)
"""


def test_a_command_line_without_end() -> None:
    with subprocess.Popen([sys.executable, "-c", _LONG], stdout=subprocess.PIPE) as child:
        try:
            if child.stdout is None or child.stdout.readline() != b"0\n":
                pytest.skip("this kernel has no PR_SET_MM_MAP")
            with pytest.raises(LongshoreError, match="is larger than"):
                read_text(f"/proc/{child.pid}/cmdline")
            assert conmon_processes.find_conmons(Program("conmon", "/bin/sh", "1"), lambda _path: False) == []
        finally:
            child.kill()
