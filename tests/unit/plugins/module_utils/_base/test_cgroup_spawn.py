# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import program
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup


class TestSpawn:
    """Two ways to start a program, which it must not be able to tell apart."""

    SCRIPT = """
import json, os, signal
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink("/proc/self/fd/" + fd)
    except FileNotFoundError:
        pass
ignored = [line for line in open("/proc/self/status") if line.startswith("SigIgn")]
print(json.dumps({"fds": fds, "cwd": os.getcwd(), "env": dict(os.environ), "leader": os.getsid(0) == os.getpid(),
    "signals": ignored, "cgroup": open("/proc/self/cgroup").read()}))
"""

    @pytest.fixture
    def spawn_directory(self) -> t.Iterator[str]:
        """A directory of cgroup2, which a hybrid host has too."""
        root = cgroup.layout().v2
        assert root is not None, "the tests need cgroup2 to be mounted"
        path = f"{root}/longshore-unit-{os.getpid()}"
        os.mkdir(path)
        yield path
        os.rmdir(path)

    def _look(self, tmp_path: pathlib.Path, **more: t.Any) -> tuple[dict[str, t.Any], int]:
        given, kept = os.pipe()
        leaked = os.dup(given)
        os.set_inheritable(leaked, True)
        with open(tmp_path / "output", "wb") as output:
            pid, self.placed = program.spawn(
                [sys.executable, "-c", self.SCRIPT], directory=str(tmp_path), environment={"WORD": "given"},
                output=output.fileno(), inherited=(given,), **more,
            )  # fmt: skip
        _pid, status = os.waitpid(pid, 0)
        for descriptor in (given, kept, leaked):
            os.close(descriptor)
        assert status == 0, (tmp_path / "output").read_text()
        return json.loads((tmp_path / "output").read_text()), given

    @pytest.mark.parametrize("born", [False, True])
    def test_what_the_program_gets(self, tmp_path: pathlib.Path, spawn_directory: str, born: bool) -> None:
        seen, given = self._look(tmp_path, cgroup=spawn_directory if born else None)
        output = str(tmp_path / "output")
        own = {number: path for number, path in seen["fds"].items() if not path.startswith("/proc/")}
        assert own.keys() == {"0", "1", "2", str(given)}
        assert [own["0"], own["1"], own["2"]] == ["/dev/null", output, output]
        assert seen["cwd"] == str(tmp_path)
        assert seen["leader"]
        # LC_CTYPE is Python's own doing.
        assert seen["env"].keys() - {"LC_CTYPE"} == {"PATH", "LC_ALL", "HOME", "WORD"} | (
            {"XDG_RUNTIME_DIR"} if os.geteuid() else set()
        )
        assert (f"0::/{os.path.basename(spawn_directory)}\n" in seen["cgroup"]) is self.placed is born

    def test_both_ways_reset_the_same_signals(self, tmp_path: pathlib.Path, spawn_directory: str) -> None:
        seen = [self._look(tmp_path, cgroup=place)[0]["signals"] for place in (None, spawn_directory)]
        assert seen[0] == seen[1]

    def test_a_program_with_threads_does_not_fork_raw(self, tmp_path: pathlib.Path, spawn_directory: str) -> None:
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        try:
            seen, _given = self._look(tmp_path, cgroup=spawn_directory)
        finally:
            done.set()
            thread.join()
        assert f"/{os.path.basename(spawn_directory)}\n" not in seen["cgroup"]
        assert not self.placed

    def test_where_the_kernel_refuses(self, tmp_path: pathlib.Path) -> None:
        """/proc is no cgroup: EBADF. The program runs nonetheless."""
        seen, _given = self._look(tmp_path, cgroup="/proc")
        assert seen["cwd"] == str(tmp_path)

    def test_what_cannot_be_run_says_so(self, tmp_path: pathlib.Path, spawn_directory: str) -> None:
        with open(tmp_path / "output", "wb") as output:
            pid, _placed = program.spawn(
                ["/nowhere/program"],
                directory="/",
                environment={},
                output=output.fileno(),
                inherited=(),
                cgroup=spawn_directory,
            )
        assert os.waitpid(pid, 0)[1] == 127 << 8
        assert "cannot run /nowhere/program: [Errno 2]" in (tmp_path / "output").read_text()

    def test_nothing_stays_open(self, tmp_path: pathlib.Path, spawn_directory: str, open_files: t.Any) -> None:
        before = open_files()
        self._look(tmp_path, cgroup=spawn_directory)
        assert open_files() == before
