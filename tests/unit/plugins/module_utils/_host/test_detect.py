# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import program
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, detect, remembered
from ansible_collections.longshore.oci.plugins.module_utils._host.cgroup import Layout
from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Program
from ansible_collections.longshore.oci.tests.unit import programs


@pytest.fixture
def directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The only directory in which programs are looked for."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr(program, "SEARCH_PATH", "/nowhere")
    monkeypatch.setattr(detect, "_CONMON_DIRECTORIES", ())
    # Not the cgroups of this machine, which may be none that crun takes.
    monkeypatch.setattr(cgroup, "layout", lambda: Layout("/sys/fs/cgroup", ()))
    return tmp_path / "bin"


def _program(directory: pathlib.Path, name: str, says: str) -> str:
    """A program that notes each of its runs."""
    return programs.script(directory / name, f"echo run >>{directory}/runs\n{says}")


def _runs(directory: pathlib.Path) -> int:
    path = directory / "runs"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


class TestVersions:
    def test_asked_once_and_remembered_for_the_next_host(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        path = _program(directory, "runc", "echo runc version 1.2.3")
        first = Host(run_dir=f"{tmp_path}/run")
        assert [first.runtime("runc") for _time in range(3)] == [Program("runc", path, "1.2.3")] * 3
        first.remember()
        assert Host(run_dir=f"{tmp_path}/run").runtime("auto") == Program("runc", path, "1.2.3")
        assert _runs(directory) == 1

    def test_a_question_writes_nothing(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "runc", "echo runc version 1.2.3")
        checking = Host(run_dir=f"{tmp_path}/run")
        for _time in range(2):
            assert checking.runtime("runc").version == "1.2.3"
        assert _runs(directory) == 1
        assert not (tmp_path / "run").exists()

    def test_only_what_is_new_is_written(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "runc", "echo runc version 1.2.3")
        host = Host(run_dir=f"{tmp_path}/run")
        host.remember()
        assert not (tmp_path / "run").exists()
        host.runtime("runc")
        host.remember()
        file = tmp_path / "run" / "programs.json"
        before = file.stat()
        host.remember()
        assert file.stat() == before

    def test_what_another_task_has_written_in_the_meantime_stays(
        self, directory: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        for name in ("runc", "crun"):
            _program(directory, name, f"echo {name} version 1.2.3")
        first, second = Host(run_dir=f"{tmp_path}/run"), Host(run_dir=f"{tmp_path}/run")
        assert (first.runtime("runc").name, second.runtime("crun").name) == ("runc", "crun")
        first.remember()
        second.remember()
        assert sorted(remembered.runtimes(f"{tmp_path}/run")) == ["crun", "runc"]

    def test_an_upgrade_is_seen(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "runc", "echo runc version 1.2.3")
        long_lived = Host(run_dir=f"{tmp_path}/run")
        assert long_lived.runtime("runc").version == "1.2.3"
        _program(directory, "runc", "echo runc version 1.2.4")
        assert long_lived.runtime("runc").version == "1.2.4"
        assert Host(run_dir=f"{tmp_path}/run").runtime("runc").version == "1.2.4"

    def test_a_damaged_memory_is_no_memory(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "runc", "echo runc version 1.2.3")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "programs.json").write_text("{", encoding="utf-8")
        assert Host(run_dir=f"{tmp_path}/run").runtime("runc").version == "1.2.3"

    def test_threads_ask_once_together(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "runc", "echo runc version 1.2.3")
        shared, found = Host(run_dir=f"{tmp_path}/run"), []
        barrier = threading.Barrier(8)

        def ask() -> None:
            barrier.wait()
            found.append(shared.runtime("runc").version)

        threads = [threading.Thread(target=ask) for _number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["1.2.3"] * 8
        assert _runs(directory) == 1

    def test_another_runtime_may_word_it_differently(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        path = _program(directory, "youki", "echo 0.5")
        assert Host(run_dir=f"{tmp_path}/run").runtime("youki") == Program("youki", path, "unknown")


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(
        ("says", "error"),
        [
            ("echo hello", "cannot be used: its answer to --version was 'hello'"),
            ("echo runc version 1; echo broken >&2; exit 1", "cannot be used: its answer to --version was 'broken'"),
            ("kill -9 $$", "cannot be used: its answer to --version was ''"),
        ],
    )
    def test_a_program_that_is_broken(
        self, directory: pathlib.Path, tmp_path: pathlib.Path, says: str, error: str
    ) -> None:
        path = _program(directory, "runc", says)
        host = Host(run_dir=f"{tmp_path}/run")
        with pytest.raises(MissingPrerequisite, match=f"^{path} {error}"):
            host.runtime("runc")
        host.remember()
        # Not remembered: it may be repaired.
        assert not (tmp_path / "run").exists()

    def test_a_program_for_another_machine(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        (directory / "runc").write_bytes(b"\x7fELF" + b"\0" * 60)
        os.chmod(directory / "runc", 0o755)
        with pytest.raises(MissingPrerequisite, match=r"Exec format error\. Check that it is built for this machine\."):
            Host(run_dir=f"{tmp_path}/run").runtime("runc")

    @pytest.mark.pure
    @pytest.mark.parametrize("wanted", ["runc", "/opt/runc"])
    def test_a_runtime_that_is_not_there(self, directory: pathlib.Path, tmp_path: pathlib.Path, wanted: str) -> None:
        with pytest.raises(
            MissingPrerequisite, match=f"The runtime {wanted} is not on this host.*longshore.oci.runtime installs"
        ):
            Host(run_dir=f"{tmp_path}/run").runtime(wanted)

    def test_none_at_all_with_each_reason(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "crun", "exit 1")
        with pytest.raises(
            MissingPrerequisite, match=r"^No runtime can run on this host: .*crun cannot be used.*runc is not on"
        ):
            Host(run_dir=f"{tmp_path}/run").runtime("auto")

    @pytest.mark.pure
    @pytest.mark.parametrize(
        ("wanted", "says"), [(None, r"\(PATH and the usual places\)"), ("/opt/conmon", "/opt/conmon")]
    )
    def test_no_conmon(self, directory: pathlib.Path, tmp_path: pathlib.Path, wanted: str | None, says: str) -> None:
        with pytest.raises(MissingPrerequisite, match=f"conmon is not on this host.*{says}"):
            Host(run_dir=f"{tmp_path}/run").conmon(wanted)


class TestChoice:
    def test_crun_comes_first(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        for name in ("runc", "crun"):
            _program(directory, name, f"echo {name} version 1.2.3")
        assert Host(run_dir=f"{tmp_path}/run").runtime("auto").name == "crun"

    def test_a_broken_one_is_passed_over(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        _program(directory, "crun", "exit 1")
        _program(directory, "runc", "echo runc version 1.2.3")
        assert Host(run_dir=f"{tmp_path}/run").runtime("auto").name == "runc"

    def _hybrid(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, controllers: str) -> Layout:
        (tmp_path / "unified").mkdir()
        (tmp_path / "unified" / "cgroup.controllers").write_text(controllers, encoding="utf-8")
        where = Layout(f"{tmp_path}/unified", (("cpu", "/sys/fs/cgroup/cpu"),))
        monkeypatch.setattr(cgroup, "layout", lambda: where)
        return where

    def test_one_that_would_refuse_is_passed_over(
        self, directory: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("runc", "crun"):
            _program(directory, name, f"echo {name} version 1.2.3")
        self._hybrid(tmp_path, monkeypatch, "hugetlb\n")
        chosen = Host(run_dir=f"{tmp_path}/run")
        assert chosen.runtime("auto").name == "runc"
        with pytest.raises(
            MissingPrerequisite, match=r"The runtime crun cannot run on this host: .*hybrid.*Use runc\.$"
        ):
            chosen.runtime("crun")
        with pytest.raises(MissingPrerequisite, match="hybrid"):
            chosen.runtime(f"{directory}/crun")

    @pytest.mark.pure
    @pytest.mark.parametrize(("controllers", "refuses"), [("hugetlb rdma\n", True), ("\n", False), ("", False)])
    def test_what_crun_refuses(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, controllers: str, refuses: bool
    ) -> None:
        """crun looks for controllers in cgroup v2 beside those in v1 (libcrun/cgroup-utils.c)."""
        assert detect.is_hybrid(self._hybrid(tmp_path, monkeypatch, controllers)) is refuses

    @pytest.mark.pure
    def test_crun_takes_what_is_not_hybrid(self) -> None:
        assert not detect.is_hybrid(Layout("/sys/fs/cgroup", ()))
        assert not detect.is_hybrid(Layout(None, (("cpu", "/sys/fs/cgroup/cpu"),)))

    @pytest.mark.parametrize(
        ("running", "wanted", "taken"),
        [
            (True, "auto", "systemd"), (False, "auto", "cgroupfs"), (True, "systemd", "systemd"),
            (True, "cgroupfs", "cgroupfs"), (False, "cgroupfs", "cgroupfs"),
        ],
    )  # fmt: skip
    def test_the_manager_of_cgroups(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, running: bool, wanted: str, taken: str
    ) -> None:
        monkeypatch.setattr(detect, "systemd_runs", lambda: running)
        assert Host(run_dir=str(tmp_path)).cgroup_manager(CgroupManager(wanted)) == taken

    @pytest.mark.pure
    def test_no_systemd(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(detect, "systemd_runs", lambda: False)
        with pytest.raises(
            MissingPrerequisite, match=r"systemd does not run on this host\. Use cgroup_manager: cgroupfs"
        ):
            Host(run_dir=str(tmp_path)).cgroup_manager(CgroupManager.SYSTEMD)


def test_the_programs_of_this_host(tmp_path: pathlib.Path) -> None:
    real = Host(run_dir=str(tmp_path))
    found: list[t.Any] = [real.runtime("auto"), real.conmon(None)]
    assert [program.name for program in found] in (["runc", "conmon"], ["crun", "conmon"])
    assert all(program.version[0].isdigit() for program in found)


class TestWhatAProgramIs:
    """By what it says, not by the name of its file."""

    @pytest.mark.parametrize(
        ("file", "says", "found"),
        [
            ("my-runtime", "crun version 1.21", ("crun", "1.21")),
            ("crun", "runc version 1.1.5", ("runc", "1.1.5")),
            ("run", "youki version: 0.5.7", ("youki", "0.5.7")),
            ("run", "runsc version release-20241217.0", ("runsc", "release-20241217.0")),
            ("kata", "kata-runtime  : 3.2.0", ("kata", "unknown")),
        ],
    )
    def test_name_and_version(
        self, directory: pathlib.Path, tmp_path: pathlib.Path, file: str, says: str, found: tuple[str, str]
    ) -> None:
        path = _program(directory, file, f"echo '{says}'")
        name, version = found
        for _time in range(2):
            host = Host(run_dir=f"{tmp_path}/run")
            assert host.runtime(path) == Program(name, path, version)
            host.remember()
        assert _runs(directory) == 1
        assert remembered.runtimes(f"{tmp_path}/run") == {name: path}

    def test_what_an_earlier_release_has_remembered(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """It has the version without the name, and finds its own keys as they were."""
        path = _program(directory, "my-runtime", "echo crun version 1.21")
        stat = os.stat(path)
        key = f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "programs.json").write_text(
            json.dumps({key: "1.21", "/bin/conmon 1 2 3": "2.1.6", "bad": 5})
        )
        host = Host(run_dir=f"{tmp_path}/run")
        assert host.runtime(path) == Program("crun", path, "1.21")
        host.remember()
        kept = json.loads((tmp_path / "run" / "programs.json").read_text())
        assert kept == {key: "1.21", "/bin/conmon 1 2 3": "2.1.6", f"{key} name": "crun"}

    def test_a_version_without_end(self, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
        path = _program(directory, "runc", "yes; exit 0")
        with pytest.raises(MissingPrerequisite, match="cannot be used"):
            Host(run_dir=f"{tmp_path}/run").runtime(path)
