# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlays as tables of mounts show them, of old kernels and of new ones."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._host import overlay
from ansible_collections.longshore.oci.plugins.module_utils._host.overlay import Overlay

pytestmark = pytest.mark.pure

# By line: the overlay that is mounted at /r, None where none is that can be written to.
OVERLAYS: list[tuple[bytes, Overlay | None]] = [
    (b"1 2 0:1 / /r rw,relatime - overlay overlay rw,lowerdir=/l/one:/l/two,upperdir=/u\\040p,workdir=/w",
     Overlay("/u p", ("/l/one", "/l/two"), ("rw", "lowerdir=/l/one:/l/two", "upperdir=/u p", "workdir=/w"))),
    (b'1 2 0:1 / /r rw - overlay overlay rw,context="a:b:c:s0:c1,c2",lowerdir=/l,upperdir=/u,workdir=/w',
     Overlay("/u", ("/l",), ("rw", 'context="a:b:c:s0:c1,c2"', "lowerdir=/l", "upperdir=/u", "workdir=/w"))),
    # Colons and commas in names, as old and as new kernels show them.
    (b"1 2 0:1 / /r rw - overlay overlay rw,lowerdir=/a\\134:b:/c,upperdir=/u\\054v,workdir=/w",
     Overlay("/u,v", ("/a:b", "/c"), ("rw", "lowerdir=/a\\:b:/c", "upperdir=/u,v", "workdir=/w"))),
    (b"1 2 0:1 / /r rw - overlay overlay rw,lowerdir=/a\\072b:/c,upperdir=/u,workdir=/w",
     Overlay("/u", ("/a:b", "/c"), ("rw", "lowerdir=/a:b:/c", "upperdir=/u", "workdir=/w"))),
    (b"1 2 0:1 / /r rw - overlay overlay ro,lowerdir=/a:/b", None),
    (b"1 2 0:1 / /r rw - overlay overlay rw,lowerdir=/a,upperdir=u,workdir=w", None),
    (b"1 2 0:1 / /r rw - ext4 /dev/sda rw", None),
    (b"1 2 0:1 / /other rw - overlay overlay rw,lowerdir=/a,upperdir=/u,workdir=/w", None),
    # The uppermost counts.
    (b"1 2 0:1 / /r rw - overlay overlay rw,lowerdir=/a,upperdir=/u,workdir=/w\n3 1 0:3 / /r rw - tmpfs t rw", None),
    (b"", None),
]  # fmt: skip


@pytest.mark.parametrize(("table", "found"), OVERLAYS)
def test_overlays(table: bytes, found: t.Any) -> None:
    assert overlay.overlay_at("/r", mountinfo.parse(table)) == found
