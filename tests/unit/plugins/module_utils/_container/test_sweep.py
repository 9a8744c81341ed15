# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweep and deletion, on real processes, directories and mounts."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory
from ansible_collections.longshore.oci.plugins.module_utils._base.program import find_program
from ansible_collections.longshore.oci.plugins.module_utils._container import sweep
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program, Record, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, programs


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


class TestSweep:
    def _record(self, store: Store, tmp_path: pathlib.Path, parent: str, script: str) -> Record:
        path = programs.script(tmp_path / "runc", f"DIRECTORY={tmp_path}/root/web\n{script}")
        make_directory(f"{tmp_path}/root/web")
        make_directory(store.paths("web").bundle)
        return builders.record(
            phase="creating", definition=builders.definition(cgroup_parent=parent), runtime_root=f"{tmp_path}/root",
            runtime=Program("runc", path, "1.1.5"), conmon=Program("conmon", os.path.realpath("/bin/sh"), "2.1.6"),
        )  # fmt: skip

    def test_everything_goes(self, store: Store, tmp_path: pathlib.Path, spawn: t.Any, scratch_cgroup: str) -> None:
        record = self._record(store, tmp_path, scratch_cgroup, "rm -r $DIRECTORY")
        paths = store.paths("web")
        monitor = spawn("sh", "-c", "kill -STOP $$", "conmon", "--container-pidfile", paths.pidfile)
        other = spawn("sh", "-c", "kill -STOP $$", "conmon", "--container-pidfile", f"{paths.pidfile}2")
        init = spawn()
        cgroup.place(f"{scratch_cgroup}/web", init.pid)
        for _time in range(2):
            sweep.sweep_leftovers(store, record, Timeouts())
        assert (monitor.wait(), init.wait(), other.poll()) == (-9, -9, None)
        assert os.listdir(tmp_path / "root") == []
        assert not os.path.exists(paths.run)
        assert cgroup.directories(f"{scratch_cgroup}/web") == []
        cgroup_removal.remove(scratch_cgroup)

    def test_state_that_the_runtime_cannot_delete_goes_too(
        self, store: Store, tmp_path: pathlib.Path, scratch_cgroup: str
    ) -> None:
        sweep.sweep_leftovers(store, self._record(store, tmp_path, scratch_cgroup, "exit 1"), Timeouts())
        assert os.listdir(tmp_path / "root") == []

    def test_what_will_not_go_is_named(self, store: Store, tmp_path: pathlib.Path, scratch_cgroup: str) -> None:
        """A cgroup with this very process in it, which the engine never kills."""
        record = self._record(store, tmp_path, scratch_cgroup, "echo busy >&2; exit 1")
        cgroup.place(f"{scratch_cgroup}/web", os.getpid())
        try:
            with pytest.raises(LongshoreError, match=f"except for: .*{scratch_cgroup}/web.*runc said: busy"):
                sweep.sweep_leftovers(store, record, Timeouts())
        finally:
            for root in cgroup.layout().roots():
                with open(f"{root}/cgroup.procs", "w", encoding="ascii") as stream:
                    stream.write(str(os.getpid()))
        cgroup_removal.remove(scratch_cgroup)


class TestAPathInACommandLine:
    """A sweep ends the conmons of this container, and no process that only names its files."""

    @pytest.fixture
    def conmon(self, tmp_path: pathlib.Path) -> str:
        """A program that does nothing, with a file of its own."""
        return shutil.copy(os.path.realpath("/bin/sh"), f"{tmp_path}/conmon")

    @pytest.fixture
    def sweep(self, store: Store, tmp_path: pathlib.Path, conmon: str, scratch_cgroup: str) -> t.Callable[..., None]:
        def run(phase: str, conmon: str = conmon) -> None:
            record = builders.record(
                phase=phase, definition=builders.definition(cgroup_parent=scratch_cgroup), runtime_root=f"{tmp_path}/root",
                conmon=Program("conmon", conmon, "2.1.6"),
            )  # fmt: skip
            make_directory(store.paths("web").exec)
            sweep.sweep_leftovers(store, record, Timeouts())

        return run

    @pytest.mark.parametrize("phase", ["creating", "running"])
    @pytest.mark.parametrize(
        "argv",
        [
            ("sh", "-c", "kill -STOP $$", "sh", "{exec}"),
            ("sh", "-c", "kill -STOP $$", "sh", "{pid}"),
            ("tail", "-f", "/dev/null", "{pid}"),
            # The words of a conmon, of another program.
            ("sh", "-c", "kill -STOP $$", "conmon", "--container-pidfile", "{pid}"),
            ("sh", "-c", "kill -STOP $$", "{conmon}", "--container-pidfile", "{pid}"),
            ("sh", "-c", "kill -STOP $$", "{conmon}", "--container-pidfile", "{exec}/one.session/pid"),
            # A conmon, of something else.
            ("{conmon}", "-c", "kill -STOP $$", "conmon", "{pid}"),
            ("{conmon}", "-c", "kill -STOP $$", "conmon", "--log-tag", "{pid}"),
            ("{conmon}", "-c", "kill -STOP $$", "conmon", "--container-pidfile={pid}"),
            ("{conmon}", "-c", "kill -STOP $$", "conmon", "--container-pidfile", "{pid}2"),
            ("{conmon}", "-c", "kill -STOP $$", "conmon", "--container-pidfile", "{exec}"),
            ("{conmon}", "-c", "kill -STOP $$", "conmon", "--container-pidfile", "{exec}2/one.session/pid"),
        ],
    )
    def test_lives_on(
        self, store: Store, sweep: t.Any, conmon: str, spawn: t.Any, argv: tuple[str, ...], phase: str
    ) -> None:
        paths = store.paths("web")
        child = spawn(*(word.format(conmon=conmon, pid=paths.pidfile, exec=paths.exec) for word in argv))
        sweep(phase)
        assert child.poll() is None

    def test_of_another_user_lives_on(self, store: Store, sweep: t.Any, spawn: t.Any) -> None:
        shell, words = os.path.realpath("/bin/sh"), ("-c", "kill -STOP $$", "conmon", "--container-pidfile")
        child = spawn("setpriv", "--reuid=65534", shell, *words, store.paths("web").pidfile)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        sweep("creating", conmon=shell)
        assert child.poll() is None

    @pytest.mark.parametrize("phase", ["creating", "running"])
    @pytest.mark.parametrize("replaced", [False, True], ids=["as it was", "upgraded"])
    def test_a_conmon_does_not(
        self, store: Store, sweep: t.Any, conmon: str, spawn: t.Any, phase: str, replaced: bool
    ) -> None:
        paths = store.paths("web")
        files = (
            [paths.pidfile, f"{paths.exec}/one.session/pid"] if phase == "creating" else [f"{paths.exec}/1.session/pid"]
        )
        words = ("-c", "kill -STOP $$", "conmon", "--container-pidfile")
        children = [spawn(conmon, *words, file) for file in files]
        if replaced:
            shutil.copy("/bin/true", f"{conmon}.new")
            os.rename(f"{conmon}.new", conmon)
        sweep(phase)
        assert [child.wait(10) for child in children] == [-9] * len(children)

    def test_one_that_is_only_becoming_conmon_does_not(
        self, store: Store, sweep: t.Any, conmon: str, spawn: t.Any
    ) -> None:
        words = ("-c", "kill -STOP $$", "conmon", "--container-pidfile", store.paths("web").pidfile)
        child = spawn("sh", "-c", 'sleep 0.2; exec "$@"', "sh", conmon, *words)
        sweep("creating")
        assert child.wait(10) == -9


class Mounts:
    """What a killed restore leaves: files that are also seen below a directory of the container, by a bind mount."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.source = directory / "rootfs"
        self.source.mkdir()
        (self.source / "precious").write_text("")
        self._made: list[pathlib.Path] = []

    def at(self, place: object) -> None:
        path = pathlib.Path(str(place))
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", self.source, path], check=True)
        self._made.append(path)

    def left(self) -> list[str]:
        with open("/proc/self/mountinfo", encoding="utf-8") as stream:
            return [line for line in stream if str(self.source.parent.name) in line]

    def end(self) -> None:
        for path in self._made:
            subprocess.run(["umount", "-q", "-l", path], check=False)


@pytest.fixture
def mounts(tmp_path: pathlib.Path) -> t.Iterator[Mounts]:
    made = Mounts(tmp_path)
    yield made
    made.end()


class TestMounts:
    """Nothing is removed through a mount, whoever removes and whatever the record says."""

    def _record(self, tmp_path: pathlib.Path, cgroup_parent: str, runtime: str, **changes: t.Any) -> Record:
        return builders.record(
            definition=builders.definition(cgroup_parent=cgroup_parent), runtime_root=f"{tmp_path}/run/runc",
            runtime=Program("runc", runtime, "1.1.5"), **changes,
        )  # fmt: skip

    @pytest.mark.parametrize("phase", ["creating", "restoring", "created", "running", "stopped", "checkpointed"])
    @pytest.mark.parametrize("place", ["run/runc/web/criu-root", "run/containers/web/bundle/criu-root"])
    def test_the_files_behind_a_mount_stay(
        self, store: Store, tmp_path: pathlib.Path, scratch_cgroup: str, mounts: Mounts, phase: str, place: str
    ) -> None:
        """With the real runc, which removes a state directory without a status file with all that is in it."""
        runc = find_program("runc")
        if runc is None:
            pytest.skip("runc is not on this host")
        (tmp_path / "run/runc/web").mkdir(parents=True)
        mounts.at(tmp_path / place)
        mounts.at(tmp_path / place)  # one over the other
        record = self._record(tmp_path, scratch_cgroup, runc, phase=phase)
        (sweep.sweep_leftovers if phase == "creating" else sweep.delete_state)(store, record, Timeouts())
        assert os.listdir(mounts.source) == ["precious"]
        assert mounts.left() == []
        assert os.listdir(tmp_path / "run/runc") == os.listdir(tmp_path / "run/containers") == []

    @pytest.mark.parametrize(
        "name", ["with blank", "tab\there", "back\\slash", "line\nfeed", "return\rhere", "\u2028", "*"]
    )
    def test_at_any_path(self, tmp_path: pathlib.Path, scratch_cgroup: str, mounts: Mounts, name: str) -> None:
        store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/{name}")
        mounts.at(f"{store.paths('web').bundle}/{name}/criu-root")
        record = self._record(tmp_path, scratch_cgroup, "/bin/false")
        sweep.sweep_leftovers(store, record, Timeouts())
        assert os.listdir(mounts.source) == ["precious"]
        assert os.listdir(f"{tmp_path}/{name}/containers") == []

    def test_one_that_is_in_use(
        self, store: Store, tmp_path: pathlib.Path, scratch_cgroup: str, mounts: Mounts, spawn: t.Any
    ) -> None:
        mounts.at(tmp_path / "run/runc/web/criu-root")
        spawn("sh", "-c", f"cd {tmp_path}/run/runc/web/criu-root && exec sleep 60")
        sweep.sweep_leftovers(store, self._record(tmp_path, scratch_cgroup, "/bin/false"), Timeouts())
        assert os.listdir(mounts.source) == ["precious"]
        assert os.listdir(tmp_path / "run/runc") == []

    def test_one_that_cannot_be_unmounted(self, store: Store, tmp_path: pathlib.Path, mounts: Mounts) -> None:
        """Then nothing is removed, and the runtime is not even asked."""
        mounts.at(tmp_path / "run/runc/web/criu-root")
        runtime = programs.script(tmp_path / "runc", f"echo >{tmp_path}/asked; rm -rf {tmp_path}/run/runc/web")
        code = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._container import sweep
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders
top, runtime = sys.argv[1:]
record = builders.record(runtime_root=f"{top}/run/runc", runtime=Program("runc", runtime, "1.1.5"))
sweep.sweep_leftovers(Store(state_dir=f"{top}/state", run_dir=f"{top}/run"), record, Timeouts())
"""
        argv = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", code, str(tmp_path), runtime]
        done = subprocess.run(
            argv, env=programs.python_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        place = f"{tmp_path}/run/runc/web/criu-root"
        assert f"LongshoreError: Cannot unmount {place}: Operation not permitted." in done.stderr
        assert os.listdir(place) == os.listdir(mounts.source) == ["precious"]
        assert not (tmp_path / "asked").exists()

    def test_a_runtime_that_is_about_to_mount_is_ended_first(
        self, store: Store, tmp_path: pathlib.Path, scratch_cgroup: str, mounts: Mounts, spawn: t.Any
    ) -> None:
        """Also one in no cgroup of ours, whose conmon is gone already."""
        shell = shutil.copy(os.path.realpath("/bin/sh"), f"{tmp_path}/runc")
        child = spawn(shell, "-c", "kill -STOP $$", "runc", "restore", "--pid-file", store.paths("web").pidfile)
        sweep.sweep_leftovers(store, self._record(tmp_path, scratch_cgroup, shell, phase="restoring"), Timeouts())
        assert child.wait(10) == -9
