# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The defaults of a bundle beside those of podman: dumped configs, and the table of guide_security.rst, which must say the same.

A row in which a container of ours may do more than one of podman fails.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._bundle import confinement, facts
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import BundleRecord, Options
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

Config = dict[str, t.Any]
HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "..", "..", "docs", "docsite", "rst", "guide_security.rst")
VERSION = "5.4.2"
# The session that podman was recorded in, whose limits it takes over.
SESSION = {"RLIMIT_NOFILE": 20000, "RLIMIT_NPROC": 96364}
RESTRICTIVE = {"nosuid", "nodev", "noexec", "ro"}
MOUNTS = (
    "/proc",
    "/sys",
    "/dev",
    "/dev/pts",
    "/dev/mqueue",
    "/dev/shm",
    "/sys/fs/cgroup",
    "/etc/hosts",
    "/etc/hostname",
)
# The host that podman was recorded on has neither. From its sources (common/pkg/apparmor, go-selinux).
APPARMOR = "containers-default-0.62.2"
PROCESS, FILE = "system_u:system_r:container_t:s0:cN,cM", "system_u:object_r:container_file_t:s0:cN,cM"


@pytest.fixture(scope="module")
def podman() -> Config:
    found: Config = json.loads(builders.transcript("podman", VERSION, "config.json"))
    return found


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return _dump(tmp_path_factory.mktemp("dump"))


def _dump(directory: pathlib.Path, **changes: t.Any) -> Config:
    """The config of a bundle without any options, by the facts of this host, but for those in which hosts differ."""
    profile = directory / "seccomp.json"
    profile.write_text(builders.transcript("podman", VERSION, "seccomp.json"), encoding="utf-8")
    store = Store(state_dir=str(directory), run_dir=str(directory))
    found = facts.gather(Options(seccomp=str(profile)), store, "/srv/web", BundleRecord())._replace(
        architecture="amd64", capabilities=CAPABILITIES, cgroup2=True, uid=0, gid=0, pids=True, most={},
        apparmor=None, labels=None,
    )  # fmt: skip
    return spec.make(ImageConfig(cmd=("sleep", "60")), Options(), found._replace(**changes), User(), "/srv/web")


def _rows(config: Config) -> dict[str, str]:
    """What a config says, as the table has it."""
    process, linux = config["process"], config["linux"]
    limits = {each["type"]: f"{each['soft']}:{each['hard']}" for each in process["rlimits"]}
    by_place = {mount["destination"]: mount for mount in config["mounts"]}
    rows = {
        "capabilities": ", ".join(name[4:] for name in sorted(_capabilities(config))),
        "seccomp": f"{linux['seccomp']['defaultAction'][9:]} {linux['seccomp']['defaultErrnoRet']} except for {len(_allowed(config))} calls",
        "no new privileges": "on" if process.get("noNewPrivileges") else "off",
        "namespaces": ", ".join(sorted(each["type"] for each in linux["namespaces"])),
        "pids limit": str((linux["resources"].get("pids") or {}).get("limit")),
        "open files (nofile)": limits["RLIMIT_NOFILE"],
        "processes of a user (nproc)": limits["RLIMIT_NPROC"],
        "masked": ", ".join(sorted(set(linux["maskedPaths"]))),
        "read-only": ", ".join(sorted(linux["readonlyPaths"])),
        "devices": ", ".join(
            f"{'allow' if e['allow'] else 'deny'} {e['access']}" for e in linux["resources"]["devices"]
        ),
        "sysctls": ", ".join(f"{name}={value}" for name, value in linux["sysctl"].items()) or "none",
        "umask": f"{process['user']['umask']:04o}",
        "oom_score_adj": str(process.get("oomScoreAdj", "as the task has it")),
        "hooks": str(sum(map(len, (config.get("hooks") or {}).values())) or "none"),
    }
    rows.update((place, " ".join(sorted(RESTRICTIVE & set(by_place[place]["options"]))) or "-") for place in MOUNTS)
    return rows


def _capabilities(config: Config) -> set[str]:
    return {name for names in config["process"]["capabilities"].values() for name in names}


def _allowed(config: Config) -> set[str]:
    """The system calls that are let through, whatever their arguments."""
    rules = config["linux"]["seccomp"]["syscalls"]
    return {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def _table() -> dict[str, tuple[str, str]]:
    with open(TABLE, encoding="utf-8") as stream:
        text = stream.read().partition("Defaults, beside podman's\n")[2].partition(".. list-table::")[2]
    rows: list[list[str]] = []
    for line in text.partition("\n* ")[0].splitlines():
        found = re.fullmatch(r"   (\* -|  -) (.*)", line)
        if found:
            if found[1] == "* -":
                rows.append([])
            rows[-1].append(found[2].replace("`", "").replace("\\", ""))
    assert all(len(row) == 3 for row in rows)
    return {name: (left, right) for name, left, right in rows[1:]}


def test_the_table_says_what_the_dumps_say(ours: Config, podman: Config) -> None:
    left, right = _rows(ours), _rows(podman)
    expected = {name: ("the same" if left[name] == right[name] else left[name], right[name]) for name in right}
    more = set(ours["linux"]["maskedPaths"]) - set(podman["linux"]["maskedPaths"])
    masked = len(set(podman["linux"]["maskedPaths"]))
    expected["masked"] = (f"the same, and {', '.join(sorted(more))}", f"{masked} places of /proc and /sys")
    expected["open files (nofile)"] = (left["open files (nofile)"], "as its session, at most 1048576")
    expected["processes of a user (nproc)"] = (left["processes of a user (nproc)"], "as its session, at most 1048576")
    expected["AppArmor"] = ("the same, where it is loaded", "containers-default-VERSION")
    expected["SELinux, processes"] = ("the same", PROCESS)
    expected["SELinux, files"] = ("the same", FILE)
    expected["network"] = (Options().network, "bridge")
    expected["user namespace"] = ("none", "none")
    assert _table() == expected


def test_nothing_is_less_strict(tmp_path: pathlib.Path, podman: Config) -> None:
    """On the host that podman was recorded on."""
    found = _dump(tmp_path, most=SESSION)
    assert _capabilities(found) <= _capabilities(podman)
    assert {each["type"] for each in podman["linux"]["namespaces"]} <= {
        each["type"] for each in found["linux"]["namespaces"]
    }
    assert set(podman["linux"]["maskedPaths"]) <= set(found["linux"]["maskedPaths"])
    assert set(podman["linux"]["readonlyPaths"]) <= set(found["linux"]["readonlyPaths"])
    assert (
        found["linux"]["resources"]["devices"]
        == podman["linux"]["resources"]["devices"]
        == [{"allow": False, "access": "rwm"}]
    )
    assert 0 < found["linux"]["resources"]["pids"]["limit"] <= podman["linux"]["resources"]["pids"]["limit"]
    limits = {each["type"]: each for each in found["process"]["rlimits"]}
    for theirs in podman["process"]["rlimits"]:
        mine = limits[theirs["type"]]
        assert mine["soft"] <= theirs["soft"]
        assert mine["hard"] <= theirs["hard"]
    by_place = {mount["destination"]: mount for mount in found["mounts"]}
    for mount in podman["mounts"]:
        if mount["destination"] != "/run/.containerenv":
            mine = by_place.pop(mount["destination"])
            assert RESTRICTIVE & set(mount["options"]) <= set(mine["options"]), mount["destination"]
    assert by_place == {}
    assert not podman["process"].get("noNewPrivileges")
    assert not found.get("hooks")
    assert (found["process"]["user"]["umask"], podman["process"]["user"]["umask"]) == (0o22, 0o22)
    assert found["root"]["readonly"] is podman["root"].get("readonly", False) is False
    assert found["linux"]["sysctl"] == {}


def test_seccomp_is_podmans(ours: Config, podman: Config) -> None:
    """Rule by rule, from the profile that the same package has for podman."""
    left, right = ours["linux"]["seccomp"], podman["linux"]["seccomp"]
    assert _allowed(ours) == _allowed(podman)
    for name in ("defaultAction", "defaultErrnoRet", "architectures"):
        assert left[name] == right[name]

    def rules(profile: Config) -> list[t.Any]:
        found = [
            (name, rule["action"], rule.get("errnoRet"), [{"valueTwo": 0, **each} for each in rule.get("args") or []])
            for rule in profile["syscalls"]
            for name in rule["names"]
        ]
        return sorted(found, key=repr)

    assert rules(left) == rules(right)


def test_without_a_profile_of_seccomp_nothing_is_made(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "DEFAULT_PATHS", (str(tmp_path / "none"), str(tmp_path / "neither")))
    store = Store(state_dir=str(tmp_path), run_dir=str(tmp_path))
    with pytest.raises(MissingPrerequisite, match="This host has no default seccomp profile"):
        facts.gather(Options(), store, "/srv/web", BundleRecord())


def test_where_there_is_apparmor_or_selinux(tmp_path: pathlib.Path) -> None:
    fixtures = os.path.join(HERE, "fixtures")
    profile, _lacking = confinement.apparmor_profile(Options(), 0, None, os.path.join(fixtures, "apparmor", "profiles"))
    policy = confinement.policy(os.path.join(fixtures, "selinux"))
    labels = confinement.labels(Options(), "/srv/web", None, lambda: (), policy)
    made = _dump(tmp_path, apparmor=profile, labels=labels)
    assert made["process"]["apparmorProfile"] == APPARMOR
    level = confinement.level_of(made["process"]["selinuxLabel"]) or ""
    assert made["process"]["selinuxLabel"].replace(level, "s0:cN,cM") == PROCESS
    assert made["linux"]["mountLabel"].replace(level, "s0:cN,cM") == FILE


def test_the_table_is_read_as_it_is_written() -> None:
    found = _table()
    assert len(found) > 20
    assert found["network"] == ("none", "bridge")
    assert found["pids limit"] == ("the same", "2048")
