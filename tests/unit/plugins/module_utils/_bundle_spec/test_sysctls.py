# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No sysctl of a container changes the host, and each has a name that a runtime can set."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import sysctls
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Options

pytestmark = pytest.mark.pure


def checked(values: dict[str, t.Any], **options: t.Any) -> dict[str, str]:
    return sysctls.checked(Options(sysctls=values, **options))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vm.swappiness", "Namespaces have"), ("net/ipv4/ip_forward", "Did you mean net.ipv4.ip_forward?"), (" net.ipv4.ip_forward", "Did you mean"),
        ("NET.ipv4.ip_forward", "Did you mean"), ("kernel.hostnames", "Namespaces have"), ("net", "Namespaces have"), ("kernel.shmmax ", "Did you mean"),
        ("net.a b", ""), ("net.ipv4/../../vm/x", "Namespaces have"), ("kernel/panic", "Namespaces have"),
        ("net.ipv4.conf.eth0/forwarding", "Did you mean net.ipv4.conf.eth0.f"),
        ("vm/a.b/c", "Namespaces have"), ("fs/mqueue/msg_max", "Did you mean fs.mqueue.msg_max?"),
    ],
)  # fmt: skip
def test_sysctls_that_belong_to_no_namespace(name: str, hint: str) -> None:
    with pytest.raises(InvalidOption, match="belongs to no namespace") as caught:
        checked({name: "1"})
    assert hint in caught.value.hint


@pytest.mark.parametrize("uts", ["private", "host"])
def test_the_hostname_is_no_sysctl(uts: str) -> None:
    """runc refuses it beside the hostname that each config has."""
    with pytest.raises(InvalidOption, match=r"kernel\.hostname cannot be set") as caught:
        checked({"kernel.hostname": "web"}, uts=uts)
    assert caught.value.hint == "Use hostname."
    assert checked({"kernel.domainname": "example"}) == {"kernel.domainname": "example"}


@pytest.mark.parametrize(
    "name",
    [
        "net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding", "net.ipv4.conf.eth0.100.forwarding", "net/ipv6/conf/bond0.7/disable_ipv6",
        "net.ipv6.neigh.eth0/100.gc_stale_time", "net/mpls/conf/eth0.5/input", "net.ipv4.neigh.a.b.c.retrans_time",
    ],
)  # fmt: skip
def test_no_interface_with_a_dot_has_a_sysctl(name: str) -> None:
    """sysctl(8) can set it. A runtime makes a slash of each dot."""
    with pytest.raises(InvalidOption, match="its network interface has a dot in the name") as caught:
        checked({name: 1})
    assert "net." not in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "net.ipv4.conf.eth0.forwarding", "net.ipv6.conf.all.disable_ipv6", "net.ipv4.neigh.default.gc_thresh1", "net.core.somaxconn", "kernel.shmmax",
        "kernel.sem", "fs.mqueue.msg_max", "net.netfilter.nf_log.0", "net.ipv4.tcp_rmem", "net.mpls.conf.lo.input",
    ],
)  # fmt: skip
def test_sysctls_of_a_namespace(name: str) -> None:
    assert checked({name: 1}) == {name: "1"}
