# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of other machines. test_program_file.py has all that is refused."""

from __future__ import annotations

import pathlib
import platform

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import program_fault
from ansible_collections.longshore.oci.plugins.module_utils._config.program_file import Tree

pytestmark = pytest.mark.pure

X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="The programs are of this machine.")
ARM = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0" + bytes(64)
S390X = b"\x7fELF\2\2\1" + bytes(9) + b"\0\2\0\x16" + bytes(64)


def fault(root: pathlib.Path, path: str, binfmt: object = "/nowhere") -> str:
    return program_fault.find(Tree({"root": {"path": str(root)}}), path, "/", binfmt=str(binfmt))


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    top = tmp_path / "root"
    top.mkdir()
    (tmp_path / "binfmt").mkdir()
    for name, content in (("arm", ARM), ("s390x", S390X), ("mz", b"MZ\x90\0"), ("x.text", b"x")):
        (top / name).write_bytes(content)
    return top


@X86
def test_an_emulator(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    magic = "7f454c460201010000000000000000000200b7"
    mask = "ffffffffffffff00fffffffffffffffffeffff"
    text = f"enabled\ninterpreter /usr/bin/qemu\nflags: F\noffset 0\nmagic {magic}\nmask {mask}\n"
    (tmp_path / "binfmt" / "status").write_text("enabled\n")
    (tmp_path / "binfmt" / "register").mkdir()
    assert "arm64" in fault(root, "/arm", tmp_path / "binfmt")
    (tmp_path / "binfmt" / "qemu").write_text(text)
    assert fault(root, "/arm", tmp_path / "binfmt") == ""
    assert "s390x" in fault(root, "/s390x", tmp_path / "binfmt")
    (tmp_path / "binfmt" / "qemu").write_text(text.replace("enabled", "disabled"))
    assert "arm64" in fault(root, "/arm", tmp_path / "binfmt")
    (tmp_path / "binfmt" / "windows").write_text("enabled\ninterpreter /w\nflags: \noffset 0\nmagic 4d5a\n")
    assert fault(root, "/mz", tmp_path / "binfmt") == ""
    (tmp_path / "binfmt" / "text").write_text("enabled\ninterpreter /t\nflags: \nextension .text\n")
    (root / "y").write_bytes(b"x")
    assert "neither" in fault(root, "/y", tmp_path / "binfmt")
    assert fault(root, "/x.text", tmp_path / "binfmt") == ""
