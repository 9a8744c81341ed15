#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_container
short_description: Run OCI containers with conmon and runc or crun
version_added: 0.1.0
description:
  - Creates, starts, pauses, stops, restarts and removes a container from an OCI bundle. The host needs conmon and an OCI
    runtime, and nothing else. There is no daemon.
  - The container runs under conmon in a cgroup of its own, so it outlives the task, the connection and the session.
  - Whether something has to be done is decided by Longshore's own record of the container, the files of the runtime and of
    conmon, and the processes themselves. A task with nothing to do starts no process on the host.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._container
  - longshore.oci._container.stop
  - longshore.oci._directories
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Not with O(state=restarted) or O(recreate=always).
options:
  name:
    description: Name of the container, which is also its id for the runtime. Letters, digits, C(_), C(+), C(-) and C(.).
    type: str
    required: true
  state:
    description:
      - V(started) creates the container where needed and starts it. A paused one is resumed. One that has ended is made
        anew from its bundle, one that is checkpointed goes on from its checkpoint (see O(restore)). A running one is left
        alone, with or without O(bundle).
      - V(present) creates the container and does not start it. One that exists is left as it is.
      - V(stopped) stops a container that runs or is paused. One that does not exist is created, and not started.
      - V(restarted) stops the container and makes it anew. It is started in any case.
      - V(paused) freezes the container, after starting it where needed.
      - V(absent) stops and removes the container, its record and its log.
    type: str
    choices: [present, started, stopped, restarted, paused, absent]
    default: started
  recreate:
    description:
      - What to do with an existing container whose definition differs, by its C(config.json) or by an option of the launch.
      - V(changed) stops it and makes it anew. With O(state=present) it is started again if it was running.
      - V(always) makes it anew even without a difference.
      - V(never) keeps it, and warns.
      - O(stop_signal) and O(stop_timeout) never need a new container.
    type: str
    choices: [changed, always, never]
    default: changed
  service:
    description:
      - Whether the container is a service of systemd, C(longshore-NAME.service), whose unit runs conmon itself. (With a O(state_dir) of
        your own the name has a digest of it, see RV(container.service).) It starts at boot then, unless it was stopped by this
        module last, and again as O(restart_policy) says. C(systemctl) and C(journalctl) know it.
      - systemd alone starts and stops it, for this module too. The stop contract is the same.
      - Those of other users than root belong to their own systemd, which starts at boot with C(loginctl enable-linger).
      - Default is V(false). Needs systemd, and does not go with O(listen) and O(reserve_ports). With O(sdnotify=container) the unit is
        active (C(Type=notify)) when the container says that it is ready, at boot too.
    type: bool
  restart_policy:
    description:
      - When systemd starts a container again that has ended without having been stopped, a second later. V(on-failure) after an
        exit code that is not 0, or a signal. systemd gives up on one that ends again and again (five times within ten seconds).
      - Default is V(no). Needs O(service).
    type: str
    choices: ["no", "on-failure", "always"]
  network_helper:
    description:
      - Program that connects the network of the container with the host, without any rights on the host. So it works for other users
        than root too. It is started before the container is, ends with it, and belongs to its conmon.
      - The container needs a network namespace of its own, as bundles have by default.
      - V(pasta) gives the container the address and routes of the host. V(slirp4netns) gives it 10.0.2.100 behind a router.
      - One whose helper was killed, or whose conmon was, goes on without a network. A task says so in a warning, and
        RV(container.network.pid) is V(null) then.
      - V(slirp4netns) is refused for root, and for a container with C(CAP_NET_RAW) or C(CAP_NET_ADMIN), which could reach the loopback of
        the host by it.
      - Default is V(none). A container with a helper cannot be checkpointed, and V(slirp4netns) does not go with O(service).
    type: str
    choices: [none, slirp4netns, pasta]
  publish:
    description:
      - Ports of the host at which O(network_helper) reaches ports of the container.
        C([IP:]HOST_PORT[-LAST]:CONTAINER_PORT[-LAST][/tcp|/udp]), with an IPv6 address in brackets (V(pasta) only).
      - Without an address, on all of the host. To be quoted in YAML, which takes V(8080:22) for a number.
      - A port that somebody else has is refused before anything is touched.
    type: list
    elements: str
  network_options:
    description:
      - More words for the command line of O(network_helper), such as V(--mtu=1400), or V(--interface) and V(eth1) for V(pasta). Those
        that Longshore sets itself are refused.
    type: list
    elements: str
  restore:
    description:
      - What becomes of a container that is checkpointed (see M(longshore.oci.oci_checkpoint)) with O(state=started) or
        O(state=paused). V(true) restores it, and removes the checkpoint. V(false) makes it anew from its bundle.
      - One whose definition has changed is made anew in any case (see O(recreate)). The checkpoint is kept then.
    type: bool
    default: true
seealso:
  - module: longshore.oci.oci_container_info
  - module: longshore.oci.oci_checkpoint
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Run a web server from the bundle in /srv/web
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web
    log_size_max: 10M
    stop_timeout: 30

- name: Restart it, as it is
  longshore.oci.oci_container:
    name: web
    state: restarted

- name: Freeze it while the disk is copied
  longshore.oci.oci_container:
    name: web
    state: paused

- name: Let it go on
  longshore.oci.oci_container:
    name: web

- name: See what a changed bundle would do, and do nothing
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web
  check_mode: true
  diff: true

- name: Use runc, and report a difference instead of replacing a running database
  longshore.oci.oci_container:
    name: database
    bundle: /srv/database
    runtime: runc
    recreate: never

- name: Let systemd start the web server at boot, and again when it fails
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web
    log_size_max: 10M
    stop_timeout: 30
    service: true
    restart_policy: on-failure
  when: ansible_facts.service_mgr == 'systemd'

- name: Keep a port for the database, and wait until it says that it is ready
  longshore.oci.oci_container:
    name: database
    bundle: /srv/database
    runtime: runc
    reserve_ports: ["5432", "127.0.0.1:9187/tcp"]
    sdnotify: conmon
    ready_timeout: 60

- name: Listen for the web server, which finds its sockets as those of a systemd service
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web
    listen: ["http=8081", "admin=unix:/run/web-admin.sock"]

- name: Reach a container without being root, at port 8080 of this host
  longshore.oci.oci_container:
    name: wiki
    bundle: /srv/wiki
    network_helper: pasta
    publish:
      - "127.0.0.1:8080:80"
      - "1053:53/udp"

- name: Stop it at once, this time only
  longshore.oci.oci_container:
    name: web
    state: stopped
    stop_timeout: 0

- name: Remove them
  longshore.oci.oci_container:
    name: "{{ item }}"
    state: absent
  loop:
    - web
    - database
    - wiki
"""

RETURN = r"""
container:
  description: The container after the task. In check mode, as it is.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    status:
      description: One of V(absent), V(created), V(running), V(paused), V(stopped) and V(checkpointed).
      type: str
    pid:
      description: Process id of its first process, V(null) when there is none.
      type: int
    conmon_pid:
      description: Process id of its conmon, V(null) when there is none.
      type: int
    monitored:
      description: Whether conmon watches it. A container whose conmon was killed goes on, but its exit code gets lost.
      type: bool
    exit_code:
      description: Exit code of a container that has ended, 128 and the number of the signal for one that was killed.
      type: int
    exit_reason:
      description:
        - How it ended. V(exited) or V(killed) with an exit code.
        - Without one it is V(monitor-lost) (conmon was gone before the container), V(host-rebooted), V(no-exit-file) (conmon
          could not write it, a full disk perhaps), V(monitor-timeout) (conmon ended it at its time limit) or
          V(checkpoint-deleted) (it was checkpointed, and the checkpoint is gone).
      type: str
    oom_killed:
      description: Whether the kernel killed one of its processes for want of memory.
      type: bool
    created_at:
      description: When it was created, as RFC 3339 in UTC. So are the next two.
      type: str
    started_at:
      description: When it was started.
      type: str
    finished_at:
      description: When it ended.
      type: str
    bundle:
      description: The bundle that it was created from.
      type: str
    config_digest:
      description: Digest of the meaning of its config, the same for any order of keys.
      type: str
    runtime:
      description: Name, path and version of its runtime, and the state directory (C(root)) to use with it by hand.
      type: dict
    cgroup:
      description: The manager of its cgroup, and the cgroups that it (C(path)) and conmon (C(conmon_path)) really are in.
      type: dict
    log:
      description: Driver and path of its log.
      type: dict
    network:
      description: How it is connected with the host.
      type: dict
      contains:
        helper:
          description: Its O(network_helper).
          type: str
        pid:
          description: The process id of that, V(null) when it does not run.
          type: int
        publish:
          description: The ports that it publishes.
          type: list
          elements: str
    service:
      description: Its unit, where it is a service of systemd.
      type: str
  sample:
    name: web
    status: running
    pid: 4711
actions:
  description:
    - What was done, in order. One or more of V(update), V(stop), V(remove), V(create), V(start), V(pause), V(resume),
      V(restore), and V(recover) before them, for what a task that was killed in a checkpoint or restore has left.
  returned: success
  type: list
  elements: str
  sample: [create, start]
stop:
  description: What it took to stop the container.
  returned: when it was stopped
  type: dict
  contains:
    signal:
      description: The signal that was sent.
      type: str
    killed:
      description: Whether SIGKILL was needed (or asked for).
      type: bool
    waited:
      description: Seconds until nothing was left of it.
      type: float
runtime_log:
  description: The end of the log of the runtime. C(conmon_log), C(container_log), C(restore_log) and C(network_log) are returned likewise.
  returned: when creating or starting failed
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Engine
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, container


def main() -> None:
    module = AnsibleModule(argument_spec=container.ARGUMENTS, supports_check_mode=True)
    params = container.conceal(module)

    def converge(module: AnsibleModule) -> dict[str, t.Any]:
        desired = container.desired(params)
        engine = Engine(**boundary.directories(params), remember=not module.check_mode)
        return container.result(module, engine.converge(desired, check=module.check_mode))

    boundary.run(module, converge)


if __name__ == "__main__":
    main()
