# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel answers over netlink."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netlink


def test_a_list_that_changed_meanwhile_is_asked_for_again() -> None:
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

    def interrupted(message: t.Any, times: int) -> t.Any:
        def call() -> t.Any:
            if next(count) >= times:
                return [{"header": {"flags": 2}}]
            if message is None:
                raise NetlinkDumpInterrupted
            return [message]

        count = itertools.count()
        return call

    for message in (None, {"header": {"flags": 0x12}}):
        assert netlink.ask("list", interrupted(message, 3)) == [{"header": {"flags": 2}}]
        with pytest.raises(LongshoreError, match="other programs change it continuously"):
            netlink.ask("list", interrupted(message, 99))
