# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows that the kernel tracks, over netlink."""

from __future__ import annotations

import contextlib
import socket
import typing as t


def forget_udp(ports: t.Collection[int]) -> None:
    """Flows of UDP to ports of this host. They have no end, and keep the way that they had when they began: a client that goes on
    sending would never come to where its port leads now. Does what it can: a kernel without nf_conntrack_netlink cannot.
    """
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(NetlinkError), contextlib.closing(NFCTSocket(nfgen_family=family)) as tracked:
            flows = [message.get_attr("CTA_TUPLE_ORIG") for message in list(tracked.dump())]
            for flow in flows:
                known = NFCTAttrTuple.from_netlink(family, flow)
                if known.proto == socket.IPPROTO_UDP and known.dport in ports:
                    with contextlib.suppress(NetlinkError):  # it has just ended
                        tracked.entry("del", tuple_orig=known)
