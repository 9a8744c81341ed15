# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import resource
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import deadline as base_deadline
from ansible_collections.longshore.oci.plugins.module_utils._base import inotify
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.inotify import Watch

pytestmark = pytest.mark.pure


class TestWatch:
    def test_it_fires_once_for_what_happened(self, tmp_path: pathlib.Path) -> None:
        with Watch(str(tmp_path), inotify.IN_MOVED_TO) as watch:
            (tmp_path / "a").write_text("", encoding="utf-8")
            assert base_deadline.wait_readable([watch.fd], Deadline(0)) == set()
            (tmp_path / "a").rename(tmp_path / "b")
            assert base_deadline.wait_readable([watch.fd], Deadline(30)) == {watch.fd}
            watch.clear()
            watch.clear()
            assert base_deadline.wait_readable([watch.fd], Deadline(0)) == set()

    def test_what_cannot_be_watched(self, tmp_path: pathlib.Path, open_files: t.Any) -> None:
        before = open_files()
        with pytest.raises(LongshoreError, match=r"Cannot watch .*/nowhere: No such file or directory"):
            Watch(f"{tmp_path}/nowhere", inotify.IN_MOVED_TO)
        assert open_files() == before

    def test_it_is_closed_once(self, tmp_path: pathlib.Path, open_files: t.Any) -> None:
        before = open_files()
        watch = Watch(str(tmp_path), inotify.IN_MOVED_TO)
        watch.close()
        watch.close()
        assert open_files() == before


class Looks:
    """A check that is true from its third time on."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count >= 3


class TestNoneLeft:
    """inotify_init1(2) fails with EMFILE, as it does when the user has no instance left."""

    @pytest.fixture
    def ended(self) -> t.Iterator[int]:
        """Return a descriptor that is readable, and take all others away."""
        reader, writer = os.pipe()
        os.close(writer)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (writer, before[1]))
        yield reader
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(reader)

    @staticmethod
    def _until(path: pathlib.Path, check: t.Callable[[], bool], seconds: float, until: t.Sequence[int] = ()) -> bool:
        return inotify.wait_until(check, Deadline(seconds), path=str(path), mask=inotify.IN_MOVED_TO, until=until)

    def test_the_watch(self, tmp_path: pathlib.Path, ended: int) -> None:
        with pytest.raises(inotify.NoneLeft, match=r"Cannot watch .*: Too many open files"):
            Watch(str(tmp_path), inotify.IN_MOVED_TO)

    def test_it_looks_again_and_again(self, tmp_path: pathlib.Path, ended: int) -> None:
        assert self._until(tmp_path, lambda: True, 0)
        looks = Looks()
        assert self._until(tmp_path, looks, 30)
        assert looks.count == 3

    def test_the_deadline(self, tmp_path: pathlib.Path, ended: int) -> None:
        deadline = Deadline(10)
        assert not self._until(tmp_path, lambda: False, 0.1)
        assert 0 < deadline.remaining() <= 9.9

    def test_the_end_of_a_process(self, tmp_path: pathlib.Path, ended: int) -> None:
        """One more look, and no other."""
        looks = Looks()
        assert not self._until(tmp_path, looks, 30, [ended])
        assert looks.count == 2


class TestWaitUntil:
    @staticmethod
    def _until(
        path: pathlib.Path, check: t.Callable[[], bool], deadline: Deadline, until: t.Sequence[int] = ()
    ) -> bool:
        return inotify.wait_until(check, deadline, path=str(path), mask=inotify.IN_MOVED_TO, until=until)

    def test_what_is_true_already_is_not_waited_for(self, tmp_path: pathlib.Path) -> None:
        assert self._until(tmp_path, lambda: True, Deadline(0))

    def test_an_event_ends_it(self, tmp_path: pathlib.Path) -> None:
        deadline, asked = Deadline(30), threading.Event()

        def check() -> bool:
            asked.set()
            return (tmp_path / "there").exists()

        def rename() -> None:
            asked.wait(30)
            (tmp_path / "new").write_text("", encoding="utf-8")
            # Any other event, with which it is still not true, must not end it.
            (tmp_path / "new").rename(tmp_path / "other")
            (tmp_path / "other").rename(tmp_path / "there")

        thread = threading.Thread(target=rename)
        thread.start()
        assert self._until(tmp_path, check, deadline)
        thread.join()
        assert deadline.remaining() > 0

    def test_what_happens_between_the_watch_and_the_check_counts(self, tmp_path: pathlib.Path) -> None:
        """The watch is there before the first look: what comes after the look cannot get lost."""
        looks = []

        def check() -> bool:
            looks.append((tmp_path / "there").exists())
            if len(looks) == 1:
                (tmp_path / "new").write_text("", encoding="utf-8")
                (tmp_path / "new").rename(tmp_path / "there")
            return looks[-1]

        deadline = Deadline(30)
        assert self._until(tmp_path, check, deadline)
        assert looks == [False, True]
        assert deadline.remaining() > 0

    def test_the_deadline_ends_it_with_a_last_look(self, tmp_path: pathlib.Path) -> None:
        looks: list[bool] = []
        assert not self._until(tmp_path, lambda: looks.__iadd__([True]) is None, Deadline(0.02))
        assert len(looks) == 2

    @pytest.mark.impure
    def test_the_end_of_who_would_do_it_ends_it(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        descriptor = os.pidfd_open(spawn("true").pid)
        deadline = Deadline(30)
        looks: list[None] = []

        def check() -> bool:
            looks.append(None)
            return len(looks) == 2

        # Looked at once more: it may have been the last thing that it did.
        assert self._until(tmp_path, check, deadline, until=[descriptor])
        assert not self._until(tmp_path, lambda: False, deadline, until=[descriptor])
        assert deadline.remaining() > 0
        os.close(descriptor)
