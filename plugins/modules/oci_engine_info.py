#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_engine_info
short_description: Return which container features work on a host
version_added: 0.1.0
description:
  - Returns which conmon, runtimes and CRIU the host has, whether they work, and if not, why.
  - Runs the programs to get their versions and features, and C(criu check) to learn whether CRIU works with the kernel. Changes nothing
    on the host.
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
- name: Get information about the host
  longshore.oci.oci_engine_info:
  register: engine

- name: Show which runtimes can checkpoint a container on this host, and why the others cannot
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.checkpoint.reason | default('works', true) }}"
  loop: "{{ engine.runtimes }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
conmon:
  description: C(name), C(path) and C(version) of conmon, and a C(reason) if it cannot be used.
  returned: success
  type: dict
runtimes:
  description: The runtimes crun and runc, in the order of preference.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the runtime, as a task chooses it. The program may call itself otherwise, such as a wrapper script of another runtime.
      type: str
    path:
      description: Path of the runtime, V(null) if it is not installed.
      type: str
    version:
      description: Version of the runtime.
      type: str
    works:
      description: Whether it can run containers on this host.
      type: bool
    reason:
      description: The reason why it does not work.
      type: str
    checkpoint:
      description:
        - Whether its containers can be checkpointed and restored on this host (C(works)), the reason why not (C(reason)), and the
          options that this version has for both (C(options)).
      type: dict
criu:
  description:
    - C(name), C(path) and C(version) of CRIU, V(null) if it is not installed, and whether the kernel tracks memory changes for it
      (C(tracks_memory)), which O(longshore.oci.oci_checkpoint#module:pre_dump) needs.
  returned: success
  type: dict
cgroup:
  description:
    - The cgroups of this host (C(mode), one of V(unified), V(hybrid) and V(legacy)), and the cgroup manager (C(manager)).
    - The controllers that containers of this user can have (C(controllers)), by their names in cgroup v2, such as V(memory), V(pids), V(cpu),
      V(cpuset) and V(io). A limit whose controller is missing is refused by M(longshore.oci.oci_container).
  returned: success
  type: dict
systemd:
  description: Whether systemd runs.
  returned: success
  type: bool
kernel:
  description: Kernel release.
  returned: success
  type: str
architecture:
  description: Machine architecture, such as V(x86_64).
  returned: success
  type: str
cpu_features:
  description: Features of the processor. A container that uses a feature cannot be restored on a host without it.
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
    return {"changed": False, **survey(Host(run_dir=directories["run_dir"]))}


def main() -> None:
    boundary.run(AnsibleModule(argument_spec=boundary.DIRECTORY_ARGUMENTS, supports_check_mode=True), look)


if __name__ == "__main__":
    main()
