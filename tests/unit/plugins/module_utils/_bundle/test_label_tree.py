# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle import label_tree

pytestmark = pytest.mark.pure


def test_a_tree_has_one_label(tmp_path: pathlib.Path) -> None:
    """Links are labelled and not followed, and what has the label already is not walked again."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("", encoding="ascii")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("", encoding="ascii")
    (tree / "away").symlink_to(outside)
    (tree / "a" / "gone").symlink_to("nowhere")
    os.mkfifo(tree / "a" / "fifo")
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    label_tree.label_tree(str(tree), label)
    paths = [tree, *tree.rglob("*")]
    assert len(paths) == 7
    assert {_label(path) for path in paths} == {label}
    assert (_label(outside), _label(outside / "file")) == ("", "")
    (tree / "new").write_text("", encoding="ascii")
    label_tree.label_tree(str(tree), label)
    assert _label(tree / "new") == ""
    label_tree.label_tree(str(tree), f"{label}3")
    assert _label(tree / "new") == _label(tree / "a" / "fifo") == f"{label}3"


def test_what_cannot_be_labelled_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(LongshoreError, match=r"Cannot give .*/none the label a:b:c: No such file or directory"):
        label_tree.label_tree(str(tmp_path / "none"), "a:b:c")


def _label(path: pathlib.Path) -> str:
    try:
        return os.getxattr(path, "security.selinux", follow_symlinks=False).decode("ascii").rstrip("\0")
    except OSError:
        return ""
