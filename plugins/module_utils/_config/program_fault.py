# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out why the kernel cannot execute a program of a container."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import typing as t

from .._base.files import read_text

# From elf(5), by the machine of uname(2): what its kernels run. Any other machine is not checked. A task with the personality of 32
# bits does not know that of its kernel.
_MACHINES = {
    "x86_64": (62, 3), "aarch64": (183, 40), "ppc64le": (21,), "s390x": (22,), "riscv64": (243,), "loongarch64": (258,),
}  # fmt: skip
_NAMES = {
    3: "386",
    8: "mips",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "amd64",
    183: "arm64",
    243: "riscv64",
    258: "loong64",
}
_HEAD, _SHEBANG, _MOST_SCRIPTS, _MOST_PATH = 4096, 256, 4, 4096
BINFMT = "/proc/sys/fs/binfmt_misc"


class Files(t.Protocol):
    """The files of a container. The methods raise OSError."""

    def open(self, path: str) -> t.BinaryIO | None: ...
    def resolve(self, path: str) -> str: ...


def find(tree: Files, path: str, cwd: str, *, binfmt: str = "", scripts: int = 0) -> str:
    """Return why the kernel cannot execute a file, or an empty text."""
    binfmt = binfmt or BINFMT
    with contextlib.ExitStack() as stack:
        stream = tree.open(path)
        if stream is None:
            return ""
        head = stack.enter_context(stream).read(_HEAD)
        if scripts and not os.fstat(stream.fileno()).st_mode & 0o111:
            return f"its interpreter {path!a} is not executable"
        if _is_handled(head, path, binfmt):
            return ""
        # Without its file system, a task cannot know which programs have handlers.
        unknown = os.path.isdir(binfmt) and not os.path.exists(f"{binfmt}/status")
        if head[:4] == b"\x7fELF":
            fault = _elf_fault(head)
            if fault and unknown:
                return ""
            needed = "" if fault else _interpreter(stream, head)
        elif head[:2] == b"#!":
            line = os.fsdecode(head[2:_SHEBANG].partition(b"\n")[0])
            needed = next(iter(line.strip(" \t").replace("\t", " ").split(" ")), "")
            fault = "" if needed else "its first line names no interpreter"
            # load_script() of the kernel: an interpreter that nothing ends in that is not complete.
            if b"\n" not in head[:_SHEBANG] and not re.search(rb"[ \t\0]", head[2 : _SHEBANG - 1].lstrip(b" \t")):
                fault = (
                    f"its first line is longer than the {_SHEBANG} bytes that the kernel reads"
                    if head[_SHEBANG:]
                    else fault
                )
        elif unknown and head:
            return ""
        else:
            return "it is empty" if not head else "it is neither an ELF program nor a script that begins with #!"
    if fault or not needed:
        return fault
    wanted = os.path.join(cwd, needed)
    try:
        tree.resolve(wanted)
    except (FileNotFoundError, NotADirectoryError):
        ends = " Its lines end with a carriage return (\\r), as on Windows" if needed.endswith("\r") else ""
        return f"its interpreter {needed!a} does not exist in the container{'.' if ends else ''}{ends}"
    return find(tree, wanted, cwd, binfmt=binfmt, scripts=scripts + 1) if scripts < _MOST_SCRIPTS else ""


def _elf_fault(head: bytes) -> str:
    order: t.Literal["little", "big"] = "little" if head[5:6] == b"\1" else "big"
    kind, machine = (int.from_bytes(head[at : at + 2], order) for at in (16, 18))
    if len(head) < 52 or kind not in (2, 3):  # ET_EXEC, ET_DYN
        return "it is an ELF file, but not a program"
    here = os.uname().machine
    if here in _MACHINES and (machine not in _MACHINES[here] or order != sys.byteorder):
        return f"it is for {_NAMES.get(machine, f'the machine {machine} of ELF')}, and this host is {here}"
    return ""


def _interpreter(stream: t.BinaryIO, head: bytes) -> str:
    """Return the path in PT_INTERP, or an empty text."""
    wide = head[4] == 2

    def number(data: bytes, at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], sys.byteorder)

    start, size, count = (
        (number(head, 32, 8), number(head, 54, 2), number(head, 56, 2))
        if wide
        else (number(head, 28, 4), number(head, 42, 2), number(head, 44, 2))
    )
    stream.seek(min(start, 1 << 62))
    table = stream.read(size * min(count, 1024))
    for at in range(0, len(table) - size + 1, size or len(table)):
        if number(table, at, 4) == 3:  # PT_INTERP
            where, length = (
                (number(table, at + 8, 8), number(table, at + 32, 8))
                if wide
                else (number(table, at + 4, 4), number(table, at + 16, 4))
            )
            stream.seek(min(where, 1 << 62))
            return os.fsdecode(stream.read(min(length, _MOST_PATH)).partition(b"\0")[0])
    return ""


def _is_handled(head: bytes, path: str, binfmt: str) -> bool:
    """Tell whether the kernel gives the file to another program, such as an emulator (binfmt_misc)."""
    names = {*os.listdir(binfmt)} - {"register", "status"} if os.path.isdir(binfmt) else set()
    if (read_text(os.path.join(binfmt, "status")) or "").startswith("disabled"):
        return False
    for name in sorted(names):
        text = read_text(os.path.join(binfmt, name)) or ""
        found = dict(line.partition(" ")[::2] for line in text.split("\n")[1:])
        extension, magic = found.get("extension", ""), found.get("magic", "")
        if not text.startswith("enabled\n"):
            continue
        if extension and path.endswith(extension):
            return True
        if re.fullmatch("([0-9a-f]{2})+", magic):
            wanted, at = bytes.fromhex(magic), int(found.get("offset") or 0)
            mask = bytes.fromhex(found.get("mask") or "ff" * len(wanted))
            data = head[at : at + len(wanted)]
            if len(data) == len(wanted) and all((a ^ b) & c == 0 for a, b, c in zip(data, wanted, mask)):
                return True
    return False


def local(path: str, remote: t.Container[str]) -> str | None:
    """Return a path of the host without links, or None for one at or below ``remote`` places, in which nothing is touched."""
    done, todo, links = "", path.split("/")[::-1], 0
    while todo:
        name = todo.pop()
        if name in ("", ".", ".."):
            done = done.rpartition("/")[0] if name == ".." else done
            continue
        here = f"{done}/{name}"
        if here in remote:
            return None
        try:
            target = os.readlink(here)
        except OSError:  # It is no link, or does not exist.
            done = here
            continue
        links += 1
        if links > 40:
            return None
        done = "" if target.startswith("/") else done
        todo += target.split("/")[::-1]
    return done or "/"
