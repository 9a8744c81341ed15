#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_network_info
short_description: Return information about networks for containers
version_added: 0.1.0
description:
  - Returns the networks of M(longshore.oci.oci_network), the parts of them that are missing or changed on the host, and the processes that
    use them. Starts no process on the host.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._attributes.info
  - longshore.oci._directories
options:
  name:
    description: Names of networks. An empty list means all networks. A network that does not exist is returned with the state V(absent).
    type: list
    elements: str
    default: []
requirements:
  - pyroute2 (Python)
notes:
  - Needs root.
seealso:
  - module: longshore.oci.oci_network
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Get information about all networks
  longshore.oci.oci_network_info:
  register: all_networks

- name: Show the published ports
  ansible.builtin.debug:
    msg: "{{ all_networks.networks | items2dict(key_name='name', value_name='publish') }}"

- name: Fail if a network is not on the host as its task created it
  ansible.builtin.assert:
    that: all_networks.networks | rejectattr('lacks', 'eq', []) | length == 0

- name: Get information about one network
  longshore.oci.oci_network_info:
    name: shop
  register: shop

- name: Show the containers in it
  ansible.builtin.debug:
    msg: "{{ shop.networks[0].used_by | default([]) | map(attribute='container') | select }}"
"""

RETURN = r"""
networks:
  description:
    - A dictionary for each network, as RV(longshore.oci.oci_network#module:network), and with the state V(present) these additional keys.
  returned: success
  type: list
  elements: dict
  contains:
    lacks:
      description:
        - The actions that its last task would carry out if it ran again now, as RV(longshore.oci.oci_network#module:actions). After a
          reboot, these are nearly all actions.
      type: list
      elements: str
    conflict:
      description: The reason why its task would fail now, because another program uses something that it needs. Empty without a conflict.
      type: str
    used_by:
      description:
        - The processes in its namespace, each with its C(pid), the name of its C(command), and its C(container) if it is the first
          process of a container, otherwise V(null).
      type: list
      elements: dict
  sample:
    - name: shop
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
      lacks: []
      conflict: ""
      used_by:
        - {pid: 4711, command: nginx, container: shop}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, network
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import check_root
from ansible_collections.longshore.oci.plugins.module_utils._network.survey import Survey


def look(module: AnsibleModule) -> dict[str, t.Any]:
    check_root()
    survey = Survey(**boundary.directories(module.params))
    names = module.params["name"] or survey.names()
    return {"changed": False, "networks": [_describe(survey, name) for name in names]}


def _describe(survey: Survey, name: str) -> dict[str, t.Any]:
    known = survey.describe(name)
    found = network.describe(name, known.outcome)
    if known.outcome.record:
        found.update(
            lacks=[action.value for action in known.outcome.plan.actions], conflict=known.conflict,
            used_by=[user._asdict() for user in known.users],
        )  # fmt: skip
    return found


def main() -> None:
    arguments = {"name": {"type": "list", "elements": "str", "default": []}, **boundary.DIRECTORY_ARGUMENTS}
    boundary.run(AnsibleModule(argument_spec=arguments, supports_check_mode=True), look)


if __name__ == "__main__":
    main()
