# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that removes directories, at names that a table of mounts escapes: what is on the other side of a mount stays."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files, trees
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, tools, upkeep
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Request
from ansible_collections.longshore.oci.plugins.module_utils._state import unfinished
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit.odd_names import ODD_NAMES


class Remover(t.NamedTuple):
    """``top`` is what ``remove`` removes below a directory that it is given; ``place`` is where something is mounted in there."""

    remove: t.Callable[[str], object]
    top: str
    place: str = "deep/%s"


def _bundle(path: str) -> None:
    Bundles(state_dir=f"{path}/state", run_dir=f"{path}/run").converge(Request(f"{path}/b", absent=True))


REMOVERS = {
    "tree": Remover(lambda path: files.remove_tree(f"{path}/tree"), "tree"),
    "tree itself": Remover(lambda path: files.remove_tree(f"{path}/tree"), "tree", "."),
    "bundle": Remover(_bundle, "b"),
    "bundle, in its root": Remover(_bundle, "b", "rootfs-1/deep/%s"),
    "bundle, in its upper directory": Remover(_bundle, "b", "rootfs-1.upper/%s"),
    "bundle, in a killed removal": Remover(lambda path: upkeep.remove(f"{path}/b"), "b", "volumes/%s"),
    "root": Remover(lambda path: rootfs.remove(f"{path}/rootfs-1"), "rootfs-1"),
    "work directory": Remover(lambda path: rootfs.remove(f"{path}/rootfs-1"), "rootfs-1.work"),
    "workspace": Remover(lambda path: tools.discard(f"{path}/space"), "space"),
    "checkpoint": Remover(lambda path: unfinished.discard(f"{path}/dump"), "dump"),
    "state": Remover(
        lambda path: Store(state_dir=f"{path}/state", run_dir=f"{path}/run").forget("web"), "state/containers/web"
    ),
}


@pytest.mark.parametrize("remover", REMOVERS)
def test_no_remover_goes_through_a_mount(tmp_path: pathlib.Path, remover: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the table of mounts, and also where that does not have the mount yet."""
    for number, name in enumerate(t.cast(str, case.values[0]) for case in ODD_NAMES):
        remove, top, inner = REMOVERS[remover]
        above = tmp_path / f"{number}" / name
        place = above / top / (inner.replace("%s", name))
        place.mkdir(parents=True)
        (above / top / "longshore.json").write_text('{"format": 1}')
        (above / top / "file").write_text("")
        precious = tmp_path / "precious"
        (precious / "directory").mkdir(parents=True, exist_ok=True)
        (precious / "directory/file").write_text("")
        subprocess.run(["mount", "--bind", precious, place], check=True)
        try:
            with pytest.raises(LongshoreError, match="mounted"):
                remove(str(above))
            with monkeypatch.context() as patch:
                for module in (trees, rootfs):
                    patch.setattr(module, "mounted", lambda _path: [])
                with pytest.raises((LongshoreError, OSError), match=r"mounted|busy|Unmount"):
                    remove(str(above))
            assert os.listdir(precious / "directory") == ["file"], name
        finally:
            subprocess.run(["umount", place], check=True)
        remove(str(above))
        assert not (above / top).exists(), name
