# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that fails in the middle leaves nothing behind."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, tools
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Action, Options, Request

REASONS = ["no space", "overlay", "owner", "late"]


@pytest.fixture
def bundles(tmp_path: pathlib.Path) -> Bundles:
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    return Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


@pytest.fixture
def small(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A place for bundles that is soon full."""
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "t", tmp_path / "small"], check=True)
    yield tmp_path / "small"
    subprocess.run(["umount", "--lazy", tmp_path / "small"], check=True)


def request(tmp_path: pathlib.Path, path: pathlib.Path, reason: str = "") -> Request:
    """With a reason, one that fails because of that, after it has begun."""
    root = tmp_path / f"root-{reason}"
    root.mkdir(exist_ok=True)
    root.chmod(0o755)
    if not (root / "file").exists():
        (root / "file").write_bytes(b"x" * (2**20 if reason == "no space" else 10))
    options = Options(argv=("/x",), seccomp=f"{tmp_path}/profile.json")
    if reason == "owner":
        os.chown(root / "file", 70000, 0)
        options = options._replace(userns={"uidmap": ["0:100000:65536"]})
    wanted = Request(str(path), rootfs=str(root), options=options)
    return wanted._replace(rootfs_mode="overlay" if reason == "overlay" else "copy")


def failing(*_args: object) -> t.NoReturn:
    raise OSError(5, "broken", "disk")


def fail(bundles: Bundles, wanted: Request, reason: str, monkeypatch: pytest.MonkeyPatch) -> LongshoreError:
    with monkeypatch.context() as patched:
        if reason == "late":  # The new config.json is there, the record is not yet.
            patched.setattr(Bundles, "complete", failing)
        with pytest.raises(LongshoreError) as failed:
            bundles.converge(wanted)
    return failed.value


def roots(path: pathlib.Path) -> set[str]:
    return {name for name in os.listdir(path) if name.startswith("rootfs-")}


def named(path: pathlib.Path) -> str:
    return str(json.loads((path / "config.json").read_text())["root"]["path"])


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("there", ["nothing", "parents missing", "an empty directory", "a killed task"])
def test_a_new_bundle(
    tmp_path: pathlib.Path,
    small: pathlib.Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    there: str,
    reason: str,
) -> None:
    path = small / ("a/b/web:1" if there == "parents missing" else "web:1")  # No overlay can be in such a path.
    if there in ("an empty directory", "a killed task"):
        path.mkdir()
        path.chmod(0o755)
    if there == "a killed task":
        (path / "longshore.json").write_text("{}\n")
    before = {name for name in small.rglob("*") if name.is_dir()}
    error = fail(bundles, request(tmp_path, path, reason), reason, monkeypatch)
    assert set(small.rglob("*")) == before
    if reason == "no space":
        assert error.hint == f"Free space in {small}."
    assert bundles.converge(request(tmp_path, path)).actions == (Action.ROOTFS, Action.CONFIG)


@pytest.mark.parametrize("reason", REASONS)
def test_a_bundle_that_is_changed(
    tmp_path: pathlib.Path, small: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """It stays as it was: its root file system is the only one. With its new config.json, it has that one too."""
    path = small / "web:1"
    record = bundles.converge(request(tmp_path, path)).record
    fail(bundles, request(tmp_path, path, reason), reason, monkeypatch)
    assert roots(path) == {record.root, named(path)}
    assert (named(path) == record.root) is (reason != "late")
    found = bundles.converge(request(tmp_path, path))
    assert found.record.root == record.root
    assert bundles.converge(request(tmp_path, path)).actions == ()


def test_volumes_of_a_damaged_bundle_stay(
    tmp_path: pathlib.Path, small: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle without a readable record is made anew, and no failure removes its data."""
    path = small / "web:1"
    bundles.converge(request(tmp_path, path))
    (path / "volumes/data").mkdir(parents=True)
    (path / "volumes/data/file").touch()
    (path / "longshore.json").write_text("")
    fail(bundles, request(tmp_path, path, "no space"), "no space", monkeypatch)
    assert (path / "volumes/data/file").exists()


@pytest.mark.parametrize("late", ["mounted", "the record"])
@pytest.mark.parametrize("after", ["the same", "the former", "another", "another that fails"])
def test_the_root_of_the_new_config_stays(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, late: str, after: str
) -> None:
    """Whatever fails after it is written, and whatever the next tasks want."""
    path = tmp_path / "web"
    former = request(tmp_path, path)
    wanted = former._replace(options=former.options._replace(hostname="new"))
    old = path / bundles.converge(former).record.root
    if late == "mounted":
        (old / "in").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "t", old / "in"], check=True)
    try:
        error = fail(bundles, wanted, "late" if late == "the record" else "", monkeypatch)
        assert ("is mounted at" in error.message) is (late == "mounted")
        assert roots(path) == {old.name, named(path)}
        assert (path / named(path) / "file").exists()
        if after == "another that fails":
            fail(bundles, request(tmp_path, path, "owner"), "owner", monkeypatch)
            assert roots(path) == {old.name, named(path)}
    finally:
        if late == "mounted":
            subprocess.run(["umount", old / "in"], check=True)
    another = former._replace(options=former.options._replace(hostname="other"))
    last = {"the same": wanted, "the former": former}.get(after, another)
    assert bundles.converge(last).record.root == named(path)
    assert roots(path) == {named(path)}
    assert bundles.converge(last).actions == ()


@pytest.mark.parametrize("mode", ["copy", "overlay"])
@pytest.mark.parametrize("left", ["unfinished", "{}\n", ""])
def test_the_root_of_the_config_is_not_made_again(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, mode: str, left: str
) -> None:
    """The next task completes it: a copy that fails would leave a config.json without its root file system."""
    path = tmp_path / "web"
    former = request(tmp_path, path)._replace(rootfs_mode=mode)
    wanted = former._replace(options=former.options._replace(hostname="new"))
    bundles.converge(former)
    try:
        fail(bundles, wanted, "late", monkeypatch)
        root = path / named(path)
        (root / "mark").touch()
        if left != "unfinished":  # The record is lost.
            (path / "longshore.json").write_text(left)
        for how in ("copy", "mount"):
            monkeypatch.setattr(rootfs, how, failing)
        found = bundles.converge(wanted)
        assert (found.record.root, roots(path) & {root.name}) == (root.name, {root.name})
        assert (root / "mark").exists()
        assert {name.partition(".")[0] for name in roots(path)} == {root.name}
        assert bundles.converge(wanted).actions == ()
    finally:
        for name in roots(path):
            if os.path.ismount(path / name):
                subprocess.run(["umount", path / name], check=True)


@pytest.mark.parametrize("name", ["rootfs-current", "rootfs-away", "rootfs-nowhere", "rootfs-note.txt"])
def test_what_is_no_root_stays(tmp_path: pathlib.Path, bundles: Bundles, name: str) -> None:
    """A link to the root file system, or elsewhere, and a file."""
    path = tmp_path / "web"
    wanted = request(tmp_path, path)
    root = bundles.converge(wanted).record.root
    (tmp_path / "away").mkdir()
    (tmp_path / "away/precious").touch()
    if name.endswith("txt"):
        (path / name).touch()
    else:
        (path / name).symlink_to({"current": root, "away": f"{tmp_path}/away"}.get(name[7:], "nowhere"))
    wanted = wanted._replace(options=wanted.options._replace(hostname="new"))
    assert bundles.converge(wanted).actions == (Action.ROOTFS, Action.CONFIG)
    assert roots(path) == {name, named(path)}
    assert (tmp_path / "away/precious").exists()
    assert bundles.converge(wanted._replace(absent=True)).actions == (Action.REMOVE,)
    assert (tmp_path / "away/precious").exists()


@pytest.mark.parametrize("broken", ["etc/hosts", "config.json"])
@pytest.mark.parametrize("text", ["", "127.0.0.1 changed by the container\n", "latin-\udce9\n"])
def test_the_files_of_a_container_that_runs_stay(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, broken: str, text: str
) -> None:
    path = tmp_path / "web"
    wanted = request(tmp_path, path)
    bundles.converge(wanted._replace(options=wanted.options._replace(hostname="old")))
    kept = {name: path / "etc" / name for name in ("hosts", "hostname") if f"etc/{name}" != broken}
    for file in kept.values():
        file.write_bytes(os.fsencode(text) or file.read_bytes())
    before = {name: (file.read_bytes(), file.stat().st_ino) for name, file in kept.items()}
    (path / broken).unlink()
    (path / broken).mkdir()
    fail(bundles, wanted._replace(options=wanted.options._replace(hostname="new")), "", monkeypatch)
    assert {name: (file.read_bytes(), file.stat().st_ino) for name, file in kept.items()} == before


def entry(path: pathlib.Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


@pytest.mark.parametrize(
    "name", ["data/precious", "etc/hosts", "config.json", "volumes/data/x", "rootfs-0/x", "longshore.json"]
)
def test_a_user_that_is_faster(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The directory was empty. It is given back to its user with what is in it, and nothing is removed."""
    path = tmp_path / "web"
    path.mkdir()
    os.chown(path, 65534, 65534)
    path.chmod(0o777)

    def taken(*words: t.Any) -> None:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("precious")
        take_over(*words)

    take_over = tools.take_over
    monkeypatch.setattr(tools, "take_over", taken)
    with pytest.raises(Conflict, match="Another user also works in"):
        bundles.converge(request(tmp_path, path))
    assert (path / name).read_text() == "precious"
    assert entry(path) == (65534, 65534, 0o777)


@pytest.mark.parametrize("there", ["nothing", "parents missing", "an empty directory"])
@pytest.mark.parametrize("name", ["conf/app.yml", "app.yml", "etc/app.yml", "volumes/mine/data", "rootfs-mine/data"])
def test_what_others_put_into_a_new_bundle(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, there: str, name: str
) -> None:
    """During the copy, which then fails: it stays, and nothing of the task does."""
    path = tmp_path / ("a/b/web" if there == "parents missing" else "web")
    if there == "an empty directory":
        path.mkdir()
        os.chown(path, 65534, 65534)

    def put(*words: t.Any) -> None:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("precious")
        shift(*words)

    shift = rootfs.shift
    monkeypatch.setattr(rootfs, "shift", put)
    fail(bundles, request(tmp_path, path, "owner"), "owner", monkeypatch)
    assert [str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir()] == [name]
    assert entry(path) == (0, 100000, 0o710)  # Nobody else can reach it.


@pytest.mark.parametrize("was", [(65534, 65534, 0o755), (0, 0, 0o755), (0, 7, 0o2750)])
@pytest.mark.parametrize("reason", REASONS)
def test_an_empty_directory_is_given_back(
    tmp_path: pathlib.Path,
    small: pathlib.Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    was: tuple[int, int, int],
    reason: str,
) -> None:
    path = small / "web:1"
    path.mkdir()
    os.chown(path, *was[:2])
    path.chmod(was[2])
    fail(bundles, request(tmp_path, path, reason), reason, monkeypatch)
    assert os.listdir(path) == []
    assert entry(path) == was


def test_the_directory_of_an_existing_bundle_is_as_before(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the root of its user namespace still reaches the root file system."""
    path = tmp_path / "web"
    wanted = request(tmp_path, path)
    mapped = wanted.options._replace(userns={"uidmap": ["0:100000:65536"], "gidmap": ["0:200000:65536"]})
    bundles.converge(wanted._replace(options=mapped))
    assert entry(path) == (0, 200000, 0o710)
    fail(bundles, request(tmp_path, path, "owner"), "owner", monkeypatch)
    assert entry(path) == (0, 200000, 0o710)
    assert bundles.converge(wanted._replace(options=mapped)).actions == ()
