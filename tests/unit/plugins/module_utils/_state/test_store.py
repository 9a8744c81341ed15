# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId
from ansible_collections.longshore.oci.plugins.module_utils._state import store
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Exit, Record
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, killing

pytestmark = pytest.mark.pure


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
        with pytest.raises(InvalidOption, match="cannot be the name of a container"):
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
        with pytest.raises(LongshoreError, match=r"record of the container web has the format 2.*newer release"):
            places.load("web")

    @pytest.mark.parametrize("name", ["log_driver", "network_helper", "cgroup_manager"])
    def test_a_choice_of_a_newer_release_is_not_damage(self, places: Store, name: str) -> None:
        """Its container may run. Without a record, it would count as a leftover, and be removed."""
        _save(places)
        path = pathlib.Path(places.paths("web").record)
        value = json.loads(path.read_text(encoding="utf-8"))
        value["definition"][name] = "later"
        path.write_text(json.dumps(value), encoding="utf-8")
        with pytest.raises(LongshoreError, match=f"record of the container web has the {name} 'later'.*newer release"):
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


@contextlib.contextmanager
def full_disk() -> t.Iterator[None]:
    """The limit of the size of files (setrlimit(2)) makes writing fail, as a full disk does. Not for longer: also the report of the
    tests is a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestFullDisk:
    @pytest.mark.parametrize("phase", ["created", "starting", "running", "checkpointing"])
    def test_a_record_is_refused(self, places: Store, phase: str) -> None:
        record = _save(places)
        with full_disk(), pytest.raises(LongshoreError, match=r"Cannot write .*record\.json: File too large"):
            places.save(builders.record(phase=phase))
        assert places.load("web") == record

    def test_a_record_of_an_end_is_kept(self, places: Store) -> None:
        record = _save(places)
        with full_disk():
            for phase in ("stopping", "stopped", "removed"):
                now = places.save(builders.record(phase=phase))
                assert places.load("web") == now
        assert Store(state_dir=places.state_dir, run_dir=places.run_dir).load("web") == record

    def test_the_record_of_another_task_counts(self, places: Store) -> None:
        _save(places)
        with full_disk():
            places.save(builders.record(phase="stopping"))
        other = Store(state_dir=places.state_dir, run_dir=places.run_dir)
        now = other.save(builders.record(created_at="later"))
        assert places.load("web") == now
        other.forget("web")
        assert places.load("web") is None


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
        places.forget("web")
        places.claim_bundle(bundle, "db")

    def test_another_path_to_it_is_the_same(self, places: Store, tmp_path: pathlib.Path) -> None:
        os.mkdir(tmp_path / "bundle")
        os.symlink("bundle", tmp_path / "link")
        _save(places, definition=builders.definition(bundle=f"{tmp_path}/bundle"))
        places.claim_bundle(f"{tmp_path}/bundle", "web")
        with pytest.raises(Conflict):
            places.check_bundle(f"{tmp_path}/link/", "db")

    @pytest.mark.parametrize("spelling", ["bundle/", "bundle//.", "other/../bundle", "link", "link/../bundle/"])
    def test_the_bundle_of_the_record_is_not_released(
        self, places: Store, tmp_path: pathlib.Path, spelling: str
    ) -> None:
        """The former record has another spelling of its path."""
        os.mkdir(tmp_path / "bundle")
        os.mkdir(tmp_path / "other")
        os.symlink("bundle", tmp_path / "link")
        _save(places, definition=builders.definition(bundle=f"{tmp_path}/{spelling}"))
        places.claim_bundle(f"{tmp_path}/{spelling}", "web")
        places.release_bundle(f"{tmp_path}/bundle", "web")
        with pytest.raises(Conflict, match="in use by the container web"):
            places.check_bundle(f"{tmp_path}/bundle", "db")
        _save(places, definition=builders.definition(bundle=f"{tmp_path}/other"))
        places.release_bundle(f"{tmp_path}/bundle", "web")
        assert os.listdir(f"{places.state_dir}/bundles") == []

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

    @pytest.mark.impure
    def test_a_record_never_loses_its_claim(self, places: Store) -> None:
        """Killed at any step, a container that is still known has its bundle, and the next task removes what is left."""
        _save(places)
        steps = killing.steps(lambda: places.forget("web"))
        for at in range(len(steps)):
            _save(places)
            places.claim_bundle("/srv/web", "web")
            assert killing.kill(lambda: places.forget("web"), at=at).was_killed
            record = places.load("web")
            assert places.bundle_holder("/srv/web") == record, steps[at]
            assert record or os.path.exists(places.paths("web").state) or not os.listdir(f"{places.state_dir}/bundles")
            places.forget("web")
            assert os.listdir(f"{places.state_dir}/bundles") == []

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
