# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._container import restored_limits
from ansible_collections.longshore.oci.tests.unit import programs

pytestmark = pytest.mark.pure

MOUNTINFO = r"""
700 699 0:60 / / rw,relatime - overlay overlay rw
701 700 0:61 / /proc rw,nosuid shared:1 - proc proc rw
702 701 0:61 /sys /proc/sys ro,nosuid - proc proc rw
703 700 0:62 / /a\040b rw - tmpfs tmpfs rw
704 703 0:62 / /a\040b ro - tmpfs tmpfs rw
""".strip()
MOUNTS = list(mountinfo.parse(MOUNTINFO.encode()))


def test_the_uppermost_mount_of_a_place_counts() -> None:
    found = restored_limits.flags_by_place(MOUNTS)
    assert found == {"/": ("rw", "relatime"), "/proc": ("rw", "nosuid"), "/proc/sys": ("ro", "nosuid"), "/a b": ("ro",)}


@pytest.mark.parametrize(
    ("config", "lost"),
    [
        ({}, []),
        ({"root": {"readonly": True}}, ["its root file system is writable"]),
        ({"linux": {"readonlyPaths": ["/proc/sys", "/a b/c"]}}, []),
        ({"linux": {"readonlyPaths": ["/etc", "/proc/bus"]}}, ["/etc is writable", "/proc/bus is writable"]),
        ({"linux": {"readonlyPaths": ["/gone/etc"], "maskedPaths": ["/gone"]}}, []),
        ({"linux": {"maskedPaths": ["/proc/kcore", "/proc/sys"]}}, ["/proc/kcore is not masked"]),
    ],
)  # fmt: skip
def test_which_mounts_are_lost(config: dict[str, t.Any], lost: list[str]) -> None:
    found = restored_limits.flags_by_place(MOUNTS)
    assert (
        list(restored_limits.lost_mounts(config, found, lambda path: None if path.startswith("/gone") else path))
        == lost
    )


@pytest.mark.parametrize(
    ("config", "lost"),
    [
        ({"process": {}}, []),
        ({"process": {"noNewPrivileges": True}}, ["it can gain new privileges"]),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}, ["it has no seccomp filter"]),
    ],
)
def test_which_limits_are_lost(config: dict[str, t.Any], lost: list[str]) -> None:
    assert list(restored_limits.lost_limits(config, {"NoNewPrivs": "0", "Seccomp": "0"})) == lost
    assert list(restored_limits.lost_limits(config, {"NoNewPrivs": "1", "Seccomp": "2"})) == []


def test_a_process_that_may_too_much_is_refused() -> None:
    with pytest.raises(ProgramFailed, match="restored without its limits: /proc is writable"):
        restored_limits.check("web", os.getpid(), {"linux": {"readonlyPaths": ["/proc"]}})
    restored_limits.check("web", os.getpid(), {"linux": {"readonlyPaths": ["/proc/no/such/thing"]}})


@pytest.mark.impure
@pytest.mark.parametrize("has_tmp", [True, False])
def test_the_root_is_read_only_for_the_program_and_for_no_other(tmp_path: pathlib.Path, has_tmp: bool) -> None:
    root = tmp_path / "root file system"
    root.mkdir()
    (root / "inner").mkdir()
    if has_tmp:
        (root / "tmp").mkdir()
    script = 'test -d "$1/tmp" && test ! -w "$1" && ! mkdir "$1/inner/x" 2>/dev/null && grep -c " $2 ro," /proc/self/mountinfo'
    with restored_limits.read_only_root(
        str(root), ["/bin/sh", "-c", script, "sh", str(root), str(root).replace(" ", r"\\040")]
    ) as argv:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        (root / "inner" / "mine").touch()
    assert (done.returncode, done.stdout) == (0, "1\n"), done
    assert sorted(os.listdir(root)) == (["inner", "tmp"] if has_tmp else ["inner"])


@pytest.mark.impure
def test_flags_of_the_mount_are_kept(tmp_path: pathlib.Path) -> None:
    script = 'mount -t tmpfs -o nosuid,nodev tmpfs "$1" && exec "$2" -c "$3" "$1"'
    code = (
        "import subprocess, sys\n"
        "from ansible_collections.longshore.oci.plugins.module_utils._container import restored_limits\n"
        "with restored_limits.read_only_root(sys.argv[1], ['grep', sys.argv[1], '/proc/self/mountinfo']) as argv:\n"
        "    sys.exit(subprocess.run(argv).returncode)\n"
    )
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, env=programs.python_environment()
    )
    assert done.returncode == 0, done
    assert all(flag in done.stdout.splitlines()[-1].split(" ")[5].split(",") for flag in ("ro", "nosuid", "nodev"))


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/lib/ro", "/usr/lib/ro"), ("/lib", "/usr/lib"), ("/var/run/x", "/run/x"), ("/usr/lib/ro", "/usr/lib/ro"), ("/up/x", "/run/x"),
        ("/missing", None), ("/lib/missing", None), ("/loop/x", None),
    ],
)  # fmt: skip
def test_a_path_over_a_link_is_where_the_link_leads(tmp_path: pathlib.Path, path: str, real: str | None) -> None:
    for name in ("usr/lib/ro", "var", "run/x"):
        (tmp_path / name).mkdir(parents=True)
    for name, target in (("lib", "usr/lib"), ("var/run", "/run"), ("up", "../../../run"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    assert restored_limits.resolved(str(tmp_path), path) == real


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    restored_limits.check_programs({"root": {"readonly": True}})
    monkeypatch.setattr(restored_limits, "find_program", lambda name: None)
    restored_limits.check_programs({"root": {}})
    with pytest.raises(MissingPrerequisite, match="unshare is missing"):
        restored_limits.check_programs({"root": {"readonly": True}})


@pytest.mark.impure
def test_what_is_started_has_no_groups() -> None:
    before = os.getgroups()
    os.setgroups([7, 0])
    try:
        with restored_limits.no_groups():
            done = subprocess.run(
                ["grep", "Groups", "/proc/self/status"], capture_output=True, text=True, timeout=30, check=False
            )
            assert done.stdout.split() == ["Groups:"]
        assert sorted(os.getgroups()) == [0, 7]
    finally:
        os.setgroups(before)
