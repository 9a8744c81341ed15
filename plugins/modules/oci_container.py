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
  - Creates, starts, pauses, stops, restarts and removes a container from an OCI bundle. The host needs only conmon and an OCI runtime.
    There is no daemon.
  - The container runs under conmon in its own cgroup, so it continues after the task, the connection and the session end.
  - The module learns the state of a container from Longshore's record, from the files of the runtime and conmon, and from the
    processes. A task that has nothing to change starts no process on the host.
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
    description:
      - Name of the container, which is also its id for the runtime. It consists of letters, digits, C(_), C(+), C(-) and C(.).
    type: str
    required: true
  state:
    description:
      - V(started) starts the container, and creates it if needed. It resumes a paused container. It recreates a container that has ended,
        from its bundle. It restores a checkpointed container from its checkpoint (see O(restore)). A running container stays unchanged,
        with or without O(bundle).
      - V(present) creates the container without starting it. An existing container stays as it is.
      - V(stopped) stops a running or paused container. If the container does not exist, the module creates it without starting it.
        It also stops a service (O(service)) that systemd is about to restart, and keeps it from starting at boot.
      - V(restarted) stops the container, recreates it and always starts it.
      - V(paused) freezes the container, and starts it first if needed.
      - V(absent) stops the container, and removes it, its record and its log.
    type: str
    choices: [present, started, stopped, restarted, paused, absent]
    default: started
  recreate:
    description:
      - How to handle an existing container whose definition differs in its C(config.json) or in an option of the launch.
      - V(changed) stops and recreates it. With O(state=present), the module starts it again if it was running.
      - V(always) recreates it even without a difference.
      - A change of the host alone, such as another default seccomp profile or a replaced file of a mount, is not a difference. The module
        warns about it, and O(state=restarted) recreates the container with it.
      - V(never) keeps it and warns.
      - A change of O(stop_signal) or O(stop_timeout) never needs a new container.
    type: str
    choices: [changed, always, never]
    default: changed
  service:
    description:
      - Whether the container is a service of systemd, C(longshore-NAME.service), whose unit runs conmon directly. (With a custom
        O(state_dir), the name of the unit contains a digest of it, see RV(container.service).) The service starts at boot, unless this
        module was the last to stop it, and restarts according to O(restart_policy). C(systemctl) and C(journalctl) work with it.
      - Only systemd starts and stops the service, also for this module. The container stops in the same way as without a service.
      - If the unit or its script was edited or deleted, or the unit of a started service was disabled, the module restores it (V(update) in
        RV(actions)), without another container. To change the unit, use a drop-in (C(systemctl edit)), which the module does not touch.
      - The unit waits for the mounts of the bundle, of all sources of bind mounts, and of the directories of O(log_path), O(conmon_pidfile)
        and O(runtime_root).
      - After C(systemctl stop), the unit has not failed, whatever exit code the stop signal leads to. A container that ends by itself with an
        exit code other than 0 is a failed unit.
      - The unit is active right before the program of the container starts. A program that ends at once does not fail the task.
      - Services of users other than root belong to the systemd instance of the user, which starts at boot with
        C(loginctl enable-linger).
      - Default is V(false). V(true) requires systemd, and cannot be used with O(listen) and O(reserve_ports). With O(sdnotify=container),
        the unit becomes active (C(Type=notify)) when the container reports that it is ready, at boot too.
    type: bool
  restart_policy:
    description:
      - When systemd restarts, after one second, a container that has ended without being stopped. V(on-failure) means after an exit code
        other than 0 or after a signal. The number of restarts has no limit, as with podman and docker. A drop-in can set
        C(StartLimitIntervalSec=) and C(RestartSec=).
      - Default is V(no). Requires O(service).
    type: str
    choices: ["no", "on-failure", "always"]
  network_helper:
    description:
      - Program that connects the network of the container with the host. The program needs no privileges on the host, so this also works
        for users other than root. It starts before the container, ends with it, and is a child of its conmon.
      - The container needs its own network namespace, which is the default in bundles.
      - With V(pasta), the container has the address and the routes of the host. A service waits up to a minute for a default route, in the
        first five minutes after the boot of the host. With V(slirp4netns), it has the address 10.0.2.100 behind
        a router.
      - If the helper or conmon is killed, the container continues without a network. Tasks then warn about it, and
        RV(container.network.pid) is V(null).
      - The module refuses V(slirp4netns) for root, and for a container with C(CAP_NET_RAW) or C(CAP_NET_ADMIN), because such a container
        could reach the loopback interface of the host through it.
      - Default is V(none). A container with a helper cannot be checkpointed. V(slirp4netns) cannot be used with O(service).
    type: str
    choices: [none, slirp4netns, pasta]
  publish:
    description:
      - Ports of the host that O(network_helper) forwards to ports of the container.
        C([IP:]HOST_PORT[-LAST]:CONTAINER_PORT[-LAST][/tcp|/udp]), with an IPv6 address in brackets (V(pasta) only). Both ranges have
        the same length.
      - Without an address, the port is published on all addresses of the host. Quote the value in YAML, because YAML reads V(8080:22)
        as a number.
      - If another process uses a port, the module fails before it changes anything.
    type: list
    elements: str
  network_options:
    description:
      - Additional arguments for O(network_helper), such as V(--mtu=1400), or V(--interface) and V(eth1) for V(pasta). The module refuses
        arguments that Longshore sets itself.
    type: list
    elements: str
  restore:
    description:
      - How to start a checkpointed container (see M(longshore.oci.oci_checkpoint)) with O(state=started) or O(state=paused). V(true)
        restores it, and removes the checkpoint. V(false) recreates it from its bundle.
      - A container whose definition has changed is always recreated (see O(recreate)), and the checkpoint is kept.
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

- name: Restart it as recorded
  longshore.oci.oci_container:
    name: web
    state: restarted

- name: Freeze it, for example to copy the disk
  longshore.oci.oci_container:
    name: web
    state: paused

- name: Resume it
  longshore.oci.oci_container:
    name: web

- name: Show what a changed bundle would change
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

- name: Let systemd start the web server at boot and restart it on failure
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web
    log_size_max: 10M
    stop_timeout: 30
    service: true
    restart_policy: on-failure
  when: ansible_facts.service_mgr == 'systemd'

- name: Reserve a port for the database
  longshore.oci.oci_container:
    name: database
    bundle: /srv/database
    runtime: runc
    reserve_ports: ["5432", "127.0.0.1:9187/tcp"]
    sdnotify: conmon
    ready_timeout: 60

- name: Pass listening sockets to the web server, as systemd does with socket activation
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web
    listen: ["http=8081", "admin=unix:/run/web-admin.sock"]

- name: Publish port 80 of a container at port 8080 of this host, without root
  longshore.oci.oci_container:
    name: wiki
    bundle: /srv/wiki
    network_helper: pasta
    publish:
      - "127.0.0.1:8080:80"
      - "1053:53/udp"

- name: Kill it at once, in this task only
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
  description: State of the container after the task. In check mode, its current state.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the container.
      type: str
    status:
      description:
        - Status, one of V(absent), V(created), V(running), V(paused), V(stopped) and V(checkpointed).
        - V(unknown) if the container lives and a runtime other than crun and runc does not report its state. Then only
          O(state=absent) is possible.
      type: str
    pid:
      description: Process id of the first process, V(null) if no process runs.
      type: int
    conmon_pid:
      description: Process id of conmon, V(null) if conmon does not run.
      type: int
    monitored:
      description:
        - Whether conmon monitors the container. A container whose conmon was killed continues, but its output and its exit code are lost.
          The module warns about that.
      type: bool
    exit_code:
      description: Exit code of a container that has ended. For a container that a signal killed, 128 plus the number of the signal.
      type: int
    exit_reason:
      description:
        - How the container ended. V(exited) or V(killed) with an exit code.
        - Without an exit code, V(monitor-lost) (conmon ended before the container), V(host-rebooted), V(no-exit-file) (conmon could
          not write the exit file, for example because the disk is full), V(monitor-timeout) (conmon ended the container at its time
          limit) or V(checkpoint-deleted) (the container was checkpointed, and the checkpoint is gone).
      type: str
    oom_killed:
      description: Whether the kernel killed a process of the container because memory was exhausted.
      type: bool
    created_at:
      description: Time of its creation, in RFC 3339 format in UTC.
      type: str
    started_at:
      description: Time of its start, in the same format.
      type: str
    finished_at:
      description: Time of its end, in the same format.
      type: str
    bundle:
      description: The bundle from which the container was created.
      type: str
    config_digest:
      description: Digest of the content of its config. It does not depend on the order of keys.
      type: str
    runtime:
      description: Name, path and version of its runtime, and the state directory (C(root)), for example to call the runtime by hand.
      type: dict
    cgroup:
      description: The cgroup manager, and the actual cgroups of the container (C(path)) and of conmon (C(conmon_path)).
      type: dict
    log:
      description: Log driver and path of the log.
      type: dict
    network:
      description: Connection of its network with the host.
      type: dict
      contains:
        helper:
          description: The O(network_helper).
          type: str
        pid:
          description: Process id of the helper, V(null) if it does not run.
          type: int
        publish:
          description: The published ports.
          type: list
          elements: str
    service:
      description: Name of its unit, if the container is a service of systemd.
      type: str
  sample:
    name: web
    status: running
    pid: 4711
actions:
  description:
    - The actions of the module, in order. One or more of V(update), V(stop), V(remove), V(create), V(start), V(pause), V(resume) and
      V(restore). V(recover) comes first if the module cleaned up after a task that was killed during a checkpoint or restore.
  returned: success
  type: list
  elements: str
  sample: [create, start]
stop:
  description: How the container was stopped.
  returned: when the container was stopped
  type: dict
  contains:
    signal:
      description: Signal that the module sent.
      type: str
    killed:
      description: Whether the module used SIGKILL, because it was needed or requested.
      type: bool
    waited:
      description: Seconds until all processes had ended.
      type: float
runtime_log:
  description: Last lines of the log of the runtime. C(conmon_log), C(container_log), C(restore_log) and C(network_log) are returned in the same way.
  returned: when creating or starting failed
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, container, secrets


def main() -> None:
    module = AnsibleModule(argument_spec=container.ARGUMENTS, supports_check_mode=True)
    params = secrets.conceal(module)

    def converge(module: AnsibleModule) -> dict[str, t.Any]:
        desired = container.desired(params)
        containers = Containers(**boundary.directories(params))
        if params["log_driver"] == "auto":
            from ansible_collections.longshore.oci.plugins.module_utils._module.log_driver import resolved

            desired = container.desired(resolved(containers.store, params))
        return container.result(module, containers.converge(desired, check=module.check_mode))

    boundary.run(module, converge, lambda: secrets.in_failures(params))


if __name__ == "__main__":
    main()
