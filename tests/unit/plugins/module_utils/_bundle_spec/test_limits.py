# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container, as podman and docker have them."""

from __future__ import annotations

import re
import resource
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Facts, Options

pytestmark = pytest.mark.pure

FACTS = Facts("amd64", CAPABILITIES, cgroup2=True, uid=0, gid=0)
MIB, GIB, UNLIMITED = 2**20, 2**30, 2**64 - 1


def made(facts: Facts = FACTS, **options: t.Any) -> dict[str, t.Any]:
    return spec.make(ImageConfig(cmd=("x",)), Options(**options), facts, User(), "/srv/web")


def resources(facts: Facts = FACTS, **options: t.Any) -> t.Any:
    return made(facts, **options)["linux"]["resources"]


@pytest.mark.parametrize(
    ("options", "memory"),
    [
        ({"memory": "256m"}, {"limit": 256 * MIB, "swap": 512 * MIB}),
        ({"memory": "256m", "memory_swap": "256m"}, {"limit": 256 * MIB, "swap": 256 * MIB}),
        ({"memory": "1g", "memory_swap": "1536m"}, {"limit": GIB, "swap": 1536 * MIB}),
        ({"memory": "1g", "memory_swap": "-1"}, {"limit": GIB, "swap": -1}),
        ({"memory": "1g", "memory_swap": "unlimited"}, {"limit": GIB, "swap": -1}),
        ({"memory": "1g", "memory_swap": "0"}, {"limit": GIB, "swap": 2 * GIB}),  # docker: as if it were not given
        ({"memory": "0"}, None), ({"memory": "0m"}, None), ({"memory": "-1"}, None), ({"memory": " Unlimited "}, None), ({"memory": "infinity"}, None),
        ({"memory": "0", "memory_swap": "0"}, None), ({"memory_swap": "-1"}, None), ({"memory": "-1", "memory_swap": "-1"}, None),
        ({"memory": "unlimited", "memory_swap": "-1"}, None), ({"memory": "0", "memory_swap": "unlimited"}, None),
        ({"memory_reservation": "64m"}, {"reservation": 64 * MIB}), ({"memory_reservation": "0"}, None),
        ({"memory": "64m", "memory_reservation": "64m"}, {"limit": 64 * MIB, "reservation": 64 * MIB, "swap": 128 * MIB}),
        ({"memory": str(2**63 - 1)}, {"limit": 2**63 - 1, "swap": 2**63 - 1}), ({"memory": "9007199254740993"}, {"limit": 2**53 + 1, "swap": 2**54 + 2}),
    ],
)  # fmt: skip
def test_memory(options: dict[str, str], memory: dict[str, int] | None) -> None:
    assert resources(FACTS, **options).get("memory") == memory


@pytest.mark.parametrize(
    "options",
    [
        {"memory": "-2"}, {"memory": "-1m"}, {"memory": "lots"}, {"memory": str(2**63)}, {"memory": "9" * 30 + "g"}, {"memory": "1e"},
        {"memory_swap": "1g"}, {"memory": "0", "memory_swap": "1g"}, {"memory": "-1", "memory_swap": "1g"}, {"memory": "1g", "memory_swap": "1m"},
        {"memory": "1g", "memory_swap": "-2"}, {"memory": "1g", "memory_swap": "9" * 25}, {"memory": "64m", "memory_reservation": "65m"},
        {"shm_size": "-1"}, {"shm_size": "8388608t"}, {"memory_reservation": "-5"},
    ],
)  # fmt: skip
def test_memory_that_no_kernel_has(options: dict[str, str]) -> None:
    with pytest.raises(InvalidOption, match=r"memory|shm_size"):
        resources(FACTS, **options)


@pytest.mark.parametrize("name", ["memory", "memory_reservation"])
@pytest.mark.parametrize("size", ["2", "1.5", "512", "6291455", "5.9m", "1k", "6143k", "0.001g", "4096"])
def test_memory_in_which_nothing_starts(name: str, size: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{name} cannot be less than 6m, and {re.escape(size)} is") as caught:
        resources(FACTS, **{name: size})
    assert caught.value.hint == "Use a size such as 512m. A number alone means bytes."


@pytest.mark.parametrize("option", ["memory", "memory_reservation", "shm_size", "memory_swap"])
@pytest.mark.parametrize("size", ["0.5", "0.0001k", "0.9"])
def test_less_than_a_byte(option: str, size: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{option} cannot be '{size}': that is less than one byte"):
        resources(FACTS, **{"memory": "64m", option: size})


def test_the_least_memory() -> None:
    assert (
        resources(FACTS, memory="6m")["memory"]["limit"]
        == 6 * MIB
        == resources(FACTS, memory="6291456")["memory"]["limit"]
    )


def test_memory_where_the_kernel_does_not_limit_swap() -> None:
    facts = FACTS._replace(swap=False)
    assert resources(facts, memory="256m")["memory"] == {"limit": 256 * MIB}
    assert resources(facts, memory="256m", memory_swap="300m")["memory"] == {"limit": 256 * MIB}


def test_no_limit_of_shared_memory() -> None:
    (shm,) = (mount for mount in made(shm_size="0")["mounts"] if mount["destination"] == "/dev/shm")
    assert shm["options"][-1] == "size=0"


@pytest.mark.parametrize(
    ("cpus", "quota"),
    [(0.29, 29000), (1.15, 115000), (0.57, 57000), (2.3, 230000), (0.01, 1000), (1, 100000), (100, 10000000), (0.015, 1500), (1.1, 110000)],
)  # fmt: skip
def test_cpus(cpus: float, quota: int) -> None:
    assert resources(cpus=cpus)["cpu"] == {"period": 100000, "quota": quota}


def test_no_limit_of_processors() -> None:
    assert "cpu" not in resources(cpus=0, cpu_shares=0, cpuset_cpus="")


@pytest.mark.parametrize(
    "options",
    [
        {"cpus": -1}, {"cpus": 0.001}, {"cpus": 0.0099}, {"cpus": float("nan")}, {"cpus": float("inf")}, {"cpus": 1e300}, {"cpus": -0.5},
        {"cpu_shares": -1}, {"cpu_shares": 1}, {"cpu_shares": 262145}, {"cpu_shares": 10**30},
        {"cpuset_cpus": "all"}, {"cpuset_cpus": "0 1"}, {"cpuset_cpus": "0-"}, {"cpuset_cpus": "-1"}, {"cpuset_cpus": "0,,1"},
        {"oom_score_adj": 1001}, {"oom_score_adj": -1001}, {"pids_limit": 2**63}, {"pids_limit": 10**40},
    ],
)  # fmt: skip
def test_numbers_that_no_kernel_has(options: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match=f"{next(iter(options))} cannot be "):
        resources(**options)


@pytest.mark.parametrize(("limit", "expected"), [(None, 2048), (0, -1), (-1, -1), (-5, -1), (7, 7), (1 << 22, 1 << 22)])
def test_processes(limit: int | None, expected: int) -> None:
    assert resources(pids_limit=limit)["pids"] == {"limit": expected}


def rlimits(facts: Facts = FACTS, *ulimits: str) -> dict[str, tuple[int, int]]:
    return {one["type"][7:]: (one["soft"], one["hard"]) for one in made(facts, ulimits=ulimits)["process"]["rlimits"]}


def test_no_limit_is_that_of_a_session() -> None:
    """Those of a kernel without a session, wherever the task runs."""
    free = dict.fromkeys(("AS", "CPU", "DATA", "FSIZE", "RSS", "RTTIME"), (UNLIMITED, UNLIMITED))
    assert rlimits() == {
        **free, "CORE": (0, UNLIMITED), "MEMLOCK": (8 * MIB, 8 * MIB), "MSGQUEUE": (819200, 819200), "NICE": (0, 0),
        "NOFILE": (524288, 524288), "NPROC": (65536, 65536), "RTPRIO": (0, 0), "SIGPENDING": (65536, 65536),
        "STACK": (8 * MIB, UNLIMITED),
    }  # fmt: skip
    names = {name for name in dir(resource) if name.startswith("RLIMIT_")} - {"RLIMIT_OFILE"}
    assert {f"RLIMIT_{name}" for name in rlimits()} == names


@pytest.mark.parametrize(
    ("kind", "most", "expected"),
    [
        ("CORE", 0, (0, 0)), ("CORE", 5000, (0, 4096)), ("STACK", 1 << 20, (1 << 20, 1 << 20)), ("STACK", 16 << 20, (8 << 20, 16 << 20)),
        ("MEMLOCK", 65536, (65536, 65536)), ("MEMLOCK", UNLIMITED, (8 << 20, 8 << 20)), ("CPU", 600, (512, 512)), ("NICE", 40, (0, 0)),
        ("SIGPENDING", 7823, (4096, 4096)), ("AS", UNLIMITED, (UNLIMITED, UNLIMITED)), ("NPROC", 1, (1, 1)), ("MSGQUEUE", 3, (2, 2)),
    ],
)  # fmt: skip
def test_a_user_cannot_raise_a_limit(kind: str, most: int, expected: tuple[int, int]) -> None:
    assert rlimits(FACTS._replace(most={f"RLIMIT_{kind}": most}))[kind] == expected


def test_as_much_as_possible() -> None:
    """-1 is no limit, and where the kernel has one, that."""
    assert rlimits(FACTS, "core=-1", "nofile=-1")["NOFILE"] == (UNLIMITED, UNLIMITED)
    facts = FACTS._replace(most={"RLIMIT_NOFILE": 1073741816, "RLIMIT_CORE": 5000})
    found = rlimits(facts, "nofile=1024:-1", "core=unlimited", "cpu=infinity")
    assert found == {**rlimits(), "NOFILE": (1024, 2**29), "CORE": (4096, 4096), "CPU": (UNLIMITED, UNLIMITED)}


@pytest.mark.parametrize(
    "ulimits", [("nofile=1", "nofile=2"), ("NOFILE=1:2", "nofile:1:2"), ("core=0", "rlimit_core=0")]
)
def test_a_limit_is_given_once(ulimits: tuple[str, ...]) -> None:
    with pytest.raises(InvalidOption, match=r"ulimits contains (nofile|core) twice"):
        rlimits(FACTS, *ulimits)


def test_the_highest_limit_may_be_below_the_given_one() -> None:
    with pytest.raises(InvalidOption, match="The ulimit nofile cannot be 2000"):
        rlimits(FACTS._replace(most={"RLIMIT_NOFILE": 1024}), "nofile=2000:-1")


@pytest.mark.parametrize(
    ("given", "most", "limits"),
    [
        ("nproc=40000:-1", 62987, (40000, 40000)), ("nproc=62987:-1", 62987, (62987, 62987)), ("nproc=100:unlimited", 62987, (100, 32768)),
        ("nproc=-1", 62987, (32768, 32768)), ("nproc=62987", 62987, (62987, 62987)), ("nproc=0:-1", 0, (0, 0)), ("nproc=5:-1", 2**64 - 1, (5, 2**64 - 1)),
    ],
)  # fmt: skip
def test_no_hard_limit_is_below_the_soft_one(given: str, most: int, limits: tuple[int, int]) -> None:
    assert rlimits(FACTS._replace(most={"RLIMIT_NPROC": most}), given)["NPROC"] == limits


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("nofile=1024:2000000", 2000000),
        ("nofile=2000000", 2000000),
        ("nofile=2000000:-1", 2000000),
        ("nofile:1048577", 1048577),
    ],
)
def test_a_limit_that_nobody_can_set_is_refused_by_name(given: str, number: int) -> None:
    with pytest.raises(InvalidOption, match=f"The ulimit nofile cannot be {number}") as caught:
        rlimits(FACTS._replace(most={"RLIMIT_NOFILE": 1048576}), given)
    assert "1048576" in caught.value.hint


@pytest.mark.parametrize(
    ("pids", "processes"),
    [
        (None, 65536),
        (100, 65536),
        (65536, 65536),
        (65537, 65537),
        (200000, 200000),
        (0, 1 << 22),
        (-1, 1 << 22),
        (1 << 22, 1 << 22),
    ],
)
def test_processes_are_not_limited_below_pids_limit(pids: int | None, processes: int) -> None:
    def limit(facts: Facts, *ulimits: str) -> tuple[int, int]:
        found = made(facts, pids_limit=pids, ulimits=ulimits)["process"]["rlimits"]
        return next((one["soft"], one["hard"]) for one in found if one["type"] == "RLIMIT_NPROC")

    assert limit(FACTS) == (processes, processes)
    assert limit(FACTS, "nproc=7") == (7, 7)
    assert limit(FACTS._replace(most={"RLIMIT_NPROC": 62987})) == (32768, 32768)


@pytest.mark.parametrize("number", [(1 << 22) + 1, 5000000, 2**31, 2**63 - 1, 2**64, 10**30])
def test_more_processes_than_a_kernel_has(number: int) -> None:
    with pytest.raises(InvalidOption, match=r"pids_limit cannot be .*too large") as caught:
        resources(pids_limit=number)
    assert caught.value.hint == "Use at most 4194304, or -1 for no limit."


@pytest.mark.parametrize(("cpus", "hint"), [("3-0", "0-3"), ("0-1,7-5", "5-7"), ("10-9", "9-10"), ("1,2-1,3", "1-2")])
def test_processors_that_are_none(cpus: str, hint: str) -> None:
    with pytest.raises(InvalidOption, match="cpuset_cpus cannot have") as caught:
        resources(cpuset_cpus=cpus)
    assert caught.value.hint == f"Did you mean {hint}?"


@pytest.mark.parametrize(
    ("cpus", "made"),
    [
        ("0-0,2,9-10", "0,2,9-10"), ("0,1", "0-1"), ("1,0", "0-1"), ("0-1", "0-1"), ("3,1,2,0", "0-3"), ("0-3,2-5", "0-5"), ("5", "5"), ("5,5", "5"),
        ("7,0-3,5", "0-3,5,7"), ("00-03", "0-3"), ("0-7,2", "0-7"), ("4-5,0-1,2-3", "0-5"),
    ],
)  # fmt: skip
def test_processors_have_one_spelling(cpus: str, made: str) -> None:
    assert resources(cpuset_cpus=cpus)["cpu"]["cpus"] == made
