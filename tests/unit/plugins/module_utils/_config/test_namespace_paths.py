# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._config import namespace_paths

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    "path",
    [
        "/proc/1/ns/net", "/proc/4711/ns/pid", "/proc/self/ns/net", "/proc/thread-self/ns/net", "//proc/1/ns/net",
        "/proc/./1/ns/net", "/run/../proc/1/ns/net", "/proc/sys/../1/ns/net", "/proc/1/fd/3", "/proc/1/task/1/ns/net",
        "/proc/1/root/run/netns/a", "/proc/1/cwd/../run/netns/a", "/proc/self", "/proc/999999999/ns/net", "/proc/1/",
    ],
)  # fmt: skip
def test_the_number_of_a_process(path: str) -> None:
    assert namespace_paths.is_of_process(path)
    with pytest.raises(InvalidOption, match=r"by the number of a process.*Do so"):
        namespace_paths.check_path("network", path, "Do so.")


@pytest.mark.parametrize(
    "path", ["/run/netns/a", "/procs/1/ns/net", "/proc/sys/net", "/srv/proc/1/ns/net", "/", "/nothing"]
)
def test_other_paths(path: str) -> None:
    assert not namespace_paths.is_of_process(path)


def test_by_links(tmp_path: pathlib.Path) -> None:
    (tmp_path / "direct").symlink_to(f"/proc/{os.getpid()}/ns/net")
    (tmp_path / "relative").symlink_to("direct")
    (tmp_path / "directory").symlink_to(f"/proc/{os.getpid()}")
    (tmp_path / "root").symlink_to(f"/proc/{os.getpid()}/root/run")
    (tmp_path / "other procfs").symlink_to("net:[4026531840]")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    (tmp_path / "harmless").symlink_to("file")
    for name in ("direct", "relative", "directory/ns/net", "root/netns/a", "other procfs", "loop"):
        assert namespace_paths.is_of_process(f"{tmp_path}/{name}"), name
    for name in ("file", "harmless", "nothing"):
        assert not namespace_paths.is_of_process(f"{tmp_path}/{name}"), name
