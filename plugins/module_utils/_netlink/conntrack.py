# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows that the kernel tracks, over netlink."""

from __future__ import annotations

import contextlib
import socket
import typing as t


def forget_udp(ports: t.Collection[int]) -> None:
    """Forget UDP flows to ports of this host. They have no end and keep their first route, so a client that continues to send
    would never reach the new destination of its port. Without nf_conntrack_netlink in the kernel, this does nothing.
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
