# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that make, change and remove bundles, killed at each of their steps: the next task makes good what they have left."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, LongshoreError, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._bundle import tools, upkeep
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Action, Options, Request
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import killing, programs

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = os.path.join(HERE, "..", "..", "..", "..", "integration", "targets", "setup_images", "files", "images.py")
Tree = dict[str, tuple[t.Any, ...]]


class Place:
    """A directory with a bundle and a cache, which is put back to how it was for each trial."""

    def __init__(self, directory: pathlib.Path, mode: str) -> None:
        self.directory, self.mode = directory, mode
        self.work, self.path = directory / "work", f"{directory}/work/web"
        self.image = f"oci:{directory}/images/layout"
        (directory / "profile.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
        self._fresh: dict[str, tuple[Tree, Tree]] = {}

    def request(self, name: str) -> Request:
        if name == "absent":
            return Request(self.path, absent=True)
        options: dict[str, t.Any] = {"env": {"A": name}, "hostname": name, "seccomp": f"{self.directory}/profile.json"}
        if name == "other":
            options["image_volumes"] = "ignore"
        return Request(self.path, image=f"{self.image}:app", rootfs_mode=self.mode, options=Options(**options))

    def converge(self, name: str) -> t.Any:
        bundles = Bundles(state_dir=f"{self.work}/state", run_dir=f"{self.work}/run")
        return bundles.converge(self.request(name))

    def task(self, name: str) -> t.Callable[[], object]:
        return lambda: self.converge(name)

    def reset(self, *, cached: bool, bundle: str = "") -> None:
        """Nothing, or a cache with the image unpacked, and a bundle of a config."""
        self.clear()
        os.mkdir(self.work, 0o700)
        kept = self.directory / "cached"
        if cached and not kept.exists():
            self.converge("first")
            self.converge("absent")
            os.rename(self.work, kept)
            os.mkdir(self.work, 0o700)
        if cached:
            subprocess.run(["cp", "--archive", f"{kept}/.", str(self.work)], check=True)
        if bundle:
            self.converge(bundle)
            self.note("mine")

    def note(self, text: str) -> None:
        """What a user has in a volume."""
        for volume in pathlib.Path(self.path, "volumes").glob("data-*"):
            (volume / "note").write_text(text)

    def clear(self) -> None:
        for place in mounts(self.work):
            subprocess.run(["umount", "--lazy", place], check=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def fresh(self, name: str) -> tuple[Tree, Tree]:
        """The trees of a bundle that nothing happened to, and of the cache beside it."""
        if name not in self._fresh:
            self.reset(cached=True)
            self.converge(name)
            self._fresh[name] = tree(self.path), tree(f"{self.work}/state")
        return self._fresh[name]

    def check(self, name: str, *, without: t.Container[str] = ()) -> None:
        """One task has made all of it good, and another has nothing to do, and nothing is left over."""
        self.converge(name)
        bundle, cache = self.fresh_of(name)
        found = tree(self.path)
        assert {path: what for path, what in found.items() if path.split("/")[0] not in without} == {
            path: what for path, what in bundle.items() if path.split("/")[0] not in without
        }
        assert left(self.work) == []
        assert {path for path in tree(f"{self.work}/state") if "/" not in path or path.startswith("roots/")} <= {*cache}
        assert [os.path.basename(place) for place in mounts(self.work)] == [
            path for path in bundle if self.mode == "overlay" and path.startswith("rootfs-") and path.count(".") == 0
            and "/" not in path
        ]  # fmt: skip
        assert self.converge(name).actions == ()
        assert not os.path.exists(f"{self.work}/run/locks") or os.listdir(f"{self.work}/run/locks") == []

    def fresh_of(self, name: str) -> tuple[Tree, Tree]:
        assert name in self._fresh
        return self._fresh[name]


@pytest.fixture(scope="module", params=["copy", "overlay"])
def place(request: pytest.FixtureRequest) -> t.Iterator[Place]:
    """In memory, where nothing has to wait for a disk."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="longshore-killed-", dir="/dev/shm"))
    (directory / "images").mkdir()
    found = importlib.util.spec_from_file_location("images", IMAGES)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["images"] = module
    found.loader.exec_module(module)
    module.make(f"{directory}/images/layout", b"not a program")
    made = Place(directory, request.param)
    for name in ("first", "other", "absent"):
        made.fresh(name)
    yield made
    made.clear()
    shutil.rmtree(directory)


def tree(top: str) -> Tree:
    """Everything below a directory but times."""
    found: Tree = {}
    for parent, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            content: object = ""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
            found[os.path.relpath(path, top)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def mounts(top: pathlib.Path) -> list[str]:
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines if line.split(" ")[4].startswith(f"{top}/")]


def left(top: pathlib.Path) -> list[str]:
    """What no task will ever need again."""
    found = [os.path.join(parent, name) for parent, names, files in os.walk(top) for name in names + files]
    return [path for path in found if "/.tmp-" in path or "/locks/" in path or path.rpartition(".json.")[1]]


# What was there, what is killed, and what is asked for next. Of most ways some steps are enough: their protocol is the same.
WAYS = [
    ("", "first", "first"), ("", "first", "other"), ("", "first", "absent"),
    ("first", "other", "other"), ("first", "other", "first"), ("first", "other", "absent"),
    ("other", "first", "first"), ("other", "first", "other"),
    ("first", "absent", "absent"), ("first", "absent", "first"), ("other", "absent", "first"),
]  # fmt: skip
AT_ALL = {("", "first", "first"), ("first", "absent", "first")}
MOST = 4


def trial(place: Place, way: tuple[str, str, str], **how: t.Any) -> str:
    """Kill one task, and look at what the next one makes of it: empty where all is well."""
    before, killed, after = way
    place.reset(cached=True, bundle=before)
    end = killing.kill(place.task(killed), **how)
    if end.rc > 0:
        return end.said
    notes = [path.read_text() for path in pathlib.Path(place.path, "volumes").glob("data-*/note")]
    record = pathlib.Path(place.path, "longshore.json")
    text = record.read_text() if record.exists() else "nothing"
    # A volume stays as long as the bundle, also when an update is taken back.
    stays = "nothing" not in text and "removing" not in text
    try:
        assert not stays or before != "first" or notes == ["mine"]
        place.check(after, without={"volumes"} if stays and after != "absent" else set())
        found = [path.read_text() for path in pathlib.Path(place.path, "volumes").glob("data-*/note")]
        assert found == (notes if stays and after != "absent" else [])
    except AssertionError as exc:
        return str(exc)[:600] or "another volume"
    except Exception as exc:
        return f"{type(exc).__name__} {exc}"
    return ""


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_killed_at_each_step(place: Place, way: tuple[str, str, str]) -> None:
    before, killed, after = way
    place.reset(cached=True, bundle=before)
    steps = killing.steps(place.task(killed))
    most = len(steps) if way in AT_ALL else MOST
    found = {steps[at]: trial(place, way, at=at) for at in killing.spread(len(steps), most, len(after))}
    assert {step: wrong for step, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("everything", [False, True])
def test_killed_by_other_signals(place: Place, number: int, everything: bool) -> None:
    for way in (("", "first", "first"), ("first", "other", "other"), ("first", "absent", "first")):
        place.reset(cached=True, bundle=way[0])
        steps = killing.steps(place.task(way[1]))
        ats = killing.spread(len(steps), 4, number)
        found = {steps[at]: trial(place, way, at=at, number=number, everything=everything) for at in ats}
        assert {step: wrong for step, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("after", ["first", "absent"])
def test_killed_as_an_image_is_fetched_and_unpacked(place: Place, after: str) -> None:
    """With an empty cache. The layouts and blobs are the image's own, so they may stay."""
    place.reset(cached=False)
    steps = killing.steps(place.task("first"))
    first = next(at for at, step in enumerate(steps) if step.startswith("fcntl"))
    last = next(at for at, step in enumerate(steps) if "longshore.json" in step)
    for at in (first + number for number in killing.spread(last - first, 8)):
        place.reset(cached=False)
        assert killing.kill(place.task("first"), at=at).was_killed
        place.converge(after)
        assert left(place.work) == [], steps[at]
        assert place.converge(after).actions == ()
        assert tree(place.path) == place.fresh(after)[0] if after == "first" else not os.path.exists(place.path)


@pytest.mark.parametrize("program", ["skopeo", "umoci", "cp"])
@pytest.mark.parametrize("after", ["first", "absent"])
def test_a_program_that_works_on_is_ended(
    place: Place, program: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a child in a session of its own, which goes on to write into the workspace of the task that was killed."""
    place.reset(cached=False)
    bin_directory = place.directory / "bin"
    shutil.rmtree(bin_directory, ignore_errors=True)
    bin_directory.mkdir()
    work = (
        'n=0; while [ $n -lt 100000 ]; do n=$((n+1)); mkdir -p "$TMPDIR/more/$n"; echo > "$TMPDIR/more/$n/file"; done'
    )
    busy = programs.script(bin_directory / "busy", f"{work}\n")
    real = tools.find(program)
    programs.script(
        bin_directory / program,
        f'case "$*" in *inspect*) exec {real} "$@";; esac\nsetsid {busy} </dev/null >/dev/null 2>&1 &\n'
        f'while ! [ -d "$TMPDIR/more/20" ]; do read -t 0.01 x </dev/zero; done\nkill -9 $PPID\nsleep 60\n',
    )
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{bin_directory}:{os.environ['PATH']}")
        end = killing.kill(place.task("first"), at=sys.maxsize)
    assert end.was_killed, end.said
    began = time.monotonic()
    place.converge(after)
    assert time.monotonic() - began < 30
    assert left(place.work) == []
    assert programs.with_word(busy) == []
    assert os.path.exists(place.path) == (after == "first")


def test_the_first_record_of_a_killed_task_is_no_files_of_a_user(place: Place) -> None:
    """A directory that has nothing but that is an empty one."""
    for after in ("first", "absent"):
        place.reset(cached=True)
        os.mkdir(place.path, 0o700)
        gone = subprocess.Popen(["true"])
        gone.wait()
        temporary = pathlib.Path(place.path, f"longshore.json.{gone.pid}.0123abcd")
        for text, mode, name in (("x", 0o600, ""), ("{}\n", 0o666, ""), ("{}\n", 0o600, "x"), ("{}\n", 0o600, "link")):
            mine = pathlib.Path(f"{temporary}{name if name != 'link' else ''}")
            mine.write_text(text)
            mine.chmod(mode)
            if name == "link":
                os.link(mine, place.work / "second")
            with pytest.raises(WrongState, match="not a bundle of oci_bundle"):
                place.converge(after)
            assert mine.read_text() == text
            mine.unlink()
        temporary.write_text("{")
        temporary.chmod(0o600)
        place.check(after)


def test_an_empty_directory_is_gone_afterwards_and_one_of_a_user_is_not(place: Place) -> None:
    place.reset(cached=True)
    os.mkdir(place.path, 0o700)
    assert place.converge("absent").actions == (Action.REMOVE,)
    assert not os.path.lexists(place.path)
    os.mkdir(place.path, 0o700)
    pathlib.Path(place.path, "file").write_text("mine")
    with pytest.raises(WrongState, match="is not removed"):
        place.converge("absent")
    assert pathlib.Path(place.path, "file").read_text() == "mine"


def test_a_bundle_behind_a_link_or_a_mount_is_refused_before_anything_goes(place: Place) -> None:
    place.reset(cached=True, bundle="first")
    before = tree(place.path)
    os.rename(place.path, f"{place.path}-behind")
    os.symlink("web-behind", place.path)
    with pytest.raises(WrongState, match="is not removed"):
        place.converge("absent")
    assert tree(f"{place.path}-behind") == before
    os.unlink(place.path)
    os.rename(f"{place.path}-behind", place.path)
    subprocess.run(["mount", "--bind", place.path, place.path], check=True)
    with pytest.raises(Conflict, match="is mounted"):
        place.converge("absent")
    subprocess.run(["umount", "--lazy", place.path], check=True)
    assert tree(place.path) == before


def test_a_bundle_on_a_full_disk_is_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.reset(cached=True, bundle="first")

    def full(path: str, text: str, **_more: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as exc:
            raise LongshoreError(f"Cannot write {path}.") from exc

    monkeypatch.setattr(upkeep, "write_text", full)
    assert place.converge("absent").actions == (Action.REMOVE,)
    assert not os.path.lexists(place.path)


def test_a_root_file_system_that_a_container_has_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an update is killed at any step, and whatever way to the bundle the container was given."""
    for at in (5, 12, 20, 26, 30, 34):
        place.reset(cached=True, bundle="first")
        (root,) = (name for name in os.listdir(place.path) if name.startswith("rootfs-") and "." not in name)
        pathlib.Path(place.path, root, "written").write_text("by the container")
        config = {"root": {"path": f"/elsewhere/web/{root}"}}
        with monkeypatch.context() as patch:
            holder = type("Holder", (), {"name": "c"})()
            patch.setattr(Store, "bundle_holder", lambda _self, _bundle, holder=holder: holder)
            patch.setattr(Store, "load_config", lambda _self, _name, config=config: config)
            killing.kill(place.task("other"), at=at)
            place.converge("other")
            place.converge("first")
            assert pathlib.Path(place.path, root, "written").read_text() == "by the container"
