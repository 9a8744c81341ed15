# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import subprocess
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import named_pipe, signatures
from ansible_collections.longshore.oci.plugins.module_utils._archive.archive_writer import pack
from ansible_collections.longshore.oci.plugins.module_utils._archive.compression import check as compression_of
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import checkpoints
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoints import Checkpoints
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.restore import Wanted
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Observed, Status
from ansible_collections.longshore.oci.tests.unit import builders, bundle, programs

SIZE = 12 << 20  # of the memory in an archive: noise, so that no compression makes it smaller


class Place:
    """A host with a bundle, a runtime that restores nothing, and an archive."""

    def __init__(self, directory: pathlib.Path, cgroup: str) -> None:
        self.directory = directory
        self.state, self.run = f"{directory}/state", f"{directory}/run"
        (directory / "bundle").mkdir()
        self.config = bundle.make(directory / "bundle", "sleep", "60")
        text = """
            test "$1" != --version || { echo other 1.0; exit; }
            echo 'it restores nothing' >&2
            exit 1
            """
        runtime = programs.script(directory / "other", text)
        self.wanted = Wanted(
            overrides={
                "bundle": f"{directory}/bundle", "runtime": runtime, "cgroup_manager": CgroupManager.CGROUPFS, "cgroup_parent": cgroup,
            }
        )  # fmt: skip

    def stored(self, *, rootfs: bool = False) -> str:
        path = self.directory / "stored"
        (path / "checkpoint").mkdir(parents=True)
        (path / "checkpoint" / "inventory.img").write_bytes(b"inventory")
        (path / "checkpoint" / "pages-1.img").write_bytes(os.urandom(SIZE))
        (path / "spec.dump").write_text((self.directory / "bundle" / "config.json").read_text())
        (path / "config.dump").write_text('{"name": "web"}')
        if rootfs:
            subprocess.run(["tar", "-C", self.directory, "-cf", path / "rootfs-diff.tar", "other"], check=True)
            (path / "deleted.files").write_text("[]")
        return str(path)

    def pack(self, compression: str = "none", *, rootfs: bool = False, key: str = "", **how: t.Any) -> str:
        path = f"{self.directory}/web.tar"
        manifest = Manifest("web", rootfs="changes" if rootfs else None)
        pack(
            self.stored(rootfs=rootfs), path, compression=compression, log=None, manifest=manifest.with_members,
            sign=(lambda text: signatures.sign(text, key)) if key else None, **how,
        )  # fmt: skip
        return path

    def key(self) -> str:
        path = f"{self.directory}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=60)
        return path

    def restore(self, path: str, *, check: bool = False, **changes: t.Any) -> t.Any:
        changes.setdefault("wanted", self.wanted)
        request = Request("web", Goal.RESTORED, archive=path, timeout=60, **changes)
        return Checkpoints(state_dir=self.state, run_dir=self.run).converge(request, check=check)

    def left(self) -> list[str]:
        """What a restore has left in the state directory."""
        return sorted(str(found) for found in pathlib.Path(self.state).glob("containers/web/**/*"))


@pytest.fixture
def place(tmp_path: pathlib.Path, scratch_cgroup: str) -> Place:
    return Place(tmp_path, scratch_cgroup)


def _bytes_read() -> int:
    """All that this process has read, and its children that have ended (proc_pid_io(5))."""
    text = pathlib.Path("/proc/self/io").read_text(encoding="utf-8")
    return int(dict(line.split(": ") for line in text.splitlines())["rchar"])


@pytest.mark.parametrize("signed", [False, True], ids=["", "signed"])
@pytest.mark.parametrize("rootfs", [False, True], ids=["", "rootfs"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_an_archive_is_read_twice_at_most(place: Place, compression: str, rootfs: bool, signed: bool) -> None:
    """Once to see whether it can be restored here, before anything is touched, and once to unpack it."""
    if compression == "zstd" and compression_of(None) != "zstd":
        pytest.skip("There is no zstd.")
    key = place.key() if signed else ""
    path = place.pack(compression, rootfs=rootfs, key=key)
    # zstd reads the archive, and what it writes is read once more.
    once = os.path.getsize(path) + (SIZE if compression == "zstd" else 0)
    before = _bytes_read()
    with pytest.raises(ProgramFailed, match="it restores nothing"):
        place.restore(path, verify=(f"{key}.pub",) if signed else ())
    assert 1.9 < (_bytes_read() - before) / once < 2.2
    assert place.left() == []


def test_check_mode_reads_it_once_and_leaves_nothing(place: Place) -> None:
    path = place.pack()
    before = _bytes_read()
    outcome = place.restore(path, check=True)
    assert [action.value for action in outcome.plan.actions] == ["import", "restore"]
    assert 0.9 < (_bytes_read() - before) / os.path.getsize(path) < 1.1
    assert not os.path.exists(place.state)


def test_a_pipe_is_read_once(place: Place) -> None:
    path = f"{place.directory}/pipe"
    os.mkfifo(path, 0o600)
    stored = place.stored()

    def send() -> None:
        while True:
            try:
                stream = named_pipe.writer(path, Deadline(30))
                break
            except InvalidOption:  # The other thread has not got that far.
                threading.Event().wait(0.01)
        with stream:
            pack(stored, path, compression="none", log=None, pipe=stream, manifest=Manifest("web").with_members)

    sender = threading.Thread(target=send)
    before = _bytes_read()
    sender.start()
    with pytest.raises(ProgramFailed, match="it restores nothing"):
        place.restore(path)
    sender.join()
    # What the other thread has read of the disk counts too.
    assert 1.9 < (_bytes_read() - before) / SIZE < 2.2
    assert place.left() == []


@pytest.mark.parametrize(
    ("seen", "changes", "actions"),
    [
        (builders.observed(Status.ABSENT), {}, ["restore", "delete"]),
        (builders.observed(Status.ABSENT), {"keep": True}, ["restore"]),
        (builders.observed(Status.STOPPED), {}, ["remove", "restore", "delete"]),
        (builders.observed(Status.STOPPED), {"wanted": Wanted(name="other")}, ["remove", "import", "restore"]),
        (builders.observed(Status.STOPPED)._replace(unfinished=True), {}, ["recover", "remove", "restore", "delete"]),
    ],
)
def test_check_mode_says_of_a_pipe_what_will_happen(
    place: Place, monkeypatch: pytest.MonkeyPatch, seen: Observed, changes: dict[str, t.Any], actions: list[str]
) -> None:
    """The checkpoint is stored first, and restored from there. Check mode leaves what is in the pipe to the task."""
    os.mkfifo(f"{place.directory}/pipe", 0o600)
    monkeypatch.setattr(checkpoints, "observe", lambda _store, name: seen._replace(name=name))
    outcome = place.restore(f"{place.directory}/pipe", check=True, **changes)
    assert [action.value for action in outcome.plan.actions] == ["import", *actions]
    assert not os.path.exists(place.state)


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_pipe_for_a_container_that_runs_is_not_read(
    place: Place, unfinished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a killed task has left something: that is for a restore to complete, and there is none."""
    os.mkfifo(f"{place.directory}/pipe", 0o600)
    seen = builders.observed(Status.RUNNING)._replace(unfinished=unfinished)
    monkeypatch.setattr(checkpoints, "observe", lambda _store, _name: seen)
    assert place.restore(f"{place.directory}/pipe").plan.actions == ()
