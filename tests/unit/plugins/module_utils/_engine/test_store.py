# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import subprocess
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._engine import store
from ansible_collections.longshore.oci.plugins.module_utils._engine.container import Exit, Record
from ansible_collections.longshore.oci.plugins.module_utils._engine.errors import Conflict, EngineError, InvalidInput
from ansible_collections.longshore.oci.plugins.module_utils._engine.files import is_busy
from ansible_collections.longshore.oci.plugins.module_utils._engine.process import ProcessId
from ansible_collections.longshore.oci.plugins.module_utils._engine.store import Lock, Store
from ansible_collections.longshore.oci.plugins.module_utils._engine.waiting import Deadline
from ansible_collections.longshore.oci.tests.unit import builders, programs


@pytest.fixture
def places(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _save(places: Store, **changes: t.Any) -> Record:
    record = builders.record(**changes)
    os.makedirs(places.paths(record.name).state, exist_ok=True)
    places.save(record)
    return record


class TestNames:
    @pytest.mark.parametrize("name", ["web", "a", "_", "+", "Web-1.0_x+y", "9", "a" * 200, "a.", "a..b"])
    def test_good(self, name: str) -> None:
        store.check_name(name)

    @pytest.mark.parametrize(
        "name",
        [
            "", ".", "..", ".web", "a/b", "/a", "a b", "a\n", "a:b", "a@b", "\u00e9", "a\0", "a" * 201,
            # The runtimes take it for an option: it is the last word of their command lines.
            "-web", "-",
        ],
    )  # fmt: skip
    def test_bad(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="cannot be the name of a container"):
            store.check_name(name)


class TestRecords:
    FULL: t.ClassVar[dict[str, t.Any]] = {
        "definition": builders.definition(
            runtime_args=("--debug",), conmon_env={"A": "1"}, exit_command=("/bin/true", "x"), log_size_max=5
        ),
        "init": ProcessId(7, 8, "boot"),
        "monitor": ProcessId(9, 10, "boot"),
        "last_exit": Exit(137, "killed", "2026-01-01T00:00:00.000000Z", True),
        "stop_timeout": 2.5,
    }

    @pytest.mark.parametrize("changes", [{}, FULL])
    def test_what_is_saved_is_loaded(self, places: Store, changes: dict[str, t.Any]) -> None:
        record = _save(places, **changes)
        assert places.load("web") == record

    def test_it_is_for_the_owner_alone(self, places: Store) -> None:
        _save(places)
        assert os.stat(places.paths("web").record).st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        "text", ["", "{", "null", "[]", '{"format": 1}', '{"format": 1, "name": "web", "definition": {}}',
                 '{"format": 1, "name": "web", "definition": 5}'],
    )  # fmt: skip
    def test_a_damaged_record_is_none(self, places: Store, text: str) -> None:
        _save(places)
        pathlib.Path(places.paths("web").record).write_text(text, encoding="utf-8")
        assert places.load("web") is None
        assert places.names() == []

    @pytest.mark.parametrize("field", ["init", "runtime", "last_exit", "definition"])
    @pytest.mark.parametrize("value", [5, "texts", [1], {"a": 1}])
    def test_a_record_with_a_damaged_field_is_none(self, places: Store, field: str, value: t.Any) -> None:
        _save(places, **self.FULL)
        path = pathlib.Path(places.paths("web").record)
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), field: value}), encoding="utf-8")
        assert places.load("web") is None

    def test_a_field_of_a_newer_release_does_no_harm(self, places: Store) -> None:
        record = _save(places)
        path = pathlib.Path(places.paths("web").record)
        value = json.loads(path.read_text(encoding="utf-8"))
        value["definition"]["colour"] = value["colour"] = "blue"
        path.write_text(json.dumps(value), encoding="utf-8")
        assert places.load("web") == record

    def test_a_newer_format_is_not_misread(self, places: Store) -> None:
        _save(places)
        path = pathlib.Path(places.paths("web").record)
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format": 2}), encoding="utf-8")
        with pytest.raises(EngineError, match=r"record of the container web has the format 2.*newer release"):
            places.load("web")

    def test_names(self, places: Store) -> None:
        assert places.names() == []
        for name in ("web", "db"):
            _save(places, name=name)
        os.makedirs(places.paths("nothing").state)
        assert places.names() == ["db", "web"]

    def test_forgetting(self, places: Store) -> None:
        _save(places)
        pathlib.Path(places.paths("web").log).write_text("", encoding="utf-8")
        places.forget("web")
        places.forget("web")
        assert not os.path.exists(places.paths("web").state)
        assert places.load("web") is None


def _lock(places: Store) -> Lock:
    return Lock(places.paths("web").lock, "web")


# Another process that takes the lock, says so, and keeps it until it is told to let go or is killed.
HOLDER = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._engine.store import Lock
from ansible_collections.longshore.oci.plugins.module_utils._engine.waiting import Deadline
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

    def test_who_has_it_is_named_at_the_deadline(
        self, places: Store, holder: subprocess.Popen[str], open_files: t.Any
    ) -> None:
        before = open_files()
        with pytest.raises(Conflict, match=rf"^process {holder.pid} \(\S+\) is working on the container web"):
            _lock(places).acquire(Deadline(0.05))
        assert open_files() == before

    def test_a_thread_waits_like_a_process(self, places: Store) -> None:
        first = _lock(places)
        first.acquire(Deadline(0))
        with pytest.raises(Conflict, match=rf"^process {os.getpid()} \(\S+\) is working"):
            _lock(places).acquire(Deadline(0.05))
        first.release()

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
        really, opened = store._flock, []

        def flock(descriptor: int, how: int) -> bool:
            if how == fcntl.LOCK_EX:
                opened.append(descriptor)
                if len(opened) == 1:
                    os.unlink(places.paths("web").lock)
            return really(descriptor, how)

        monkeypatch.setattr(store, "_flock", flock)
        with places.locked("web", Deadline(0)):
            assert os.path.exists(places.paths("web").lock)
        assert len(opened) == 2

    def test_a_killed_holder_is_told_of(self, places: Store, holder: subprocess.Popen[str]) -> None:
        lock = _lock(places)
        for abandoned in (True, False):
            holder.kill()
            holder.wait()
            lock.acquire(Deadline(0))
            assert lock.abandoned is abandoned
            lock.release()
            assert not is_busy(places.run_dir, "web")

    def test_a_program_that_inherits_it_has_it(self, places: Store) -> None:
        """It goes on when the task is gone, and is the one that is named."""
        lock = _lock(places)
        lock.acquire(Deadline(0))
        child = subprocess.Popen(["sleep", "60"], pass_fds=lock.descriptors)
        file, directory = lock.descriptors
        os.close(file)
        os.close(directory)
        lock._held = ()
        try:
            with pytest.raises(Conflict, match=rf"^process {child.pid} \(sleep\) is working on the container web"):
                _lock(places).acquire(Deadline(0.05))
            thread = threading.Thread(target=lock.acquire, args=(Deadline(30),))
            thread.start()
        finally:
            child.kill()
            child.wait()
        thread.join()
        assert lock.abandoned
        lock.release()

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


class TestBundles:
    def test_the_first_has_it(self, places: Store, tmp_path: pathlib.Path) -> None:
        bundle = f"{tmp_path}/bundle"
        os.mkdir(bundle)
        for name in ("web", "db"):
            _save(places, name=name, definition=builders.definition(bundle=bundle))
        places.claim_bundle(bundle, "web")
        places.claim_bundle(bundle, "web")
        with pytest.raises(Conflict, match=f"The bundle {bundle} is in use by the container web"):
            places.claim_bundle(bundle, "db")
        # Not any other's to give back.
        places.release_bundle(bundle, "db")
        with pytest.raises(Conflict, match="web"):
            places.check_bundle(bundle, "db")
        places.release_bundle(bundle, "web")
        places.claim_bundle(bundle, "db")

    def test_another_path_to_it_is_the_same(self, places: Store, tmp_path: pathlib.Path) -> None:
        os.mkdir(tmp_path / "bundle")
        os.symlink("bundle", tmp_path / "link")
        _save(places, definition=builders.definition(bundle=f"{tmp_path}/bundle"))
        places.claim_bundle(f"{tmp_path}/bundle", "web")
        with pytest.raises(Conflict):
            places.check_bundle(f"{tmp_path}/link/", "db")

    def test_a_claim_of_a_container_that_is_no_more_is_void(self, places: Store) -> None:
        _save(places)
        places.claim_bundle("/srv/web", "web")
        places.forget("web")
        places.check_bundle("/srv/web", "db")

    def test_a_claim_of_a_container_that_has_another_now_is_void(self, places: Store) -> None:
        _save(places)
        places.claim_bundle("/srv/web", "web")
        _save(places, definition=builders.definition(bundle="/srv/other"))
        places.check_bundle("/srv/web", "db")

    def test_forgetting_gives_back_what_a_killed_task_has_claimed(self, places: Store) -> None:
        """A recreate from another bundle claims that, and the record tells of that alone."""
        _save(places, name="db", definition=builders.definition(bundle="/srv/db"))
        places.claim_bundle("/srv/db", "db")
        for path in ("/srv/web", "/srv/other"):
            _save(places, definition=builders.definition(bundle=path))
            places.claim_bundle(path, "web")
        assert len(os.listdir(f"{places.state_dir}/bundles")) == 3
        places.forget("web")
        assert [os.readlink(entry) for entry in os.scandir(f"{places.state_dir}/bundles")] == ["db"]

    def test_only_one_of_many_gets_it(self, places: Store) -> None:
        names = [f"c{number}" for number in range(8)]
        for name in names:
            _save(places, name=name)
        got, refused = [], []
        barrier = threading.Barrier(len(names))

        def claim(name: str) -> None:
            barrier.wait()
            try:
                places.claim_bundle("/srv/web", name)
                got.append(name)
            except Conflict as exc:
                refused.append(str(exc))

        threads = [threading.Thread(target=claim, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert len(refused) == len(names) - 1
        assert all(f"in use by the container {got[0]}" in text for text in refused)
