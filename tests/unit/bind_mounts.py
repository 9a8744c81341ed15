# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process with bind mounts in a mount namespace of its own, as a container has them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t


def bind(source: object, place: object, **more: t.Any) -> dict[str, t.Any]:
    return {"destination": str(place), "type": "bind", "source": str(source), "options": ["rbind", "ro"], **more}


@contextlib.contextmanager
def container(*mounts: t.Mapping[str, t.Any]) -> t.Iterator[int]:
    """Yield the pid of a process in a mount namespace of its own, with these mounts."""
    script = 'while [ $# -gt 0 ]; do mount --bind "$1" "$2" || exit; shift 2; done; echo; read _'
    words = [os.path.realpath(path) for mount in mounts for path in (mount["source"], mount["destination"])]
    argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"\n"
            yield process.pid
        finally:
            process.stdin.close()
