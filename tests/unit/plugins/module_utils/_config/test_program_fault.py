# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of other machines. test_program_file.py has all that is refused."""

from __future__ import annotations

import pathlib
import platform
import subprocess

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import program_fault
from ansible_collections.longshore.oci.plugins.module_utils._config.program_file import Tree

pytestmark = pytest.mark.pure

X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="The programs are of this machine.")
ARM = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0" + bytes(64)
S390X = b"\x7fELF\2\2\1" + bytes(9) + b"\0\2\0\x16" + bytes(64)


def fault(root: pathlib.Path, path: str, binfmt: object = "/nowhere") -> str:
    return program_fault.find(Tree(str(root)), path, "/", binfmt=str(binfmt))


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


@X86
def test_handlers_that_nobody_can_see(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Their file system is not mounted here, and they work."""
    (root / "empty").write_bytes(b"")
    (root / "script").write_bytes(b"#!/no/such\n")
    (root / "object").write_bytes(ARM[:16] + b"\1\0" + ARM[18:])
    for name in ("arm", "s390x", "mz", "x.text", "object"):
        assert fault(root, f"/{name}", tmp_path / "binfmt") == ""
        assert fault(root, f"/{name}", tmp_path / "none") != ""
    assert fault(root, "/empty", tmp_path / "binfmt") == "it is empty"
    assert "'/no/such' does not exist" in fault(root, "/script", tmp_path / "binfmt")
    # It is mounted, and all of them are off.
    (tmp_path / "binfmt/status").write_text("disabled\n")
    (tmp_path / "binfmt/windows").write_text("enabled\ninterpreter /w\nflags: \noffset 0\nmagic 4d5a\n")
    assert "neither" in fault(root, "/mz", tmp_path / "binfmt")


@pytest.mark.impure
@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("#!{sh}\n", True), ("#!{sh} -e\n", True), ("#! \t{sh}\t-e\n", True), ("#!{sh}", True),
        ("#!/" + "." * 250 + "\n", False), ("#!" + "/" * 300 + "{sh}\n", False), ("#!" + "/" * 236 + "{sh}\n", True),
        ("#!" + "/" * 252 + "{sh}\n", False), ("#!" + " " * 300 + "{sh}\n", False), ("#!{sh} " + "#" * 300 + "\n", True),
        ("#!{sh}\t" + "#" * 300, True), ("#!" + "a" * 400, False), ("#!\n", False), ("#!" + " " * 200 + "{sh}\n", True),
    ],
)  # fmt: skip
def test_the_first_line_as_the_kernel_reads_it(tmp_path: pathlib.Path, line: str, runs: bool) -> None:
    """A long one loses its end: that of its argument does not matter, that of the interpreter does."""
    script = tmp_path / "script"
    script.write_text(line.format(sh="/bin/true"))
    script.chmod(0o755)
    try:
        ran = subprocess.run([script], check=False, capture_output=True).returncode == 0
    except OSError:
        ran = False
    assert ran is runs
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/true").write_bytes(pathlib.Path("/bin/true").read_bytes()[:64] + b"\0" * 4096)
    (tmp_path / "root/bin/true").chmod(0o755)
    (tmp_path / "root/script").write_bytes(script.read_bytes())
    found = fault(tmp_path / "root", "/script")
    assert (found == "") is runs, found


@pytest.mark.impure
@pytest.mark.parametrize(("mode", "runs"), [(0o755, True), (0o111, True), (0o644, False), (0o600, False)])
def test_an_interpreter_is_executable(tmp_path: pathlib.Path, mode: int, runs: bool) -> None:
    """Nobody can execute a file that none of its three classes of users can, and root neither."""
    (tmp_path / "root").mkdir()
    for name, text in (("second", "#!/bin/true\n"), ("first", f"#!{tmp_path}/root/second\n")):
        (tmp_path / "root" / name).write_text(text)
        (tmp_path / "root" / name).chmod(0o755)
    (tmp_path / "root/second").chmod(mode)
    try:
        ran = subprocess.run([tmp_path / "root/first"], check=False, capture_output=True).returncode == 0
    except PermissionError:
        ran = False
    assert ran is runs
    (tmp_path / "root/first").write_text("#!/second\n")
    (tmp_path / "root/bin").mkdir()
    (tmp_path / "root/bin/true").write_bytes(pathlib.Path("/bin/true").read_bytes()[:64] + b"\0" * 4096)
    (tmp_path / "root/bin/true").chmod(0o755)
    found = fault(tmp_path / "root", "/first")
    assert found == ("" if runs else "its interpreter '/second' is not executable")
