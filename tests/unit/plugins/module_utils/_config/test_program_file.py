# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that cannot be executed: what is refused here is what execve(2) refuses, in a chroot with the same files."""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._config import program_fault, program_file

pytestmark = pytest.mark.pure

X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="The programs are of this machine.")


def elf(machine: int = 62, kind: int = 2, order: int = 1, wide: int = 2) -> bytes:
    """The header of an ELF file."""
    words = b"".join(number.to_bytes(2, "little" if order == 1 else "big") for number in (kind, machine))
    return b"\x7fELF" + bytes([wide, order, 1]) + bytes(9) + words + bytes(64)


FILES: dict[str, bytes] = {
    "/arm": elf(183), "/s390x": elf(22, order=2), "/odd": elf(999), "/object": elf(kind=1), "/short": b"\x7fELF",
    "/crlf": b"#!/bin/sh\r\necho\r\n", "/text": b"echo hello\n", "/empty": b"", "/bang": b"#!\n", "/blank": b"#! \t \nx", "/mz": b"MZ\x90\0",
    "/lost": b"#!/usr/bin/python3 -u\n", "/lost-env": b"#! /usr/bin/env bash\n", "/to-arm": b"#!/arm\n", "/bom": b"\xef\xbb\xbf#!/bin/sh\n",
    "/script": b"#!/bin/sh\nexit 0\n", "/tab": b"#!\t/bin/sh\t-e\nexit 0\n", "/nested": b"#!/script\n", "/no-end": b"#!/bin/sh",
    "/hello.wasm": b"\0asm\1\0\0\0", "/data/run": b"#!/bin/sh\nexit 0\n",
}  # fmt: skip


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are none, also where their file system is not mounted."""
    if not os.path.exists(f"{program_fault.BINFMT}/status"):
        monkeypatch.setattr(program_fault, "BINFMT", "/nowhere")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A root file system with a shell that needs no library: without busybox, only the head of one."""
    top = tmp_path_factory.mktemp("root")
    (top / "bin").mkdir()
    busybox = shutil.which("busybox")
    (top / "bin/busybox").write_bytes(pathlib.Path(busybox).read_bytes() if busybox else elf())
    (top / "bin/busybox").chmod(0o755)
    shutil.copy("/bin/ls", top / "dynamic")
    for name, link in (
        ("bin/sh", "/bin/busybox"),
        ("sh", "bin/../bin/sh"),
        ("loop", "/loop"),
        ("out", "../../../../bin/sh"),
    ):
        (top / name).symlink_to(link)
    for name, content in FILES.items():
        (top / name[1:]).parent.mkdir(exist_ok=True)
        (top / name[1:]).write_bytes(content)
        (top / name[1:]).chmod(0o755)
    (top / "usr").mkdir()
    return top


def config(root: object, *args: str, mounts: t.Sequence[dict[str, t.Any]] = (), **process: t.Any) -> dict[str, t.Any]:
    given = {"args": list(args), "env": ["PATH=/nowhere:/bin"], "cwd": "/", **process}
    return {"root": {"path": str(root)}, "process": given, "mounts": list(mounts)}


def bind(source: object, destination: str, kind: str = "bind") -> dict[str, t.Any]:
    return {"destination": destination, "type": kind, "source": str(source), "options": ["rbind"]}


def fault(made: dict[str, t.Any]) -> str:
    try:
        program_file.check(made)
    except InvalidOption as exc:
        return exc.message
    return ""


@X86
@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("/arm", "it is for arm64, and this host is x86_64"), ("/s390x", "it is for s390x"), ("/odd", "it is for the machine 999 of ELF"),
        ("/object", "it is an ELF file, but not a program"), ("/short", "not a program"), ("/text", "it is neither an ELF program nor a script"),
        ("/empty", "it is empty"), ("/bang", "its first line names no interpreter"), ("/blank", "names no interpreter"), ("/mz", "it is neither"),
        ("/crlf", r"its interpreter '/bin/sh\r' does not exist in the container. Its lines end with a carriage return"), ("/bom", "it is neither"),
        ("/lost", "its interpreter '/usr/bin/python3' does not exist"), ("/lost-env", "'/usr/bin/env' does not exist"),
        ("/to-arm", "it is for arm64"), ("/dynamic", "/ld-linux-x86-64.so.2' does not exist in the container"),
        ("/data/../crlf", "carriage return"),
    ],
)  # fmt: skip
def test_what_cannot_be_executed(root: pathlib.Path, program: str, why: str) -> None:
    said = fault(config(root, program))
    assert said.startswith(f"The program {program} of the container cannot be executed: ")
    assert why in said


@pytest.mark.parametrize(
    "args",
    [
        ("sh",), ("/bin/sh",), ("/sh",), ("bin/sh",), ("./sh",), ("/script",), ("/tab",), ("/nested",), ("/no-end",), ("/data/run",), ("/out",),
        # The runtime reports these.
        ("missing",), ("/missing",), ("/loop",), ("/bin",), ("/text/x",), ("/bin/sh\0",), ("",), ("a" * 300,),
    ],
)  # fmt: skip
def test_what_can_be_executed_or_is_left_to_the_runtime(root: pathlib.Path, args: tuple[str, ...]) -> None:
    assert fault(config(root, *args)) == ""


@pytest.mark.impure
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("busybox") is None, reason="It needs root, and a busybox.")
@pytest.mark.parametrize("program", [*FILES, "/dynamic", "/bin/sh", "/sh"])
def test_the_kernel_agrees(root: pathlib.Path, program: str) -> None:
    code = "import os, sys\nos.chroot(sys.argv[1]); os.chdir('/')\ntry: os.execve(sys.argv[2], [sys.argv[2], '-c', ':'], {})\nexcept OSError: os._exit(99)"
    done = subprocess.run([sys.executable, "-I", "-c", code, root, program], check=False, stdin=subprocess.DEVNULL)
    assert bool(fault(config(root, program))) == (done.returncode == 99)


def test_files_of_mounts(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "bad").write_bytes(b"x")
    (tmp_path / "bad").chmod(0o755)
    assert "neither" in fault(config(root, "/data/run", mounts=[bind(tmp_path / "bad", "/data/run")]))
    assert "neither" in fault(config(root, "/mnt/bad", mounts=[bind(tmp_path, "/mnt")]))
    assert "neither" in fault(config(root, "bad", mounts=[bind(tmp_path, "/mnt")], env=["PATH=/bin:/mnt"]))
    # A later mount covers an earlier one, and a link leads to it.
    covered = [bind(tmp_path, "/mnt"), bind(root / "data", "/mnt")]
    assert fault(config(root, "/mnt/run", mounts=covered)) == ""
    (tmp_path / "link").symlink_to("/script")
    assert fault(config(root, "/mnt/link", mounts=[bind(tmp_path, "/mnt")])) == ""
    # What is in a new file system is known only there.
    assert fault(config(root, "/text", mounts=[bind("tmpfs", "/text", "tmpfs") | {"options": []}])) == ""
    assert fault(config(root, "/data/run", mounts=[{"destination": "/data", "type": "tmpfs"}, {}])) == ""
    assert fault(config(root, "/proc/self/exe", mounts=[{"destination": "/proc", "type": "proc"}])) == ""


@X86
@pytest.mark.parametrize("kind", ["bind", "overlay"])
@pytest.mark.parametrize(
    ("place", "above"), [("/nix/store", "/nix"), ("/new", "/"), ("/a/b/c/d", "/a/b"), ("/usr/x/y", "/usr/x")]
)
def test_what_is_above_a_mount_is_made_by_the_runtime(
    root: pathlib.Path, tmp_path: pathlib.Path, kind: str, place: str, above: str
) -> None:
    (tmp_path / "bash").write_bytes((root / "bin/busybox").read_bytes())
    (tmp_path / "script").write_bytes(f"#!{place}/bash\n".encode())
    odd = f"{above}/./{os.path.relpath(place, above)}/../{os.path.basename(place)}/bash"
    (tmp_path / "odd").write_bytes(f"#!{odd}\n".encode())
    (tmp_path / "lost").write_bytes(f"#!{place}/none\n".encode())
    (tmp_path / "lost-beside").write_bytes(f"#!{above}/none/bash\n".encode())
    for each in tmp_path.iterdir():
        each.chmod(0o755)
    mount = {
        "destination": place,
        "type": kind,
        "source": str(tmp_path),
        "options": ["rbind"] if kind == "bind" else [],
    }
    mounts = [mount, bind(tmp_path, "/scripts")]
    assert fault(config(root, "/scripts/script", mounts=mounts)) == ""
    assert fault(config(root, "/scripts/odd", mounts=mounts)) == ""
    assert fault(config(root, "bash", mounts=mounts, env=[f"PATH={above}:{place}"])) == ""
    # What is not there is still found, where files are known.
    assert ("does not exist" in fault(config(root, "/scripts/lost", mounts=mounts))) is (kind == "bind")
    assert "does not exist" in fault(config(root, "/scripts/lost-beside", mounts=mounts))


@pytest.mark.parametrize("program", ["/hello.wasm", "/text", "/arm", "/empty"])
@pytest.mark.parametrize(
    ("annotations", "runtime"),
    [
        ({"run.oci.handler": "wasm"}, ""), ({"run.oci.handler": "krun", "a": "b"}, "/usr/bin/crun"), ({"run.oci.handler": "wasmedge"}, ""),
        ({"module.wasm.image/variant": "compat"}, "/usr/bin/crun"), ({"module.wasm.image/variant": "compat-smart"}, ""),
        ({}, "/usr/bin/crun-wasm"), ({}, "/usr/local/bin/krun"), (None, "crun-krun"),
    ],
)  # fmt: skip
def test_what_the_kernel_does_not_execute(
    root: pathlib.Path, program: str, annotations: dict[str, str] | None, runtime: str
) -> None:
    """crun has handlers for it."""
    made = config(root, program)
    assert fault(made)
    program_file.check({**made, "annotations": annotations}, runtime)


@pytest.mark.parametrize("runtime", ["/usr/bin/crun", "/opt/crun-1.21/bin/crun", "/usr/sbin/runc", "/opt/my-krun", ""])
def test_no_handler(root: pathlib.Path, runtime: str) -> None:
    made = {**config(root, "/text"), "annotations": {"run.oci.keep_original_groups": "1"}}
    with pytest.raises(InvalidOption):
        program_file.check(made, runtime)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory of another machine, which does not answer."""
    far = tmp_path / "share/far"
    far.mkdir(parents=True)
    for name, link in (("link", far), ("through", "link/x"), ("beside", "share/../share/far/x"), ("dir", "share")):
        (tmp_path / name).symlink_to(link)
    table = f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {far} rw - nfs4 x rw\n".encode()
    monkeypatch.setattr(mountinfo, "read", lambda: list(mountinfo.parse(table)))
    real = {name: getattr(os, name) for name in ("stat", "lstat", "readlink", "open")}

    def guard(name: str) -> t.Callable[..., t.Any]:
        def asked(path: t.Any, *words: t.Any, **more: t.Any) -> t.Any:
            text = str(path)
            if (
                text.startswith((f"{far}/", f"{tmp_path}/link/", f"{tmp_path}/through", f"{tmp_path}/dir/far/"))
                or text in waits
            ):
                if not (name == "readlink" and text == f"{tmp_path}/through"):
                    pytest.fail(f"{name} of {text}")
            return real[name](path, *words, **more)

        return asked

    waits = {str(far)}
    for name in real:
        monkeypatch.setattr(os, name, guard(name))
    return far


@pytest.mark.parametrize(
    "source", ["share/far", "share/far/x", "link", "link/x", "through", "beside", "dir/far", "dir/far/x"]
)
def test_a_file_that_another_machine_has(
    root: pathlib.Path, tmp_path: pathlib.Path, far: pathlib.Path, source: str
) -> None:
    """It may not answer, whatever leads there, and so is not touched."""
    mounts = [bind(f"{tmp_path}/{source}", "/mnt"), bind(f"{tmp_path}/{source}", "/mnt/y")]
    assert fault(config(root, "/mnt/x", mounts=mounts)) == ""


@pytest.mark.parametrize("source", ["share", "dir", ""])
def test_what_another_machine_has_below_a_source(
    root: pathlib.Path, tmp_path: pathlib.Path, far: pathlib.Path, source: str
) -> None:
    (tmp_path / "share/text").write_bytes(b"echo hello\n")
    (tmp_path / "share/text").chmod(0o755)
    mounts, below = [bind(f"{tmp_path}/{source}", "/mnt")], "share/" if not source else ""
    assert fault(config(root, f"/mnt/{below}far/x", mounts=mounts)) == ""
    assert fault(config(root, f"/mnt/{below}far", mounts=mounts)) == ""
    assert fault(config(root, f"/mnt/{below}text", mounts=mounts)) != ""


def test_what_another_machine_has_below_the_root(tmp_path: pathlib.Path, far: pathlib.Path) -> None:
    (tmp_path / "share/to").symlink_to("/far/x")
    assert fault(config(tmp_path / "share", "/far/x")) == ""
    assert fault(config(tmp_path / "share", "/to")) == ""
