# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._exec import failure
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import SessionPaths
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths, Store
from ansible_collections.longshore.oci.tests.unit import builders

# What the runtimes said: runc 1.1.5 and 1.1.15, crun 1.21.
RUNC = "exec failed: unable to start container process: "


@pytest.mark.pure
class TestExplain:
    @pytest.mark.parametrize(
        ("said", "rc", "words"),
        [
            (RUNC + 'exec: "nosuch": executable file not found in $PATH', 127, "it cannot be found"),
            (RUNC + 'exec: "/nosuch": stat /nosuch: no such file or directory', 127, "it cannot be found"),
            (RUNC + "exec /lost-interpreter: no such file or directory", 127, "it cannot be found"),
            ("executable file `nosuch` not found in $PATH: No such file or directory", 127, "it cannot be found"),
            ("executable file `/nosuch` not found: No such file or directory", 127, "it cannot be found"),
            ("exec `/lost-interpreter`: No such file or directory", 127, "it cannot be found"),
            (RUNC + 'exec: "/etc/passwd": permission denied', 126, "it cannot be executed"),
            (RUNC + 'exec: "/etc": is a directory', 126, "it cannot be executed"),
            (RUNC + "exec /bad: exec format error", 126, "it cannot be executed"),
            ("open executable: Permission denied", 126, "it cannot be executed"),
            ("exec `/bad`: Exec format error", 126, "it cannot be executed"),
            (
                RUNC + 'chdir to cwd ("/nope") set in config.json failed: no such file or directory',
                None,
                "chdir to cwd",
            ),
            (RUNC + 'chdir to cwd ("/root") set in config.json failed: permission denied', None, "chdir to cwd"),
            ("chdir to `/nope`: No such file or directory", None, "chdir to"),
            (RUNC + "open /dev/ptmx: no such file or directory", None, "/dev/ptmx"),
            ("cannot exec in a paused container", None, "cannot exec in a paused"),
        ],
    )
    def test_what_runtimes_say(self, tmp_path: pathlib.Path, said: str, rc: int | None, words: str) -> None:
        failed = self._explain(tmp_path, ProgramFailed(said))
        assert failed.details.get("rc") == rc
        assert words in failed.message
        assert failed.message.startswith("Cannot run prog in the container web: ")
        assert failed.details["cmd"] == ["prog", "-v"]

    def _explain(self, tmp_path: pathlib.Path, exc: t.Any, **files: str) -> t.Any:
        paths = SessionPaths(Paths("web", state_dir=f"{tmp_path}/s", run_dir=f"{tmp_path}/r"), "one")
        os.makedirs(paths.bundle)
        for name, text in files.items():
            pathlib.Path(getattr(paths, name)).write_text(text)
        return failure.explain(exc, builders.record(), paths, Command(("prog", "-v")))

    def test_the_log_of_the_runtime_says_most(self, tmp_path: pathlib.Path) -> None:
        log = '{"level":"warning","msg":"hm"}\n{"level":"error","msg":"it is so"}\n'
        failed = self._explain(tmp_path, ProgramFailed("conmon says"), runtime_log=log, conmon_log="died\n")
        assert failed.message.endswith(": it is so.")
        assert failed.details["runtime_log"] == log.splitlines()
        assert failed.details["conmon_log"] == ["died"]

    @pytest.mark.parametrize(
        ("conmon_log", "words"), [("of hunger\n", "of hunger"), ("", "the runtime ended without a message")]
    )
    def test_a_bare_end_of_file(self, tmp_path: pathlib.Path, conmon_log: str, words: str) -> None:
        """conmon 2.2.0 and 2.2.1 report no failed exec at all."""
        assert self._explain(tmp_path, ProgramFailed(""), conmon_log=conmon_log).message.endswith(f": {words}.")

    def test_the_kind_stays(self, tmp_path: pathlib.Path) -> None:
        assert isinstance(self._explain(tmp_path, DeadlineExceeded("too late")), DeadlineExceeded)


@pytest.mark.pure
class TestLate:
    """What a runtime tells of a program after it has reported its start. test_run.py has all of it with runc."""

    def _late(
        self, tmp_path: pathlib.Path, argv: str, stderr: str, *, stdout: str = "", log: str = "", tty: bool = False
    ) -> t.Any:
        own = Paths("web", state_dir=f"{tmp_path}/s", run_dir=f"{tmp_path}/r")
        paths = SessionPaths(own, "one")
        os.makedirs(paths.bundle, exist_ok=True)
        pathlib.Path(paths.runtime_log).write_text(log)
        store = Store(state_dir=f"{tmp_path}/s", run_dir=f"{tmp_path}/r")
        # This process has the files of this host.
        record = builders.record(init=identify(os.getpid()))
        pathlib.Path(f"{tmp_path}/lost").write_text("#!/nowhere\n")
        pathlib.Path(f"{tmp_path}/good").write_text("#!/bin/sh\n")
        command = Command((argv.format(tmp_path),), cwd=str(tmp_path), tty=tty)
        output = (stdout.format(tmp_path).encode(), stderr.format(tmp_path).encode())
        return failure.late(store, record, paths, command, output)

    @pytest.mark.parametrize(
        ("argv", "stderr", "tty"),
        [
            ("{}/lost", "exec {}/lost: no such file or directory\n", False), ("lost", "exec {}/lost: no such file or directory\n", False),
            ("./lost", "exec ./lost: no such file or directory\n", False), ("{}/lost", "exec {}/lost: no such file or directory\r\n", True),
        ],
    )  # fmt: skip
    def test_what_runc_writes(self, tmp_path: pathlib.Path, argv: str, stderr: str, tty: bool) -> None:
        out, err = (stderr, "") if tty else ("", stderr)
        failed = self._late(tmp_path, argv, err, stdout=out, tty=tty)
        assert failed.details["rc"] == 127
        assert "it cannot be found (exec " in failed.message

    @pytest.mark.parametrize(
        ("argv", "stderr", "stdout"),
        [
            ("/bin/sh", "exec /bin/sh: cannot find the backup\n", ""), ("/bin/sh", "exec /bin/sh: no such file or directory\n", ""),
            ("{}/good", "exec {}/good: exec format error\n", ""), ("sh", "exec /bin/sh: permission denied\n", ""),
            ("{}/good", "exec {}/lost: no such file or directory\n", ""), ("{}/lost", "", ""), ("/bin/sh", "", ""),
            ("{}/lost", "exec {}/lost: no such file or directory\n", "output"), ("{}/lost", "exec {}/lost: no such file\nmore\n", ""),
            ("{}/lost", "exec {}/lost: no such file or directory", ""), ("{}/gone", "exec {}/gone: no such file or directory\n", ""),
        ],
    )  # fmt: skip
    def test_what_a_command_writes(self, tmp_path: pathlib.Path, argv: str, stderr: str, stdout: str) -> None:
        assert self._late(tmp_path, argv, stderr, stdout=stdout) is None

    @pytest.mark.parametrize(
        ("said", "rc"),
        [
            ("exec: No such file or directory", 127), ("exec `/lost`: No such file or directory", 127), ("exec: Exec format error", 126),
            ("exec `/bad`: Permission denied", 126), ("something else", None), ("", None),
        ],
    )  # fmt: skip
    def test_what_crun_logs(self, tmp_path: pathlib.Path, said: str, rc: int | None) -> None:
        """libcrun_fail_with_error() after the byte that reports the start."""
        failed = self._late(tmp_path, "/bin/sh", "", log=json.dumps({"level": "error", "msg": said}))
        assert (failed and failed.details["rc"]) == rc
