# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pathlib
import subprocess
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._base.files import is_busy
from ansible_collections.longshore.oci.plugins.module_utils._state.lock import Lock
from ansible_collections.longshore.oci.plugins.module_utils._state.lock_holders import holders
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import programs

pytestmark = pytest.mark.pure


@pytest.fixture
def places(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _lock(places: Store) -> Lock:
    return Lock(places.paths("web").lock, "web")


# Another process that takes the lock, says so, and keeps it until it is told to let go or is killed.
HOLDER = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._state.lock import Lock
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
lock = Lock(sys.argv[1], "web")
lock.acquire(Deadline(60))
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("free", flush=True)
sys.stdin.readline()
"""


def _fill(directory: str, *, inodes: bool) -> None:
    """Until there is no room for one more file, or for one more byte."""

    def add(name: str) -> None:
        with open(f"{directory}/{name}", "ab") as stream:
            stream.write(b"" if inodes else b"x" * 4096)

    with contextlib.suppress(OSError):
        for number in itertools.count():
            add(str(number) if inodes else "filling")
    with pytest.raises(OSError, match="No space left"):
        add("one more" if inodes else "filling")


@pytest.fixture
def holder(places: Store) -> t.Iterator[subprocess.Popen[str]]:
    command, env = [sys.executable, "-c", HOLDER, places.paths("web").lock], programs.python_environment()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


class TestLock:
    def test_it_leaves_nothing(self, places: Store, open_files: t.Any) -> None:
        before = open_files()
        with places.locked("web", Deadline(0)):
            assert os.path.exists(places.paths("web").lock)
        assert os.listdir(f"{places.run_dir}/locks") == []
        assert open_files() == before

    def test_it_is_released_on_the_way_of_an_error(self, places: Store) -> None:
        with pytest.raises(RuntimeError, match="mine"), places.locked("web", Deadline(0)):
            raise RuntimeError("mine")
        with places.locked("web", Deadline(0)):
            pass

    def test_each_name_has_its_own(self, places: Store) -> None:
        with places.locked("web", Deadline(0)), places.locked("db", Deadline(0)):
            assert sorted(os.listdir(f"{places.run_dir}/locks")) == ["db", "web"]

    @pytest.mark.impure
    def test_who_has_it_is_named_at_the_deadline(
        self, places: Store, holder: subprocess.Popen[str], open_files: t.Any
    ) -> None:
        before = open_files()
        with pytest.raises(Conflict, match=rf"the container web.*: process {holder.pid} \(\S+\)\.$"):
            _lock(places).acquire(Deadline(0.05))
        assert open_files() == before

    def test_a_thread_waits_like_a_process(self, places: Store) -> None:
        first = _lock(places)
        first.acquire(Deadline(0))
        with pytest.raises(Conflict, match=rf": process {os.getpid()} \(\S+\)\.$"):
            _lock(places).acquire(Deadline(0.05))
        first.release()

    @pytest.mark.impure
    @pytest.mark.parametrize("ending", ["release", "kill"])
    def test_the_next_one_is_woken(self, places: Store, holder: subprocess.Popen[str], ending: str) -> None:
        deadline, lock = Deadline(30), _lock(places)
        thread = threading.Thread(target=lock.acquire, args=(deadline,))
        thread.start()
        assert holder.stdin is not None
        if ending == "kill":
            holder.kill()
        else:
            holder.stdin.write("\n")
            holder.stdin.flush()
        thread.join()
        # A waiter that missed the event would have taken it at the deadline only.
        assert deadline.remaining() > 5
        lock.release()
        assert os.listdir(f"{places.run_dir}/locks") == []

    @pytest.mark.impure
    def test_the_file_of_a_killed_holder_does_not_matter(self, places: Store, holder: subprocess.Popen[str]) -> None:
        holder.kill()
        holder.wait()
        assert os.path.exists(places.paths("web").lock)
        with places.locked("web", Deadline(0)):
            pass

    def test_a_file_that_was_removed_meanwhile_counts_no_more(
        self, places: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between opening the file and locking it, whoever had it may have removed it."""
        really, opened = fcntl.flock, []

        def flock(descriptor: int, how: int) -> None:
            if how & fcntl.LOCK_EX:
                opened.append(descriptor)
                if len(opened) == 1:
                    os.unlink(places.paths("web").lock)
            really(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", flock)
        with places.locked("web", Deadline(0)):
            assert os.path.exists(places.paths("web").lock)
        assert len(opened) == 2

    @pytest.mark.impure
    def test_a_killed_holder_is_told_of(self, places: Store, holder: subprocess.Popen[str]) -> None:
        lock = _lock(places)
        for abandoned in (True, False):
            holder.kill()
            holder.wait()
            lock.acquire(Deadline(0))
            assert lock.abandoned is abandoned
            lock.release()
            assert not is_busy(places.run_dir, "web")

    @pytest.mark.impure
    def test_a_program_that_inherits_it_has_it(self, places: Store) -> None:
        """It goes on when the task is gone, and is the one that is named."""
        lock = _lock(places)
        lock.acquire(Deadline(0))
        child = subprocess.Popen(["sleep", "60"], pass_fds=lock.descriptors)
        file, directory = lock.descriptors
        os.close(file)
        os.close(directory)
        lock = _lock(places)  # of the next task
        try:
            with pytest.raises(Conflict, match=rf"the container web.*: process {child.pid} \(sleep\)\.$"):
                _lock(places).acquire(Deadline(0.05))
            thread = threading.Thread(target=lock.acquire, args=(Deadline(30),))
            thread.start()
        finally:
            child.kill()
            child.wait()
        thread.join()
        assert lock.abandoned
        lock.release()

    def test_who_has_it_is_found_through_a_link(self, places: Store, tmp_path: pathlib.Path) -> None:
        """As /var/run is one."""
        os.symlink(places.run_dir, tmp_path / "link")
        with places.locked("web", Deadline(0)):
            assert len(holders(f"{tmp_path}/link/locks/web")) == 1

    def test_it_is_released_once(self, places: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signal may come in the middle of it, and the file of the next holder must not go with a second try."""
        first, second, really = _lock(places), _lock(places), os.close
        first.acquire(Deadline(0))

        def interrupted(descriptor: int) -> None:
            really(descriptor)
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first.release()
        second.acquire(Deadline(0))
        first.release()
        assert is_busy(places.run_dir, "web")
        with pytest.raises(Conflict):
            first.acquire(Deadline(0))
        second.release()

    @pytest.mark.impure
    @pytest.mark.parametrize("full", ["no inodes", "no blocks", "read-only"])
    def test_a_directory_in_which_no_file_can_be_made(
        self, tmp_path: pathlib.Path, full: str, open_files: t.Any
    ) -> None:
        """Two exclude each other there too, and one that has a file from before is respected."""
        places = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        os.makedirs(f"{places.run_dir}/locks")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "none", places.run_dir], check=True)
        before, holder = open_files(), Lock(places.paths("db").lock, "db")
        try:
            holder.acquire(Deadline(0))
            if full == "read-only":
                holder.release()
                subprocess.run(["mount", "-o", "remount,ro", places.run_dir], check=True)
            else:
                _fill(places.run_dir, inodes=full == "no inodes")
            if full == "no inodes":
                with pytest.raises(Conflict, match=rf"process {os.getpid()} "):
                    _lock(places).acquire(Deadline(0.05))
            holder.release()
            if full == "no inodes":
                open(f"{places.run_dir}/last", "w", encoding="ascii").close()
            with places.locked("web", Deadline(5)), pytest.raises(Conflict, match=rf"process {os.getpid()} "):
                _lock(places).acquire(Deadline(0.05))
            assert open_files() == before
        finally:
            holder.release()
            subprocess.run(["umount", places.run_dir], check=True)

    @pytest.mark.impure  # A race.
    def test_never_two_at_once(self, places: Store) -> None:
        inside, worst, errors = [0], [0], []

        def work() -> None:
            try:
                for _number in range(40):
                    with places.locked("web", Deadline(60)):
                        inside[0] += 1
                        worst[0] = max(worst[0], inside[0])
                        inside[0] -= 1
            except BaseException as exc:
                errors.append(exc)

        deadline = Deadline(50)
        threads = [threading.Thread(target=work) for _number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (worst, errors) == ([1], [])
        # Nobody slept through a release.
        assert deadline.remaining() > 0
        assert os.listdir(f"{places.run_dir}/locks") == []
