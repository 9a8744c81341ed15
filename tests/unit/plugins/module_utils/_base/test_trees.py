# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees as a container can leave them, on the file system of this host."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import subprocess
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files, trees
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.tests.unit import programs
from ansible_collections.longshore.oci.tests.unit.deep import deepen
from ansible_collections.longshore.oci.tests.unit.odd_names import ODD_NAMES

DEPTH = 3000


def _remove_at(path: pathlib.Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:
        trees.remove_at(here, path.name)
    finally:
        os.close(here)


class TestRemove:
    @pytest.mark.parametrize(("depth", "name"), [(DEPTH, "d"), (40, "n" * 255), (6000, "d")])
    def test_any_depth_and_length(self, top: pathlib.Path, depth: int, name: str) -> None:
        deepen(top, depth, name)
        files.remove_tree(str(top))
        assert not top.exists()

    def test_many_directories_that_are_deep(self, top: pathlib.Path) -> None:
        for number in range(5):
            (top / str(number)).mkdir()
            deepen(top / str(number), 300)
            (top / str(number) / "file").write_text("")
        files.remove_tree(str(top))
        assert not top.exists()

    def test_more_directories_in_one_than_are_remembered(
        self, top: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trees, "_MOST_NAMES", 3)
        for number in range(1000):
            (top / str(number) / "below").mkdir(parents=True)
        files.remove_tree(str(top))
        assert not top.exists()

    @pytest.mark.pure
    def test_links_are_not_followed(self, top: pathlib.Path) -> None:
        (top.parent / "precious").mkdir()
        (top.parent / "precious/file").write_text("")
        (top / "link").symlink_to(top.parent / "precious")
        (top / "up").symlink_to("..")
        os.mkfifo(top / "fifo")
        files.remove_tree(str(top))
        assert os.listdir(top.parent) == ["precious"]
        assert os.listdir(top.parent / "precious") == ["file"]

    @pytest.mark.parametrize("kind", ["tmpfs", "bind"])
    def test_a_mount_is_refused_before_anything_is_removed(self, top: pathlib.Path, kind: str) -> None:
        place = top / "z" / "with blank"
        place.mkdir(parents=True)
        (top / "a").write_text("")
        (top.parent / "source").mkdir()
        (top.parent / "source/precious").write_text("")
        words = ["-t", "tmpfs", "none"] if kind == "tmpfs" else ["--bind", str(top.parent / "source")]
        subprocess.run(["mount", *words, str(place)], check=True)
        try:
            with pytest.raises(LongshoreError, match=f"something is mounted at {place}") as caught:
                files.remove_tree(str(top))
            assert caught.value.hint == "Unmount it first."
            assert (top / "a").exists()
            # One that the table of mounts did not have yet.
            here = os.open(top.parent, os.O_RDONLY)
            try:
                with pytest.raises(LongshoreError, match="something is mounted at top/z/with blank"):
                    trees.remove_at(here, "top")
            finally:
                os.close(here)
        finally:
            subprocess.run(["umount", str(place)], check=True)
        assert os.listdir(top.parent / "source") == ["precious"]

    @pytest.mark.parametrize(
        ("name", "where"),
        [
            *((case.values[0], "below") for case in ODD_NAMES),
            *(("a b\n", where) for where in ("above", "at", "slash", "dots")),
        ],
    )
    def test_a_mount_at_any_name(self, top: pathlib.Path, name: str, where: str) -> None:
        """Of the directory that is removed, of one in it, and of one that it is in."""
        path = top / name if where == "above" else top
        place = {"above": path / "mount", "at": path}.get(where, path / name)
        given = {"slash": f"{path}//", "dots": f"{path}/x/.."}.get(where, str(path))
        (path / "x").mkdir(parents=True)
        place.mkdir(exist_ok=True)
        (path / "a").write_text("")
        precious = top.parent / "precious"
        (precious / "a").mkdir(parents=True)
        subprocess.run(["mount", "--bind", precious, place], check=True)
        try:
            with pytest.raises(LongshoreError, match="something is mounted at"):
                files.remove_tree(given)
            assert trees.mounted(given) == [str(place)]
            # One that the table of mounts did not have yet.
            with pytest.raises((LongshoreError, OSError), match=r"something is mounted at|busy"):
                _remove_at(path)
            assert os.listdir(precious) == ["a"]
            trees.unmount(given)
            assert trees.mounted(given) == []
        finally:
            subprocess.run(["umount", "-q", place], check=False)
        files.remove_tree(str(top))
        assert os.listdir(precious) == ["a"]

    def test_a_mount_that_appears_meanwhile(self, top: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """After the table of mounts was read, and after the directory that it is made in was entered."""
        precious, entered = top.parent / "precious", []
        (precious / "a").mkdir(parents=True)
        for number in range(3):
            (top / f"{number}/below").mkdir(parents=True)
        scan = os.scandir

        def scan_then_mount(directory: int) -> t.Any:
            with scan(directory) as entries:
                found = list(entries)
            place = os.readlink(f"/proc/self/fd/{directory}")
            if place == str(top):
                entered.append(place)
                subprocess.run(["mount", "--bind", precious, top / "1"], check=True)
            return contextlib.nullcontext(found)

        monkeypatch.setattr(os, "scandir", scan_then_mount)
        try:
            with pytest.raises(LongshoreError, match=r"something is mounted at top/1\."):
                files.remove_tree(str(top))
        finally:
            subprocess.run(["umount", top / "1"], check=True)
        assert (entered, os.listdir(precious)) == ([str(top)], ["a"])

    def test_a_file_that_something_is_mounted_on(self, top: pathlib.Path) -> None:
        (top / "a").write_text("")
        (top / "file").write_text("")
        (top.parent / "precious").write_text("precious")
        subprocess.run(["mount", "--bind", top.parent / "precious", top / "file"], check=True)
        try:
            with pytest.raises(LongshoreError, match=f"something is mounted at {top}/file"):
                files.remove_tree(str(top))
            assert (top / "a").exists()
            # One that the table of mounts did not have yet.
            here = os.open(top.parent, os.O_RDONLY)
            try:
                with pytest.raises(OSError, match="busy"):
                    trees.remove_at(here, "top")
            finally:
                os.close(here)
        finally:
            subprocess.run(["umount", str(top / "file")], check=True)
        assert (top.parent / "precious").read_text() == "precious"

    @pytest.mark.pure
    def test_what_is_still_written_to(self, top: pathlib.Path) -> None:
        """A conmon that is ending makes a few files more."""
        (top / "exits").mkdir()
        stop = threading.Event()

        def write() -> None:
            for number in range(200):
                try:
                    (top / "exits" / str(number)).write_text("")
                except FileNotFoundError:
                    break
            stop.set()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            files.remove_tree(str(top))
        finally:
            thread.join()
        assert not top.exists()

    def test_a_directory_that_is_moved_away_meanwhile_leads_nowhere_else(self, top: pathlib.Path) -> None:
        other = top.parent / "other"
        (other / "d" / "precious").mkdir(parents=True)
        deepen(top, 500)
        stop = threading.Event()

        def move() -> None:
            while not stop.is_set():
                try:
                    os.rename(top / "d/d/d", other / "moved")
                    os.rename(other / "moved", top / "d/d/d")
                except OSError:
                    stop.wait(0.0001)

        thread = threading.Thread(target=move)
        thread.start()
        try:
            files.remove_tree(str(top))
        except LongshoreError:
            pass  # It may be somewhere else at the very end.
        finally:
            stop.set()
            thread.join()
        assert (other / "d" / "precious").is_dir()

    def test_directories_without_permissions_for_another_user_than_root(self, tmp_path: pathlib.Path) -> None:
        """By a process that has given up root."""
        code = """
import os, sys
sys.path[:0] = sys.argv[3:]
from ansible_collections.longshore.oci.plugins.module_utils._base import files, trees
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir(sys.argv[1])
for mode in (0, 0o100, 0o200, 0o400, 0o500):
    os.makedirs(f"top/{mode}/a/b")
    open(f"top/{mode}/file", "w").close()
    for name in (f"top/{mode}/a/b", f"top/{mode}/a", f"top/{mode}"):
        os.chmod(name, mode)
files.remove_tree(f"{sys.argv[1]}/top")
print(os.listdir("."))
"""
        for parent in (tmp_path, *list(tmp_path.parents)[:3]):
            os.chmod(parent, os.stat(parent).st_mode | 0o711)
        (tmp_path / "own").mkdir()
        os.chown(tmp_path / "own", 65534, 65534)
        environment = programs.python_environment()
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "own"), "-", *environment.get("PYTHONPATH", "").split(":")],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("how", ["statx", "fdinfo"])
def test_the_mount_of_a_descriptor(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The same number either way, that of the table of mounts."""
    if how == "fdinfo":
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path), str(mount)], check=True)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            numbers = {line.split(" ")[4]: line.split(" ")[0] for line in table}
        descriptors = [os.open(path, os.O_PATH) for path in (tmp_path, mount)]
        found = [trees.mount_of(descriptor) for descriptor in descriptors]
        for descriptor in descriptors:
            os.close(descriptor)
        assert found[1] == numbers[str(mount)] != found[0]
    finally:
        subprocess.run(["umount", str(mount)], check=True)
