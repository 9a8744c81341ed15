# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtimes that do not know the recursive options of mounts."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import mount_options
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
    plain = word[1:]
    recursive_mounts.check(config("/srv/disk", plain, word), runtime, version, driver_of(runtime).recursive_mounts)
    recursive_mounts.check(config("/sr", plain, word), runtime, version, driver_of(runtime).recursive_mounts)
    recursive_mounts.check(config("/srv", "ro", "noexec"), runtime, version, driver_of(runtime).recursive_mounts)


@pytest.mark.parametrize(
    ("runtime", "version"), [("crun", "1.4"), ("crun", "1.21"), ("runc", "1.1.0"), ("runc", "1.1.5+ds1")]
)
def test_a_runtime_that_knows_them(runtime: str, version: str) -> None:
    recursive_mounts.check(config("/srv", "ro", "rro"), runtime, version, driver_of(runtime).recursive_mounts)


@pytest.mark.parametrize(
    "word", ["rro", "rnoexec", "rnosuid", "rnodev", "rnoatime", "rrelatime", "rstrictatime", "rnodiratime"]
)
def test_an_option_that_is_ignored_has_its_plain_form_beside_it(word: str) -> None:
    """Otherwise the mount itself has no such limit, whatever is below. Bundles of former releases have such mounts."""
    for other in ([], ["nosymfollow"]):
        with pytest.raises(
            MissingPrerequisite, match=f"option {word} of the mount at /d, so /srv/disk itself would not"
        ):
            recursive_mounts.check(config("/srv/disk", *other, word), "crun", "1.3", (1, 4))
    recursive_mounts.check(config("/srv/disk", word[1:], word), "crun", "1.3", (1, 4))


@pytest.mark.parametrize(
    "word", ["rstrictatime", "rnostrictatime", "rrw", "rsuid", "rdev", "rexec", "ratime", "rnorelatime"]
)
def test_all_of_these_options_are_known(word: str) -> None:
    with pytest.raises(MissingPrerequisite, match=f"the option {word} of .* below /srv would"):
        recursive_mounts.check(config("/srv", word[1:], word), "runc", "1.0.3", (1, 1))
    recursive_mounts.check(config("/srv/disk", word[1:], word), "runc", "1.0.3", (1, 1))
    assert {*recursive_mounts.WORDS} == mount_options.RECURSIVE


def test_what_is_below_is_looked_for_where_the_source_leads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    table = f"1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / {tmp_path}/data/disk rw - ext4 y rw\n".encode()
    monkeypatch.setattr(mountinfo, "read", lambda: list(mountinfo.parse(table)))
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for source in (f"{tmp_path}/link", f"{tmp_path}/data/../link/", f"{tmp_path}//data", "/", str(tmp_path)):
        with pytest.raises(MissingPrerequisite):
            recursive_mounts.check(config(source, "ro", "rro"), "crun", "1.3", (1, 4))


@pytest.mark.parametrize("runtime", ["runsc", "youki", "kata-runtime"])
@pytest.mark.parametrize(
    "words", [("ro", "rro"), ("ro", "rro", "noexec", "rnoexec"), ("nosuid", "rnosuid"), ("relatime", "rrelatime")]
)
def test_a_runtime_without_a_driver_gets_the_plain_options(runtime: str, words: tuple[str, ...]) -> None:
    """runsc refuses rro. The options do the same as long as nothing is mounted below the source."""
    whole = config("/srv/disk", *words)
    recursive_mounts.check(whole, runtime, "1.0", driver_of(runtime).recursive_mounts)
    made = recursive_mounts.fitted(whole, driver_of(runtime).recursive_mounts)
    assert made["mounts"][0]["options"] == [
        "rbind",
        *(word for word in words if word in ("ro", "noexec", "nosuid", "relatime")),
    ]
    assert made["mounts"][1] == {}
    assert whole == config("/srv/disk", *words)
    assert recursive_mounts.fitted(whole, driver_of("crun").recursive_mounts) == whole
    assert recursive_mounts.fitted({"process": {}}, ()) == {"process": {}}
    with pytest.raises(MissingPrerequisite, match=f"{runtime} 1.0 may not know the option r") as caught:
        recursive_mounts.check(config("/srv", *words), runtime, "1.0", driver_of(runtime).recursive_mounts)
    assert caught.value.hint.endswith("with bind.")
