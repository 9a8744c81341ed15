#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_engine_info
short_description: Find out what a host can do with containers
version_added: 0.1.0
description:
  - Returns which conmon, runtimes and CRIU the host has, whether they work there, and if not why.
  - Asks the programs for their versions and features, and CRIU whether it can work with the kernel (C(criu check)). Changes
    nothing.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._attributes.info
  - longshore.oci._directories
seealso:
  - module: longshore.oci.oci_container
  - module: longshore.oci.oci_checkpoint
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Find out what this host can do
  longshore.oci.oci_engine_info:
  register: engine

- name: Say which runtimes can checkpoint a container here, and why the others cannot
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.checkpoint.reason | default('works', true) }}"
  loop: "{{ engine.runtimes }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
conmon:
  description: C(name), C(path) and C(version) of conmon, and a C(reason) when it cannot be used.
  returned: success
  type: dict
runtimes:
  description: The runtimes crun and runc, in the order in which they are preferred.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    path:
      description: Where it is, V(null) when it is not installed.
      type: str
    version:
      description: Its version.
      type: str
    works:
      description: Whether containers can be run with it on this host.
      type: bool
    reason:
      description: Why it does not work.
      type: str
    checkpoint:
      description:
        - Whether its containers can be checkpointed and restored on this host (C(works)), why not (C(reason)), and the
          options that this version of it has for both (C(options)).
      type: dict
criu:
  description:
    - C(name), C(path) and C(version) of CRIU, V(null) when it is not installed, and whether the kernel tracks changes of
      memory for it (C(tracks_memory)), as O(longshore.oci.oci_checkpoint#module:pre_dump) needs.
  returned: success
  type: dict
cgroup:
  description: The cgroups of this host (C(mode), one of V(unified), V(hybrid) and V(legacy)), and who manages them (C(manager)).
  returned: success
  type: dict
systemd:
  description: Whether systemd runs.
  returned: success
  type: bool
kernel:
  description: Release of the kernel.
  returned: success
  type: str
architecture:
  description: The machine, such as V(x86_64).
  returned: success
  type: str
cpu_features:
  description: Features of the processor. A container that uses one of them cannot go on where it is missing.
  returned: success
  type: list
  elements: str
root:
  description: Whether the task runs as root.
  returned: success
  type: bool
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host
from ansible_collections.longshore.oci.plugins.module_utils._host.host_info import survey
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary


def look(module: AnsibleModule) -> dict[str, t.Any]:
    directories = boundary.directories(module.params)
    return {"changed": False, **survey(Host(run_dir=directories["run_dir"], remember=False))}


def main() -> None:
    boundary.run(AnsibleModule(argument_spec=boundary.DIRECTORY_ARGUMENTS, supports_check_mode=True), look)


if __name__ == "__main__":
    main()
