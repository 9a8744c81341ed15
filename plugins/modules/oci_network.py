#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_network
short_description: Make networks for containers
version_added: 0.1.0
description:
  - Makes a named network namespace, as C(ip netns) has them, connects it with bridges of the host, gives it addresses, and
    publishes its ports.
  - A container uses it by its path, with O(longshore.oci.oci_bundle#module:network=path:/run/netns/NAME). Several containers may
    use the same one; then they reach one another at C(127.0.0.1).
  - What is there as it should be is left alone, and no program is started to find that out. What somebody has taken away or
    changed is mended. An option that was taken away is a change too.
  - A namespace does not survive a reboot. Run the task again, and it is the same as before, with the same addresses.
  - Rules are in one table of nftables of our own, which is replaced as a whole, in one transaction. Other tables, those of podman
    and firewalls too, are left alone. Where the policy of one is to drop what is forwarded, the task warns of it.
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
      - V(present) makes the network, or changes it to what is asked for. Containers that use it go on, and see the change.
      - V(absent) removes everything that V(present) has made and nothing else, and forgets its addresses. Refused while a process is
        in the namespace.
    type: str
    choices: [present, absent]
    default: present
  bridge:
    description:
      - Bridge of the host that the interface is connected with. One that is not there is made, and removed with the last network
        that needs it. One that somebody else has made is used, and never changed; it has to be there first after a reboot, too.
      - Default is C(longshore0).
    type: str
  subnet:
    description:
      - Networks to take the address from, one of IPv4 or one of IPv6 or one of each. It gets the lowest that is free, and keeps it.
      - The first address of a subnet is the gateway, unless O(gateway) says otherwise.
    type: list
    elements: str
  address:
    description:
      - Addresses, each with the length of its network, as V(10.78.0.9/24). With O(subnet) the length may be left out.
      - Of several in one network, the kernel chooses which one packets come from.
    type: list
    elements: str
  gateway:
    description:
      - Addresses of the gateways, one of IPv4 or one of IPv6 or one of each. A bridge that this module has made gets them, so that this
        host is the gateway.
      - The first interface with a gateway has the default route.
    type: list
    elements: str
  mac:
    description:
      - Hardware address. Default is one made of C(/etc/machine-id) (where that is missing, the name of the host) and the names of network
        and interface, so it is the same each time.
    type: str
  mtu:
    description: Largest packet, in bytes. Default is that of a bridge that somebody else has made, below which it cannot be, and else 1500.
    type: int
  interfaces:
    description:
      - Several interfaces, in the place of O(bridge), O(subnet), O(address), O(gateway), O(mac) and O(mtu), which make one with the name
        C(eth0).
      - A network with none of all these has its loopback interface only.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name in the namespace. Default is C(eth) with the number of its place in the list, from 0.
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
    description: Routes in the namespace, beside those that come with addresses and gateways.
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
      - Ports of this host that lead to ports in the namespace, as V(8080:80), V(8080:80/tcp), V(127.0.0.1:8080:80),
        V([2001:db8::1]:8080:80) or V(8000-8010:8000-8010/udp). Without an address they are those of all addresses of the host,
        of IPv4 and IPv6 as far as the network has them.
      - They lead to the first address with a gateway on this host. It lets the host forward packets (C(net.ipv4.ip_forward) and
        C(net.ipv6.conf.all.forwarding)), which it no longer does when the last network that needs it is gone, unless others have rules
        about what is forwarded by then.
      - A port that is published at an address, as V(127.0.0.1:8080:80), is reached at this address only, and one at 127.0.0.1 from this
        host only. A route to the container does not lead to it.
      - A port that another network publishes, or that a program of the host listens on, is refused. To keep programs away from it later
        too, see O(longshore.oci.oci_container#module:reserve_ports).
    type: list
    elements: str
  masquerade:
    description:
      - Whether packets from the network that leave its bridge get the address of the host, so that answers come back. This is
        for addresses whose gateway is this host, and lets the host forward packets.
      - V(false) lets others see the addresses of the network. Answers come back where they have a route to it by this host. They open
        connections to it with O(routed) only.
    type: bool
    default: true
  isolate:
    description:
      - Whether containers on other bridges of this module are kept from opening connections to this network.
      - V(false) lets them reach all of its ports. The network that is to be reached says so; the other one does not have to.
      - Networks on the same bridge reach one another in any case, and ports that are published for all addresses of the host, or for
        one that they reach, are open to every container.
    type: bool
    default: true
  routed:
    description:
      - Whether other hosts that have a route to this network by this host reach all of its ports, and not only what O(publish) publishes.
      - By default the host forwards nothing to the network but answers and what came to a published port.
      - V(true) is for addresses whose gateway is this host, and lets the host forward packets. Containers on other bridges are kept out
        by O(isolate) even so.
    type: bool
    default: false
requirements:
  - pyroute2 (Python)
  - nft, for every network with an interface
notes:
  - Needs root. Other users connect a container with O(longshore.oci.oci_container#module:network_helper).
  - C(ip link) shows of each interface on the host what it belongs to.
seealso:
  - module: longshore.oci.oci_network_info
  - module: longshore.oci.oci_bundle
  - module: longshore.oci.oci_container
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Make a network whose web server is reached at port 8080 of this host
  longshore.oci.oci_network:
    name: shop
    subnet: [10.78.1.0/24, "fd00:78:1::/64"]
    publish:
      - "8080:80"

- name: Make a bundle that uses it
  longshore.oci.oci_bundle:
    path: /srv/shop
    image: docker://registry.example.com/shop:1
    network: path:/run/netns/shop

- name: Run it
  longshore.oci.oci_container:
    name: shop
    bundle: /srv/shop

- name: Let the server be reached from this host only, at another address, and see what that would change
  longshore.oci.oci_network:
    name: shop
    subnet: [10.78.1.0/24]
    address: [10.78.1.80]
    publish:
      - "127.0.0.1:8080:80"
  check_mode: true
  diff: true

- name: Make a network with two interfaces, and a router behind one of them
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

- name: Make a network that other hosts reach by a route to it, and that containers on other bridges reach too
  longshore.oci.oci_network:
    name: lab
    bridge: testing
    subnet: [10.78.5.0/24]
    masquerade: false
    routed: true
    isolate: false

- name: Make a namespace with a loopback interface only
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
  description: The network after the task. In check mode, as it would be.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    state:
      description: V(present) or V(absent). All that follows is there with V(present) only.
      type: str
    path:
      description: Its namespace.
      type: str
    interfaces:
      description:
        - Its interfaces, each with C(name), C(bridge), C(addresses), C(gateways), C(mac), C(mtu), and with C(host_interface), the
          name of its other end on the host.
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
      description: Whether what leaves gets the address of the host.
      type: bool
    isolate:
      description: Whether containers on other bridges are kept out.
      type: bool
    routed:
      description: Whether hosts with a route to the network reach all of its ports.
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
    - What was done, or in check mode would be, in this order.
    - V(record) wrote down what the network shall be, V(bridge) made, changed or removed a bridge, V(namespace) made the namespace,
      V(interface) made, changed or removed interfaces, V(route) changed routes, V(forwarding) let the host forward packets,
      V(rules) replaced the table of nftables, V(remove) removed the network.
  returned: success
  type: list
  elements: str
  sample: [record, bridge, namespace, interface, route, forwarding, rules]
diff:
  description: What is different, by what it is about.
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
    check_root()  # Before anything is said about directories, which others have to give where there is no session.
    request = network.request(module.params)
    networks = Networks(**boundary.directories(module.params))
    return network.result(module, networks.converge(request, check=module.check_mode))


def main() -> None:
    module = AnsibleModule(argument_spec=network.ARGUMENTS, supports_check_mode=True, **network.RULES)
    boundary.run(module, converge)


if __name__ == "__main__":
    main()
