# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtimes that do not know the recursive options of mounts."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._config import recursive_mounts
from ansible_collections.longshore.oci.plugins.module_utils._runtime.drivers import driver_of

pytestmark = pytest.mark.pure
TABLE = b"1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / /srv/disk rw - ext4 y rw\n"


def config(source: str, *options: str) -> dict[str, t.Any]:
    return {"mounts": [{"destination": "/d", "type": "bind", "source": source, "options": ["rbind", *options]}, {}]}


@pytest.fixture(autouse=True)
def _mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "read", lambda: list(mountinfo.parse(TABLE)))


@pytest.mark.parametrize(
    ("runtime", "version"),
    [
        ("crun", "0.17"),
        ("crun", "1.3"),
        ("crun", "1.0.1"),
        ("runc", "1.0.0-rc93"),
        ("runc", "1.0.3"),
        ("runc", "0.1.1"),
    ],
)
@pytest.mark.parametrize("word", ["rro", "rnoexec", "rnosuid"])
def test_a_runtime_that_ignores_them(runtime: str, version: str, word: str) -> None:
    with pytest.raises(MissingPrerequisite, match=f"{runtime} {version} does not know the option {word}") as caught:
        recursive_mounts.check(config("/srv", "ro", word), runtime, version, driver_of(runtime).recursive_mounts)
    assert f"{runtime} 1." in caught.value.hint
    recursive_mounts.check(config("/srv/disk", "ro", word), runtime, version, driver_of(runtime).recursive_mounts)
    recursive_mounts.check(config("/sr", "ro", word), runtime, version, driver_of(runtime).recursive_mounts)
    recursive_mounts.check(config("/srv", "ro", "noexec"), runtime, version, driver_of(runtime).recursive_mounts)


@pytest.mark.parametrize(
    ("runtime", "version"),
    [("crun", "1.4"), ("crun", "1.21"), ("runc", "1.1.0"), ("runc", "1.1.5+ds1"), ("youki", "0.3")],
)
def test_a_runtime_that_knows_them(runtime: str, version: str) -> None:
    recursive_mounts.check(config("/srv", "ro", "rro"), runtime, version, driver_of(runtime).recursive_mounts)
