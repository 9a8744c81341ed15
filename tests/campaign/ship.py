# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Copy to a host and start there: the collection's code, ansible-core's module_utils, and the trials."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import typing as t

from ..hosts import access
from ..hosts.command import HostsError
from ..hosts.fleet import Fleet

_COLLECTION = "ansible_collections/longshore/oci"


class Machine:
    """A host of bin/hosts, or this machine."""

    def __init__(self, name: str, state_dir: str) -> None:
        self.name = name
        self._fleet = Fleet.at(state_dir)
        self._host = None if name == "local" else self._fleet.running(name)

    @property
    def users(self) -> tuple[str, ...]:
        return ("root", "app") if self._host else ("root",)

    def start(self, words: t.Sequence[str], user: str = "root", **options: t.Any) -> subprocess.Popen[t.Any]:
        argv = list(words)
        if self._host:
            argv = [*access.ssh_argv(self._fleet, self._host, user=user), shlex.join(words)]
        return subprocess.Popen(argv, **options)

    def run(self, words: t.Sequence[str], data: bytes = b"", user: str = "root") -> str:
        child = self.start(words, user, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = child.communicate(data, timeout=300)
        if child.returncode != 0:
            raise HostsError(f"{shlex.join(words)}: {err.decode(errors='replace').strip()}")
        return str(out.decode())


def payload(collection: str) -> bytes:
    """An archive of all that runs on a host. ``collection``: the checkout to test."""
    import ansible.module_utils
    import ansible.release

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        # As Ansible's own wrapper does it: the package has nothing but its version.
        _add_text(archive, "ansible/__init__.py", f"__version__ = {ansible.release.__version__!r}\n__author__ = ''\n")
        _add(archive, os.path.dirname(ansible.module_utils.__file__), "ansible/module_utils")
        for part in ("modules", "module_utils"):
            _add(archive, f"{collection}/plugins/{part}", f"{_COLLECTION}/plugins/{part}")
        _add(archive, os.path.dirname(os.path.abspath(__file__)), "campaign")
    return stream.getvalue()


def _add(archive: tarfile.TarFile, path: str, name: str) -> None:
    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mode = 0o755 if info.isdir() else 0o644
        return None if "__pycache__" in info.name else info

    archive.add(path, name, filter=plain)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text), 0o644
    archive.addfile(info, io.BytesIO(text.encode()))


def install(machine: Machine, directory: str, data: bytes) -> None:
    """Put the payload there, compiled, for every user to read."""
    script = 'umask 022; mkdir "$1" && cd "$1" && tar -x --no-same-owner -f - && python3 -m compileall -q . >/dev/null'
    machine.run(["sh", "-c", script, "sh", directory], data)


def begin(machine: Machine, directory: str, order: dict[str, t.Any]) -> subprocess.Popen[t.Any]:
    """Start the trials of one user. Their output is on the standard output of this process."""
    path = f"/var/tmp/{order['id']}-order-{order['user']}.json"
    user = order["user"]
    machine.run(["sh", "-c", 'cat >"$1"', "sh", path], json.dumps(order).encode(), user)
    words = ["env", f"PYTHONPATH={directory}", "python3", "-m", "campaign.onhost.main", path]
    return machine.start(words, user, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)


def clear(machine: Machine, directory: str, identity: str) -> None:
    machine.run(["sh", "-c", 'rm -rf --one-file-system -- "$1" "/var/tmp/$2"-order-*', "sh", directory, identity])
