#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_container_info
short_description: Return information about OCI containers
version_added: 0.1.0
description:
  - Returns information about the containers of M(longshore.oci.oci_container), and about the commands that M(longshore.oci.oci_exec) runs
    in them. Starts no process on the host, except C(journalctl) for the lines of a journal (O(log_lines)).
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._attributes.info
  - longshore.oci._directories
options:
  name:
    description: Names of containers. An empty list means all containers. A container that does not exist is returned with the status V(absent).
    type: list
    elements: str
    default: []
  log_lines:
    description:
      - Number of lines to return from the end of the log of each container, without the times in it. Lines of an earlier container with the
        same name are left out, except with O(longshore.oci.oci_container#module:log_driver=passthrough), which writes no times.
    type: int
    default: 0
seealso:
  - module: longshore.oci.oci_container
  - module: longshore.oci.oci_exec
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Get information about all containers
  longshore.oci.oci_container_info:
  register: all_containers

- name: Show the names of running containers
  ansible.builtin.debug:
    msg: "{{ all_containers.containers | selectattr('status', 'eq', 'running') | map(attribute='name') }}"

- name: Show the commands that run in containers
  ansible.builtin.debug:
    msg: "{{ all_containers.containers | map(attribute='exec_sessions') | flatten | selectattr('status', 'eq', 'running') }}"

- name: Get information about one container, with the end of its log
  longshore.oci.oci_container_info:
    name: web
    log_lines: 20
  register: web
  failed_when: web.containers[0].exit_code not in [none, 0]
"""

RETURN = r"""
containers:
  description:
    - A dictionary for each container, as RV(longshore.oci.oci_container#module:container), with two more keys. With O(log_lines), C(log) has
      one more, too (C(lines)), the lines of the log.
  returned: success
  type: list
  elements: dict
  contains:
    busy:
      description:
        - Whether a task currently works on the container, or a checkpoint whose task was killed is still in progress. The returned
          information may then change at any moment.
      type: bool
    exec_sessions:
      description:
        - The commands that run in the container, and ended detached commands whose session still exists, the oldest first. Each is like
          RV(longshore.oci.oci_exec#module:exec_session).
      type: list
      elements: dict
  sample:
    - name: web
      status: running
      pid: 4711
      busy: false
      exec_sessions: []
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._base.files import is_busy
from ansible_collections.longshore.oci.plugins.module_utils._container.observe import observe
from ansible_collections.longshore.oci.plugins.module_utils._exec import session_store
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, session
from ansible_collections.longshore.oci.plugins.module_utils._module.container_state import describe
from ansible_collections.longshore.oci.plugins.module_utils._state.lock_holders import holders
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store, check_name


def look(module: AnsibleModule) -> dict[str, t.Any]:
    store = Store(**boundary.directories(module.params))
    for name in module.params["name"]:
        check_name(name)
    if module.params["log_lines"] < 0:
        raise InvalidOption("log_lines cannot be negative.")
    names = module.params["name"] or store.names()
    return {"changed": False, "containers": [_describe(module, store, name) for name in names]}


def _describe(module: AnsibleModule, store: Store, name: str) -> dict[str, t.Any]:
    record = store.load(name)
    if record is not None and record.definition.runtime_root is None:
        # Looking does no harm to one that runs with another run_dir, and is told what is true there.
        store = Store(state_dir=store.state_dir, run_dir=os.path.dirname(record.runtime_root))
    seen = observe(store, name)
    found = describe(seen)
    if seen.problem:
        module.warn(seen.problem)
    if module.params["log_lines"] and found["log"] and seen.record:
        from ansible_collections.longshore.oci.plugins.module_utils._conmon.log_end import log_end

        found["log"]["lines"] = log_end(seen.record, lines=module.params["log_lines"])
    return {
        **found,
        "busy": _is_busy(store, name),
        "exec_sessions": [session.describe(each) for each in session_store.look_at_all(store.paths(name), seen.record)],
    }


def _is_busy(store: Store, name: str) -> bool:
    """Not by the file of the lock alone, which a killed task leaves."""
    return is_busy(store.run_dir, name) and bool(holders(store.paths(name).lock))


def main() -> None:
    arguments = {
        "name": {"type": "list", "elements": "str", "default": []},
        "log_lines": {"type": "int", "default": 0},
        **boundary.DIRECTORY_ARGUMENTS,
    }
    boundary.run(AnsibleModule(argument_spec=arguments, supports_check_mode=True), look)


if __name__ == "__main__":
    main()
