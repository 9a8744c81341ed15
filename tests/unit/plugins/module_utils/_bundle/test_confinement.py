# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which limits and labels a container gets: on files that other hosts have, since few kernels here have AppArmor or SELinux."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._bundle import confinement, facts
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import BundleRecord, Facts, Options
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "fixtures")
PROFILES = os.path.join(FIXTURES, "apparmor", "profiles")
POLICY = os.path.join(FIXTURES, "selinux")
NEWEST = "containers-default-0.62.2"
FACTS = Facts("amd64", CAPABILITIES, cgroup2=True, uid=0, gid=0)
TYPES = {name for name in dir(resource) if name.startswith("RLIMIT_")}
UNLIMITED = 2**64 - 1


def _config(facts: Facts = FACTS, **options: t.Any) -> dict[str, t.Any]:
    return spec.make(ImageConfig(cmd=("x",)), Options(**options), facts, User(), "/srv/web")


def _limits(facts: Facts = FACTS, **options: t.Any) -> dict[str, tuple[int, int]]:
    return {one["type"][7:]: (one["soft"], one["hard"]) for one in _config(facts, **options)["process"]["rlimits"]}


class TestLimits:
    def test_they_are_always_said(self) -> None:
        found = _limits()
        assert (found["NOFILE"], found["NPROC"]) == ((524288, 524288), (65536, 65536))

    def test_those_of_the_task_take_their_place_by_name(self) -> None:
        found = _limits(ulimits=("nofile=10:20", "core=0"))
        assert found == {**_limits(), "NOFILE": (10, 20), "CORE": (0, 0)}

    @pytest.mark.parametrize(
        ("most", "nofile", "nproc"),
        [
            ({"RLIMIT_NOFILE": 524288, "RLIMIT_NPROC": UNLIMITED}, (524288, 524288), (65536, 65536)),
            ({"RLIMIT_NOFILE": 1048576}, (524288, 524288), (65536, 65536)),
            # As much as there is, and the same where the kernel finds a bit more or less memory at the next boot.
            ({"RLIMIT_NOFILE": 20000, "RLIMIT_NPROC": 31412}, (16384, 16384), (16384, 16384)),
            ({"RLIMIT_NOFILE": 20000, "RLIMIT_NPROC": 31377}, (16384, 16384), (16384, 16384)),
            ({"RLIMIT_NOFILE": 512, "RLIMIT_NPROC": 1}, (512, 512), (1, 1)),
            ({"RLIMIT_NOFILE": 0, "RLIMIT_NPROC": 0}, (0, 0), (0, 0)),
        ],
    )
    def test_a_host_may_allow_less(self, most: dict[str, int], nofile: tuple[int, int], nproc: tuple[int, int]) -> None:
        found = _limits(FACTS._replace(most=most))
        assert (found["NOFILE"], found["NPROC"]) == (nofile, nproc)

    @pytest.mark.parametrize("most", [{}, {"RLIMIT_NPROC": UNLIMITED}, {"RLIMIT_NPROC": 7}])
    def test_less_than_the_host_allows(self, most: dict[str, int]) -> None:
        assert _limits(FACTS._replace(most=most), ulimits=("nproc=7",))["NPROC"] == (7, 7)

    @pytest.mark.parametrize("most", [0, 1, 6])
    def test_more_than_the_host_allows(self, most: int) -> None:
        with pytest.raises(InvalidOption, match=f"The ulimit nproc cannot be 7.* Use at most {most},"):
            _limits(FACTS._replace(most={"RLIMIT_NPROC": most}), ulimits=("nproc=7",))

    def test_only_who_can_raise_them_is_free_of_the_session(self) -> None:
        hard = {name: resource.getrlimit(getattr(resource, name))[1] for name in TYPES}
        known = {name: UNLIMITED if value == resource.RLIM_INFINITY else value for name, value in hard.items()}
        assert confinement.most(may_raise=False) == known
        assert confinement.most(may_raise=False, open_files=5)["RLIMIT_NOFILE"] == 5
        assert confinement.most(may_raise=True) == {}
        assert confinement.most(may_raise=True, open_files=5) == {"RLIMIT_NOFILE": 5}

    @pytest.mark.impure
    def test_what_is_asked_of_the_host(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root that has the capability raises them, but not in a user namespace of the container's own."""
        store = Store(state_dir=str(tmp_path), run_dir=str(tmp_path))
        userns = {"uidmap": ["0:100000:65536"]}

        def most(**options: t.Any) -> t.Mapping[str, int]:
            return facts.gather(Options(seccomp="unconfined", **options), store, "/srv/web", BundleRecord()).most

        monkeypatch.setattr(facts, "available_capabilities", lambda: ("CAP_SYS_RESOURCE",))
        assert most().keys() == {"RLIMIT_NOFILE"}
        assert most(userns=userns).keys() == TYPES
        monkeypatch.setattr(facts, "available_capabilities", lambda: ("CAP_SYS_ADMIN",))
        assert most().keys() == TYPES


class TestPids:
    @pytest.mark.parametrize(
        ("given", "counted", "expected"),
        [
            (None, True, {"limit": 2048}), (None, False, None),
            (5, True, {"limit": 5}), (5, False, {"limit": 5}),
            (0, True, {"limit": -1}), (0, False, None), (-1, True, {"limit": -1}), (-1, False, None), (-7, True, {"limit": -1}),
        ],
    )  # fmt: skip
    def test_the_limit(self, given: int | None, counted: bool, expected: dict[str, int] | None) -> None:
        found = _config(FACTS._replace(pids=counted), pids_limit=given)
        assert found["linux"]["resources"].get("pids") == expected

    @pytest.mark.parametrize(
        ("files", "root", "other"),
        [
            ({"cgroup.controllers": "cpuset cpu io memory pids\n"}, True, False),
            ({"cgroup.controllers": "cpuset cpu io memory\n"}, False, False),
            ({"cgroup.controllers": "\n"}, False, False),
            ({"cgroup.controllers": "mypids\n"}, False, False),
            ({"pids/cgroup.procs": "", "memory/cgroup.procs": ""}, True, False),
            ({"memory/cgroup.procs": ""}, False, False),
            ({"cgroup.controllers": "pids", "user.slice/user-7.slice/user@7.service/cgroup.controllers": "memory pids"}, True, True),
            ({"cgroup.controllers": "pids", "user.slice/user-7.slice/user@7.service/cgroup.controllers": ""}, True, False),
        ],
    )  # fmt: skip
    def test_who_can_count_them(self, files: dict[str, str], root: bool, other: bool, tmp_path: pathlib.Path) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="ascii")
        assert confinement.counts_processes(0, str(tmp_path)) is root
        assert confinement.counts_processes(7, str(tmp_path)) is other


class TestAppArmor:
    def _choose(self, previous: str | None = None, uid: int = 0, path: str = PROFILES, **options: t.Any) -> t.Any:
        return confinement.apparmor_profile(Options(**options), uid, previous, path)

    def test_the_list_of_the_kernel(self) -> None:
        with open(PROFILES, encoding="utf-8") as stream:
            found = confinement.profiles(stream.read())
        assert found["nvidia_modprobe//kmod"] == found["/usr/sbin/chronyd"] == found['"name with blanks"'] == "enforce"
        assert found["podman"] == "unconfined"
        assert confinement.profiles("") == confinement.profiles("nonsense\n\n") == {}

    def test_the_newest_that_confines(self) -> None:
        assert self._choose() == (NEWEST, False)

    def test_one_that_the_bundle_has_stays_while_it_is_loaded(self) -> None:
        """An upgrade of podman is no reason to make a container again."""
        assert self._choose("containers-default-0.9.10") == ("containers-default-0.9.10", False)
        assert self._choose("containers-default-0.1") == (NEWEST, False)
        assert self._choose("containers-default-0.63.0") == (NEWEST, False)
        assert self._choose("lsb_release") == (NEWEST, False)
        assert self._choose("docker-default") == ("docker-default", False)

    @pytest.mark.parametrize(
        ("loaded", "expected"),
        [
            ({"docker-default": "enforce", "podman": "unconfined"}, "docker-default"),
            (
                {"containers-default-longshore": "enforce", "containers-default-9.9.9": "enforce"},
                "containers-default-longshore",
            ),
            (
                {"containers-default-longshore": "complain", "containers-default-9.9.9": "enforce"},
                "containers-default-9.9.9",
            ),
            ({"docker-default": "complain"}, None),
            ({"containers-default": "enforce", "crun": "enforce"}, None),
            ({"containers-default-x": "kill"}, "containers-default-x"),
            ({}, None),
        ],
    )
    def test_others(self, loaded: dict[str, str], expected: str | None) -> None:
        assert confinement.default_profile(loaded, None) == expected

    def test_who_has_none(self, tmp_path: pathlib.Path) -> None:
        assert self._choose(privileged=True) == (None, False)
        assert self._choose(apparmor_profile="unconfined") == (None, False)
        assert self._choose(uid=1000) == (None, False)
        assert self._choose(path=str(tmp_path / "none")) == (None, False)
        assert self._choose(path=str(tmp_path / "none"), apparmor_profile="unconfined") == (None, False)

    def test_one_that_is_missing_is_told_of(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "profiles").write_text("lsb_release (enforce)\n", encoding="ascii")
        assert self._choose(path=str(tmp_path / "profiles")) == (None, True)

    def test_one_that_is_asked_for_is_loaded(self, tmp_path: pathlib.Path) -> None:
        assert self._choose(apparmor_profile="lsb_release", privileged=True) == ("lsb_release", False)
        with pytest.raises(MissingPrerequisite, match="The AppArmor profile mine is not loaded"):
            self._choose(apparmor_profile="mine")
        with pytest.raises(MissingPrerequisite, match="There is no AppArmor on this host for the profile mine"):
            self._choose(apparmor_profile="mine", path=str(tmp_path / "none"))

    def test_the_config(self) -> None:
        assert _config(FACTS._replace(apparmor=NEWEST))["process"]["apparmorProfile"] == NEWEST
        assert "apparmorProfile" not in _config()["process"]


class TestSELinux:
    def _labels(self, previous: str | None = None, taken: t.Collection[str] = (), **options: t.Any) -> t.Any:
        return confinement.labels(Options(**options), "/srv/web", previous, lambda: taken, confinement.policy(POLICY))

    def test_the_policy_of_the_host(self, tmp_path: pathlib.Path) -> None:
        said = confinement.policy(POLICY)
        assert said["process"] == "system_u:system_r:container_t:s0"
        assert said["file"] == "system_u:object_r:container_file_t:s0"
        assert said["ro_file"] == "system_u:object_r:container_ro_file_t:s0"
        assert confinement.policy(str(tmp_path)) == {}

    def test_a_pair_of_categories_for_each_bundle(self) -> None:
        process, file = self._labels()
        assert process.startswith("system_u:system_r:container_t:s0:c")
        assert file == process.replace("system_r:container_t", "object_r:container_file_t")
        assert self._labels() == (process, file)
        level = confinement.level_of(process) or ""
        other = confinement.level_of(self._labels(taken={level})[0])
        assert other != level
        # The one that is recorded stays, whatever the others have.
        assert self._labels(previous=level, taken={level}) == (process, file)

    @pytest.mark.impure
    def test_pairs(self) -> None:
        """Each is one of two different categories that there are, and no two are the same until all are taken."""
        found: dict[str, None] = {}
        for _each in range(300):
            found[confinement.level("/srv/web", found)] = None
        assert len(found) == 300
        for one in found:
            low, high = (int(word) for word in one.replace("s0:", "").replace("c", "").split(","))
            assert 0 <= low < high < 1024
        everything = {f"s0:c{low},c{high}" for high in range(1024) for low in range(high)}
        last = everything - {"s0:c1022,c1023"}
        assert confinement.level("/srv/web", last) == "s0:c1022,c1023"
        assert confinement.level("/srv/web", everything - {"s0:c0,c1"}) == "s0:c0,c1"
        with pytest.raises(InvalidOption, match="All pairs"):
            confinement.level("/srv/web", everything)

    def test_who_has_none(self) -> None:
        for options in ({"privileged": True}, {"pid": "host"}, {"ipc": "host"}, {"selinux_label": "disable"}):
            assert self._labels(**options) is None
        assert confinement.labels(Options(), "/srv/web", None, lambda: (), {}) is None
        assert confinement.labels(Options(), "/srv/web", None, lambda: (), {"process": "a:b:c:s0"}) is None

    def test_one_that_is_asked_for(self) -> None:
        wanted = "system_u:system_r:mine_t:s0:c1,c2"
        assert self._labels(selinux_label=wanted, privileged=True) == (
            wanted,
            "system_u:object_r:container_file_t:s0:c1,c2",
        )

    @pytest.mark.parametrize("label", ["", "a", "a:b", "a:b:c:s0 x", "a b:c:d", "a:b:c\n", ":::", "unconfined"])
    def test_what_is_no_label(self, label: str) -> None:
        if label:
            with pytest.raises(InvalidOption, match="selinux_label cannot be"):
                confinement.host_labels(Options(selinux_label=label), "/srv/web", lambda: None, lambda: ())

    def test_a_policy_without_levels(self) -> None:
        said = {"process": "a:b:container_t", "file": "a:b:container_file_t"}
        assert confinement.labels(Options(), "/x", None, lambda: (), said) == (
            "a:b:container_t",
            "a:b:container_file_t",
        )

    def test_nothing_is_read_without_selinux(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(confinement, "has_labels", lambda: False)
        monkeypatch.setattr(confinement, "policy", lambda: pytest.fail("read"))
        assert confinement.host_labels(Options(), "/srv/web", *2 * [lambda: pytest.fail("read")]) is None

    def test_levels_of_containers_are_known(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bundle never gets the level of a container; one that shares its processes or memory does."""
        monkeypatch.setattr(confinement, "has_labels", lambda: True)
        monkeypatch.setattr(confinement, "policy", lambda: {"process": "a:b:c:s0", "file": "a:b:f:s0"})
        store = Store(state_dir=str(tmp_path), run_dir=str(tmp_path))
        first = facts.gather(Options(seccomp="unconfined"), store, "/srv/web", BundleRecord()).labels
        assert first is not None
        (tmp_path / "containers" / "other").mkdir(parents=True)
        store.save(builders.record(name="other"))
        config = json.dumps({"process": {"selinuxLabel": first[0]}})
        (tmp_path / "containers" / "other" / "config.json").write_text(config, encoding="ascii")
        second = facts.gather(Options(seccomp="unconfined"), store, "/srv/web", BundleRecord()).labels
        assert second is not None
        assert second[0] != first[0]
        level = confinement.level_of(first[0])
        assert facts.gather(Options(seccomp="unconfined"), store, "/srv/web", BundleRecord(level=level)).labels == first
        shares = Options(seccomp="unconfined", pid="container:other")
        assert facts.gather(shares, store, "/srv/web", BundleRecord(level="s0:c1,c2")).labels == first

    def test_the_config(self) -> None:
        found = _config(FACTS._replace(labels=("a:b:c:s0:c1,c2", "a:b:f:s0:c1,c2")))
        assert found["process"]["selinuxLabel"] == "a:b:c:s0:c1,c2"
        assert found["linux"]["mountLabel"] == "a:b:f:s0:c1,c2"
        for made in (_config(), _config(selinux_label="disable")):
            assert "selinuxLabel" not in made["process"]
            assert "mountLabel" not in made["linux"]
        assert _config(selinux_label="a:b:c:s0")["process"]["selinuxLabel"] == "a:b:c:s0"
