#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_checkpoint
short_description: Write a running container to disk and bring it back to life
version_added: 0.1.0
description:
  - Checkpoints a container of M(longshore.oci.oci_container), which writes its processes with their memory and open files to
    disk, and restores it from there. It goes on where it was, on the same host or on another one.
  - CRIU does the work, and the runtime asks for it. The host needs crun or runc, criu and root. For a container with a
    network namespace CRIU also needs iptables. M(longshore.oci.oci_engine_info) says what works on a host and why not.
  - A checkpoint is whole or is none. When it fails, the container goes on, and the error says what CRIU could not do. When a
    restore fails, nothing of the container is left, and the checkpoint is as it was.
  - Restored containers are like any other. Log and attach go on in the same files, and the exit code is recorded.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._container
  - longshore.oci._directories
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Not with O(leave_running=true), which makes a new checkpoint each time.
options:
  name:
    description: Name of the container. With O(archive) and O(state=restored) the one that the archive was made of.
    type: str
    required: true
  state:
    description:
      - V(checkpointed) writes a running or paused container to disk and ends it, unless O(leave_running=true). The stored
        checkpoint takes the place of an earlier one. A container that is checkpointed is left alone, but O(archive) is
        written when it is missing.
      - V(restored) brings a container back to life from its stored checkpoint, or from O(archive). A container that runs or
        is paused is left alone. One that has ended, or was not started yet, makes room. The stored checkpoint is deleted
        afterwards, unless O(keep=true). An archive is never deleted.
      - V(absent) deletes the stored checkpoint. A container that was only there as a checkpoint is then a stopped one.
      - O(longshore.oci.oci_container#module:state=started) restores a checkpointed container too.
    type: str
    choices: [checkpointed, restored, absent]
    default: checkpointed
  leave_running:
    description:
      - Let the container go on after the checkpoint. With O(include_rootfs=true) it is paused until its files are packed.
    type: bool
  tcp_established:
    description: Checkpoint and restore TCP connections. Both ends must find each other at the same addresses afterwards.
    type: bool
  tcp_close:
    description: Restore TCP connections as closed ones. Needs crun 1.23. Only for O(state=restored).
    type: bool
  tcp_skip_in_flight:
    description: Leave out TCP connections that are just being made. Needs runc 1.3. Only for O(state=checkpointed).
    type: bool
  file_locks:
    description: Checkpoint and restore locks on files.
    type: bool
  ext_unix_sk:
    description: Allow unix sockets that are connected to a process outside of the container.
    type: bool
  shell_job:
    description: Allow a terminal that comes from outside of the container.
    type: bool
  link_remap:
    description: Allow open files that have been deleted but for another hard link. Needs runc 1.3.
    type: bool
  manage_cgroups_mode:
    description:
      - What CRIU does about cgroups. The default is that of the runtime, V(soft).
      - V(ignore) leaves them to the runtime. It helps where CRIU meets cgroups that it cannot place, such as those of a host
        that is itself a container. Needs crun 1.4.5 or runc 1.2. crun does not heed it in a restore, and can then restore the
        container only under the name that it had.
    type: str
    choices: [soft, ignore, full, strict]
  network_lock:
    description: How CRIU keeps packets away meanwhile. Needs crun 1.19. The default is that of CRIU, V(iptables) in most builds.
    type: str
    choices: [iptables, nftables, skip]
  lsm_profile:
    description: Security profile for the restored processes, as C(TYPE:NAME). Needs crun 1.18 or runc 1.1.
    type: str
  lsm_mount_context:
    description: SELinux context of the mounts of the restored container. Needs crun 1.18 or runc 1.1.
    type: str
  pre_dump:
    description:
      - Write the memory once while the container runs, and then only what has changed since, while it is frozen.
      - Needs a kernel that tracks changes of memory, and crun 1.4.3 or runc.
    type: bool
  pre_dump_rounds:
    description:
      - How often the memory is written beforehand with O(pre_dump), each time what has changed since the last. At most V(9).
      - It ends early when a round wrote hardly less than the one before. podman cannot import an archive with more than one.
      - Default is V(1).
    type: int
  archive:
    description:
      - Absolute path of a file. With O(state=checkpointed) the checkpoint is also written there, with O(state=restored) it is
        taken from there. An archive that exists is overwritten by a new checkpoint.
      - The archive has the layout of C(podman container checkpoint --export), so C(checkpointctl) can read it, and archives
        of podman can be restored. Its mode is 0600. Memory holds secrets, and so does the archive.
      - It may be a named pipe. A checkpoint goes through one as it is written, not compressed if O(compression) does not say so, and
        needs somebody who reads it. The pipe must belong to the user of the task or to root, with no right for others
        (C(mkfifo -m 0600)). A restore waits for what comes through it, no longer than O(timeout), and stores it first.
      - An archive that another user can change, or that lies where another user can write, is refused.
      - Members that have no business in it, that lead out of it or that are damaged are refused. Of what it says about the container
        only what CRIU needs is used. Commands, mounts, hooks, devices, limits and annotations come from the task and from
        O(bundle) (see there). An archive that asks for more rights than those give is refused, and the error names them.
      - The images of CRIU in it have to be trusted. Whoever makes them decides what runs, as which user and with which capabilities.
        O(verify) takes archives of known origin only.
    type: path
  sign_key:
    description:
      - Absolute path, on the host, of a private key that signs O(archive). Only for O(state=checkpointed).
      - A key of OpenSSH (C(ssh-keygen), OpenSSH 8.1 or newer) or of GnuPG (C(gpg --export-secret-keys)), without a passphrase.
        It must belong to the user of the task, and not be readable by others.
      - The signature is one more member of the archive, over sizes and digests of all others. C(checkpointctl) and podman do not mind it.
    type: path
  verify:
    description:
      - Absolute paths, on the host, of files that say who may have signed O(archive). Only for O(state=restored).
      - Public keys of OpenSSH, one a line, or allowed signers (C(ALLOWED SIGNERS) in ssh-keygen(1)), or public keys of GnuPG. They
        must not be writable by others.
      - An archive without a signature, with that of somebody else, or in which anything is not what was signed, is refused before
        anything of it is used.
    type: list
    elements: path
  trust_config:
    description:
      - Restore a container from O(archive) with the C(config.json) that is in it, with all of its mounts, hooks, devices and
        capabilities. Whoever made the archive can then do anything on this host. Only for O(state=restored).
      - Annotations are left out even then, but for C(org.opencontainers.*).
    type: bool
    default: false
  compression:
    description:
      - How the archive is compressed. The default is V(zstd) where the host has the program C(zstd), else V(gzip).
      - An archive that is read may be compressed with any of them.
    type: str
    choices: [zstd, gzip, none]
  include_rootfs:
    description:
      - Pack into O(archive) what the container has changed in its root file system, with deletions. A restore makes the same
        changes there.
      - On an overlay these are the files of its upper directory. Of any other root file system all of it is packed, and the
        restore also deletes what it did not have.
    type: bool
    default: false
  include_logs:
    description:
      - Pack the log of the container into O(archive), with the log driver V(k8s-file). A restore on a host without a log of
        that container goes on in it.
    type: bool
    default: true
  new_name:
    description:
      - Restore the container under this name. It needs a bundle of its own (O(bundle)) when the one of O(name) is in use.
    type: str
  keep:
    description: Keep the stored checkpoint after a restore. What is restored from O(archive) then has one too.
    type: bool
    default: false
  timeout:
    description: Seconds for the checkpoint or restore, and to wait for another task that works on the container.
    type: float
    default: 600
notes:
  - O(bundle) and the options of the launch are for O(state=restored). What is not given is as it was in a container of this host.
  - For a container from O(archive), that this host has no record of, O(bundle) is needed. With a C(config.json) in it, that is the config of
    the container, and the checkpoint must fit it (the same mount points and kinds of namespaces) and must not ask for more. With only a root file
    system in C(rootfs), the container gets the part of the config in the archive that stays within the defaults of M(longshore.oci.oci_bundle),
    and an archive that asks for more is refused (see O(trust_config)).
  - Of the launch of such a container only O(stdin), O(sdnotify), O(log_size_max) and a O(log_driver) without a path come from the archive, and the
    signal and time of a stop. A warning names other options that it had.
  - The options of CRIU that were given for the checkpoint hold for its restore too, unless others are given.
  - A checkpoint of crun cannot be restored by runc, nor the other way round.
  - With the option O(exit_command) of the container, the command also runs when the container has been checkpointed.
  - O(conmon_env) is not written into an archive.
seealso:
  - module: longshore.oci.oci_container
  - module: longshore.oci.oci_engine_info
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Run a web server
  longshore.oci.oci_container:
    name: web
    bundle: /srv/web

- name: Checkpoint it before the host reboots
  longshore.oci.oci_checkpoint:
    name: web

- name: Let it go on where it was
  longshore.oci.oci_checkpoint:
    name: web
    state: restored

- name: Take a snapshot of memory and files while it runs
  longshore.oci.oci_checkpoint:
    name: web
    leave_running: true
    include_rootfs: true
    archive: /srv/web.tar.gz
    compression: gzip
  register: snapshot

- name: Say how long it was frozen
  ansible.builtin.debug:
    msg: "{{ snapshot.statistics.frozen_time / 1000 }} ms"

- name: Write a checkpoint that others can tell is ours
  longshore.oci.oci_checkpoint:
    name: web
    archive: /srv/signed.tar
    sign_key: /etc/longshore/checkpoint_key

- name: Restore it, on a host that knows the key
  longshore.oci.oci_checkpoint:
    name: web
    state: restored
    archive: /srv/signed.tar
    bundle: /srv/web
    verify:
      - /etc/longshore/checkpoint_key.pub

- name: Start a second one from the snapshot, on a bundle of its own
  longshore.oci.oci_checkpoint:
    name: web
    state: restored
    archive: /srv/web.tar.gz
    new_name: experiment
    bundle: /srv/experiment

- name: Delete the stored checkpoint
  longshore.oci.oci_checkpoint:
    name: web
    state: absent

- name: Remove both containers
  longshore.oci.oci_container:
    name: "{{ item }}"
    state: absent
  loop:
    - web
    - experiment
"""

RETURN = r"""
checkpoint:
  description:
    - The checkpoint that was made, restored or found. V(null) when there is none.
  returned: success
  type: dict
  contains:
    path:
      description: Directory of the stored checkpoint, V(null) for one that was only in an archive.
      type: str
    archive:
      description: The archive, V(null) without one.
      type: str
    size:
      description: Size of the archive, else of the stored checkpoint, in bytes.
      type: int
    digest:
      description: Digest of all that a restore is made from, the same in the state directory and in an archive.
      type: str
    created_at:
      description: When it was made, as RFC 3339 in UTC.
      type: str
    runtime:
      description: Name and version of the runtime that made it.
      type: dict
    criu:
      description: Version of CRIU that made it.
      type: str
    options:
      description: The options of CRIU that were asked for.
      type: dict
    rootfs:
      description: What of the root file system is in it. V(changes), V(complete) or V(null).
      type: str
  sample:
    path: /var/lib/longshore/containers/web/checkpoints/20260601T120000.123456Z-0a1b2c3d
    archive:
    size: 1048576
statistics:
  description:
    - What CRIU counted, times in microseconds. Of a checkpoint C(freezing_time), C(frozen_time), C(memdump_time),
      C(memwrite_time), C(pages_scanned), C(pages_skipped_parent) and C(pages_written), of a restore C(forking_time),
      C(restore_time), C(pages_restored), C(pages_compared) and C(pages_skipped_cow). Empty when nothing was done.
  returned: success
  type: dict
  sample:
    frozen_time: 132544
    pages_written: 34
container:
  description: The container after the task, as RV(longshore.oci.oci_container#module:container). In check mode, as it is.
  returned: success
  type: dict
actions:
  description:
    - What was done, in order. One or more of V(recover) (from a task that was killed), V(checkpoint), V(export), V(remove)
      (what was there of the container to be restored), V(import), V(restore) and V(delete) (the stored checkpoint).
  returned: success
  type: list
  elements: str
  sample: [checkpoint, export]
dump_log:
  description: The end of the log of CRIU. All of it is kept in the directory of the container, as the error says.
  returned: when a checkpoint failed
  type: list
  elements: str
restore_log:
  description: The end of the log of CRIU. C(runtime_log), C(conmon_log) and C(container_log) are returned likewise.
  returned: when a restore failed
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoints import Checkpoints
from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, checkpoint, container
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store


def main() -> None:
    module = AnsibleModule(argument_spec=checkpoint.ARGUMENTS, supports_check_mode=True)
    params = container.conceal(module)

    def converge(module: AnsibleModule) -> dict[str, t.Any]:
        request = checkpoint.request(params)
        directories = boundary.directories(params)
        host = Host(run_dir=directories["run_dir"], remember=not module.check_mode)
        outcome = Checkpoints(Store(**directories), host).converge(request, check=module.check_mode)
        return checkpoint.result(module, outcome)

    boundary.run(module, converge)


if __name__ == "__main__":
    main()
