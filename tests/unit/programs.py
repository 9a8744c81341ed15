# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small programs in the place of conmon and the runtimes, for what the real ones do only when they are broken."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap

from ansible_collections.longshore.oci.plugins.module_utils._base import errors


def python_environment() -> dict[str, str]:
    """For a Python of its own that shall find the collection where this one has found it."""
    collections = errors.__file__
    for _level in range(7):
        collections = os.path.dirname(collections)
    return {**os.environ, "PYTHONPATH": collections, "PYTHONDONTWRITEBYTECODE": "1"}


def script(path: object, text: str) -> str:
    """A shell script."""
    return _executable(path, f"#!/bin/sh\n{textwrap.dedent(text)}")


def conmon(path: object, text: str) -> str:
    """A conmon in Python, with ``sync`` and ``start`` as its two pipes, and ``report`` to say something on the first."""
    prologue = """
        import json, os, signal, sys
        sync, start = (int(os.environ.get(name, -1)) for name in ("_OCI_SYNCPIPE", "_OCI_STARTPIPE"))
        def report(text):
            os.write(sync, text.encode())
        """
    # -S -E: it starts in a third of the time, and nothing of the caller's gets in.
    return _executable(path, f"#!{sys.executable} -SE\n{textwrap.dedent(prologue)}\n{textwrap.dedent(text)}")


def python(path: object, text: str) -> str:
    """A program in Python."""
    return _executable(path, f"#!{sys.executable} -SE\n{text}")


def with_word(word: str) -> list[int]:
    """The processes that have exactly this word in their command line, whatever they are."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as stream:
            found += [int(entry)] if word in stream.read().split("\0") else []
    return found


def _executable(path: object, text: str) -> str:
    name = str(path)
    # Written and closed before it is renamed: no process that another thread forks just now can hold it open for
    # writing, which would make its execution fail (ETXTBSY).
    with open(f"{name}.new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(f"{name}.new", 0o755)
    os.rename(f"{name}.new", name)
    return name
