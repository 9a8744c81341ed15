#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_network
short_description: Create networks for containers
version_added: 0.1.0
description:
  - Creates a named network namespace, like those of C(ip netns), connects it with bridges of the host, assigns addresses to it, and
    publishes its ports.
  - A container uses the network by its path, with O(longshore.oci.oci_bundle#module:network=path:/run/netns/NAME). Several containers can
    use the same network. They then reach each other at C(127.0.0.1).
  - The module changes only the parts of a network that differ from the request, and starts no program to find them. It restores parts
    that another program has removed or changed. Removing an option from the task is a change.
  - A namespace does not survive a reboot. The next run of the task creates the network again, with the same addresses.
  - A namespace that another program has removed from C(/run/netns), as with C(ip netns delete), lives on while a process is in it. The module
    then gives it its name again (the action V(namespace)), and its containers continue.
  - All rules are in one nftables table of Longshore. The module replaces it as a whole, in one transaction, and does not touch other
    tables, including those of podman and firewalls. If the policy of another table drops forwarded packets, the task warns.
  - A reload of C(nftables.service) removes the tables of all programs. Published ports do not answer until the next run of the task, unless
    systemd loads C(networks.nft) in O(run_dir) again, which the guide of networks shows.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._directories
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the network, and of its namespace in C(/run/netns).
    type: str
    required: true
  state:
    description:
      - V(present) creates the network, or changes it as requested. Containers that use it continue and see the change.
      - V(absent) removes exactly what V(present) created, and releases the addresses. The module refuses this while a process is in the
        namespace.
    type: str
    choices: [present, absent]
    default: present
  bridge:
    description:
      - Bridge of the host to which the interface is connected. The module creates a missing bridge, and removes it together with the last
        network that needs it. It uses an existing bridge of another program and never changes it. Such a bridge must exist before the task
        runs, also after a reboot.
      - Default is C(longshore0).
    type: str
  subnet:
    description:
      - Networks from which the interface gets an address, at most one for IPv4 and one for IPv6. The interface gets the lowest free
        address and keeps it.
      - The first address of a subnet is the gateway, unless O(gateway) is given.
    type: list
    elements: str
  address:
    description:
      - Addresses, each with a prefix length, such as V(10.78.0.9/24). With O(subnet), the prefix length can be omitted.
      - If there are several addresses in one network, the kernel chooses the source address of packets.
    type: list
    elements: str
  gateway:
    description:
      - Addresses of the gateways, at most one for IPv4 and one for IPv6. A bridge that this module created gets these addresses, so this
        host is the gateway.
      - The default route uses the first interface with a gateway.
    type: list
    elements: str
  mac:
    description:
      - MAC address, in quotes, because YAML reads C(52:54:00:12:34:56) as one number.
      - The default is always the same for a network. It depends on C(/etc/machine-id) (or the host name if this file is missing) and the
        names of the network and the interface.
    type: str
  mtu:
    description:
      - MTU in bytes. For a bridge of another program, the default and the minimum are the MTU of the bridge. Otherwise the default is 1500.
    type: int
  interfaces:
    description:
      - Several interfaces. Use this instead of O(bridge), O(subnet), O(address), O(gateway), O(mac) and O(mtu), which configure one interface
        with the name C(eth0).
      - A network without any of these options has only its loopback interface.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name in the namespace. Default is C(eth) with the position in the list, from 0.
        type: str
      bridge:
        description: As O(bridge).
        type: str
      subnet:
        description: As O(subnet).
        type: list
        elements: str
      address:
        description: As O(address).
        type: list
        elements: str
      gateway:
        description: As O(gateway).
        type: list
        elements: str
      mac:
        description: As O(mac).
        type: str
      mtu:
        description: As O(mtu).
        type: int
  routes:
    description: Routes in the namespace, in addition to those of addresses and gateways.
    type: list
    elements: dict
    suboptions:
      to:
        description: A network, or V(default).
        type: str
        required: true
      via:
        description: Address of a router, in the network of one of the addresses.
        type: str
        required: true
  publish:
    description:
      - Ports of this host that are forwarded to ports in the namespace, such as V(8080:80), V(8080:80/tcp), V(127.0.0.1:8080:80),
        V([2001:db8::1]:8080:80) or V(8000-8010:8000-8010/udp). Both ranges have the same length. Without an address, a port is
        published on all addresses of the host, for IPv4 and for IPv6 if the network has addresses of that family.
        V(0.0.0.0:8080:80) publishes on all IPv4 addresses, V([::]:8080:80) on all IPv6 addresses.
      - Packets go to the first address with a gateway on this host. The module enables forwarding on the host (C(net.ipv4.ip_forward) and
        C(net.ipv6.conf.all.forwarding)). It disables forwarding when the last network that needs it is removed, unless other programs have
        rules for forwarded packets at that time.
      - A port that is published at an address, such as V(127.0.0.1:8080:80), is reachable at this address only. A port at 127.0.0.1 is
        reachable from this host only. A route to the container does not lead to the published port.
      - The module refuses a port that another network publishes or that a program of the host uses. To reserve a port on the host, see
        O(longshore.oci.oci_container#module:reserve_ports).
    type: list
    elements: str
  masquerade:
    description:
      - Whether packets that leave the bridge of the network get the address of the host, so that replies return. This applies to addresses
        whose gateway is this host, and enables forwarding on the host.
      - With V(false), other hosts see the addresses of the network. Replies return only if these hosts have a route to the network through
        this host. Only with O(routed) can these hosts open connections to the network.
    type: bool
    default: true
  isolate:
    description:
      - Whether to prevent containers on other bridges of this module from opening connections to this network.
      - With V(false), they reach all ports of this network. Only the network that is reached needs V(false), not the other one.
      - Networks on the same bridge always reach each other. Every container reaches ports that are published on all addresses of the host,
        or on an address that the container can reach.
    type: bool
    default: true
  routed:
    description:
      - Whether other hosts with a route to this network through this host reach all its ports, and not only the ports of O(publish).
      - By default, the host forwards to the network only replies and packets to published ports.
      - V(true) applies to addresses whose gateway is this host, and enables forwarding on the host. O(isolate) still applies to containers on
        other bridges.
    type: bool
    default: false
requirements:
  - pyroute2 (Python)
  - nft, for networks with an interface
notes:
  - Needs root. Other users can connect a container with O(longshore.oci.oci_container#module:network_helper).
  - For each interface on the host, C(ip link) shows the network to which it belongs.
seealso:
  - module: longshore.oci.oci_network_info
  - module: longshore.oci.oci_bundle
  - module: longshore.oci.oci_container
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Create a network with a web server that is reachable at port 8080 of this host
  longshore.oci.oci_network:
    name: shop
    subnet: [10.78.1.0/24, "fd00:78:1::/64"]
    publish:
      - "8080:80"

- name: Create a bundle that uses it
  longshore.oci.oci_bundle:
    path: /srv/shop
    image: docker://registry.example.com/shop:1
    network: path:/run/netns/shop

- name: Run it
  longshore.oci.oci_container:
    name: shop
    bundle: /srv/shop

- name: Show what another address, and a port for this host only, would change
  longshore.oci.oci_network:
    name: shop
    subnet: [10.78.1.0/24]
    address: [10.78.1.80]
    publish:
      - "127.0.0.1:8080:80"
  check_mode: true
  diff: true

- name: Create a network with two interfaces, and a router behind one of them
  longshore.oci.oci_network:
    name: router
    interfaces:
      - subnet: [10.78.1.0/24]
      - bridge: backend
        address: [10.78.2.1/24]
        mtu: 9000
    routes:
      - to: 10.79.0.0/16
        via: 10.78.2.254
    masquerade: false

- name: Create a network that other hosts reach through a route, and that containers on other bridges reach too
  longshore.oci.oci_network:
    name: lab
    bridge: testing
    subnet: [10.78.5.0/24]
    masquerade: false
    routed: true
    isolate: false

- name: Create a namespace with only a loopback interface
  longshore.oci.oci_network:
    name: lonely

- name: Remove the container
  longshore.oci.oci_container:
    name: shop
    state: absent

- name: Remove the networks
  longshore.oci.oci_network:
    name: "{{ item }}"
    state: absent
  loop: [shop, router, lab, lonely]

- name: Remove the bundle
  longshore.oci.oci_bundle:
    path: /srv/shop
    state: absent
"""

RETURN = r"""
network:
  description: The network after the task. In check mode, the predicted network.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the network.
      type: str
    state:
      description: V(present) or V(absent). The other keys except C(name) exist only with V(present).
      type: str
    path:
      description: Path of its namespace.
      type: str
    interfaces:
      description:
        - Its interfaces, each with C(name), C(bridge), C(addresses), C(gateways), C(mac), C(mtu) and C(host_interface), the name of the
          other end on the host.
      type: list
      elements: dict
    routes:
      description: Its routes, each with C(to), C(via) and C(interface).
      type: list
      elements: dict
    publish:
      description: Its published ports.
      type: list
      elements: str
    masquerade:
      description: Whether packets that leave the bridge get the address of the host.
      type: bool
    isolate:
      description: Whether containers on other bridges cannot open connections to it.
      type: bool
    routed:
      description: Whether hosts with a route to the network reach all its ports.
      type: bool
  sample:
    name: shop
    state: present
    path: /run/netns/shop
    interfaces:
      - name: eth0
        bridge: longshore0
        addresses: [10.78.1.2/24, "fd00:78:1::2/64"]
        gateways: [10.78.1.1, "fd00:78:1::1"]
        mac: "02:5c:d9:0e:1f:7a"
        mtu: 1500
        host_interface: ls-1c0d3f5a9b27
    routes:
      - {to: 0.0.0.0/0, via: 10.78.1.1, interface: eth0}
      - {to: "::/0", via: "fd00:78:1::1", interface: eth0}
    publish: ["8080:80/tcp"]
    masquerade: true
    isolate: true
    routed: false
actions:
  description:
    - The actions of the module in this order. In check mode, the actions that it would carry out.
    - V(record) recorded the definition of the network, V(bridge) created, changed or removed a bridge, V(namespace) created the namespace,
      V(interface) created, changed or removed interfaces, V(route) changed routes, V(forwarding) enabled forwarding on the host, V(rules)
      replaced the nftables table, V(unlock) removed rules of CRIU that dropped all packets in the namespace, V(remove) removed the network.
  returned: success
  type: list
  elements: str
  sample: [record, bridge, namespace, interface, route, forwarding, rules]
diff:
  description: Differences, by part of the network.
  returned: success
  type: dict
  sample:
    before:
      publish: []
    after:
      publish: ["8080:80/tcp"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, network
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import Networks, check_root


def converge(module: AnsibleModule) -> dict[str, t.Any]:
    check_root()  # First: without a session, other users would get an error about directories instead.
    request = network.request(module.params)
    networks = Networks(**boundary.directories(module.params))
    return network.result(module, networks.converge(request, check=module.check_mode))


def main() -> None:
    module = AnsibleModule(argument_spec=network.ARGUMENTS, supports_check_mode=True, **network.RULES)
    boundary.run(module, converge)


if __name__ == "__main__":
    main()
