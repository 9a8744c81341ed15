#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_checkpoint
short_description: Checkpoint and restore OCI containers
version_added: 0.1.0
description:
  - A checkpoint writes the processes of a container of M(longshore.oci.oci_container), with their memory and open files, to disk. A
    restore reads them from there, and the container continues at the same point, on the same host or on another one.
  - The runtime calls CRIU for this. The host needs crun or runc, criu and root. For a container with a network namespace, CRIU also
    needs iptables. M(longshore.oci.oci_engine_info) returns which features work on a host and why the others do not.
  - There are no partial checkpoints. If a checkpoint fails, the container continues, and the error contains the messages of CRIU. If a
    restore fails, the module removes all parts of the container, and the checkpoint stays as it was.
  - A container with a mount whose source was removed or replaced after the start of the container is refused, because no restore could
    mount it again (the modules C(template) and C(copy) of Ansible replace a file). Restart such a container first.
  - Only systemd starts a service (O(longshore.oci.oci_container#module:service)), with a script that cannot restore. So a service can be
    checkpointed with O(leave_running=true) only, and the module restores it under another name with another bundle (O(new_name),
    O(bundle)), or from O(archive) after the service has been removed. The restored container is not a service.
  - A restored container works like any other. Its log and attached clients use the same files, and its exit code is recorded.
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
      - Not with O(leave_running=true), which creates a new checkpoint each time.
options:
  name:
    description: Name of the container. With O(archive) and O(state=restored), the name of the container in the archive.
    type: str
    required: true
  state:
    description:
      - V(checkpointed) writes a running or paused container to disk and ends it, unless O(leave_running=true). The stored checkpoint
        replaces an earlier one. A checkpointed container stays unchanged, but the module writes O(archive) if it is missing.
      - V(restored) restores a container from its stored checkpoint or from O(archive). A running or paused container stays unchanged. The
        module removes a container that has ended or has not been started, and restores the checkpoint in its place. After the restore, it
        deletes the stored checkpoint, unless O(keep=true). It never deletes an archive.
      - V(absent) deletes the stored checkpoint. The status of a checkpointed container then changes to stopped.
      - O(longshore.oci.oci_container#module:state=started) also restores a checkpointed container.
    type: str
    choices: [checkpointed, restored, absent]
    default: checkpointed
  leave_running:
    description:
      - Keep the container running after the checkpoint. With O(include_rootfs=true), the container is paused until its files are in the
        archive.
    type: bool
  tcp_established:
    description: Checkpoint and restore TCP connections. Both ends must have the same addresses after the restore.
    type: bool
  tcp_close:
    description: Restore TCP connections as closed. Needs crun 1.23. Only for O(state=restored).
    type: bool
  tcp_skip_in_flight:
    description: Omit TCP connections that are not established yet. Needs runc 1.3. Only for O(state=checkpointed).
    type: bool
  file_locks:
    description: Checkpoint and restore file locks.
    type: bool
  ext_unix_sk:
    description: Allow Unix sockets that are connected to a process outside the container.
    type: bool
  shell_job:
    description: Allow a terminal from outside the container.
    type: bool
  link_remap:
    description: Allow open files that have been deleted, if another hard link to them exists. Needs runc 1.3.
    type: bool
  manage_cgroups_mode:
    description:
      - How CRIU handles cgroups. The default is the default of the runtime, V(soft).
      - V(ignore) leaves cgroups to the runtime. Use it if CRIU finds cgroups that it cannot handle, for example on a host that is itself
        a container. Needs crun 1.4.5 or runc 1.2. crun ignores it in a restore, and can then restore the container only under its former
        name.
    type: str
    choices: [soft, ignore, full, strict]
  network_lock:
    description: How CRIU blocks network packets during the operation. Needs crun 1.19. Default is that of CRIU, V(iptables) in most builds.
    type: str
    choices: [iptables, nftables, skip]
  lsm_profile:
    description: Security profile for the restored processes, as C(TYPE:NAME). Needs crun 1.18 or runc 1.1.
    type: str
  lsm_mount_context:
    description: SELinux context for the mounts of the restored container. Needs crun 1.18 or runc 1.1.
    type: str
  pre_dump:
    description:
      - First write the memory while the container runs, then freeze it and write only the memory that has changed since.
      - Needs a kernel that tracks memory changes, and crun 1.4.3 or runc.
    type: bool
  pre_dump_rounds:
    description:
      - Number of times that O(pre_dump) writes the memory while the container runs. Each round writes only the changes since the round
        before. At most V(9).
      - The rounds end early if a round writes almost as much as the round before. podman cannot import an archive with more than one round.
      - Default is V(1).
    type: int
  archive:
    description:
      - Absolute path of a file. With O(state=checkpointed), the module also writes the checkpoint to this file and overwrites an existing
        one. With O(state=restored), it reads the checkpoint from this file.
      - The archive has the layout of C(podman container checkpoint --export). C(checkpointctl) can read it, and this module can restore
        archives of podman. The mode of the file is 0600, because memory contains secrets, and so does the archive.
      - The path can be a named pipe. A checkpoint is written to the pipe as it is created, without compression unless O(compression) is
        given, and needs a process that reads from the pipe. The pipe must belong to the user of the task or to root, without permissions
        for others (C(mkfifo -m 0600)). A restore waits for the data no longer than O(timeout), and stores them first.
      - The module refuses an archive that another user can change, or that is in a directory where another user can write.
      - The module refuses unexpected or damaged members, and members that lead out of the archive. Of the data about the container, it uses
        only those that CRIU needs. Commands, mounts, hooks, devices, limits and annotations come from the task and from O(bundle) (see
        there). The module refuses an archive that needs more privileges than these give, and the error names them.
      - You must trust the CRIU images in an archive. Their author controls which programs run, as which user and with which capabilities.
        With O(verify), the module accepts only archives of known origin.
    type: path
  sign_key:
    description:
      - Absolute path, on the host, of a private key that signs O(archive). Only for O(state=checkpointed).
      - A key of OpenSSH (C(ssh-keygen), OpenSSH 8.1 or newer) or GnuPG (C(gpg --export-secret-keys)) without a passphrase. It must belong
        to the user of the task and must not be readable by others.
      - The signature is an additional member of the archive. It covers the sizes and digests of all other members. C(checkpointctl) and
        podman ignore it.
    type: path
  verify:
    description:
      - Absolute paths, on the host, of files with the public keys that may sign O(archive). Only for O(state=restored).
      - Public keys of OpenSSH, one on each line, or allowed signers (C(ALLOWED SIGNERS) in ssh-keygen(1)), or public keys of GnuPG. The
        files must not be writable by others.
      - The module refuses an archive without a signature, with a signature of another key, or with any content that differs from the signed
        content. It does so before it uses any part of the archive.
    type: list
    elements: path
  trust_config:
    description:
      - Restore a container from O(archive) with the C(config.json) in the archive, with all its mounts, hooks, devices and capabilities.
        The author of the archive can then do anything on this host. Only for O(state=restored).
      - The module omits the annotations even then, except C(org.opencontainers.*).
    type: bool
    default: false
  compression:
    description:
      - Compression of the archive. Default is V(zstd) if the host has the program C(zstd), otherwise V(gzip).
      - For a restore, an archive can have any of these compressions.
    type: str
    choices: [zstd, gzip, none]
  include_rootfs:
    description:
      - Add the changes of the container in its root file system to O(archive), including deletions. A restore applies the same changes.
      - For an overlay, these are the files of its upper directory. For any other root file system, the archive contains all files, and the
        restore also deletes files that are not in the archive.
    type: bool
    default: false
  include_logs:
    description:
      - Add the log of the container to O(archive), with the log driver V(k8s-file). A restore on a host without a log of this container
        continues this log.
    type: bool
    default: true
  new_name:
    description:
      - Restore the container under this name. It needs a bundle of its own (O(bundle)) as long as the container O(name) exists and uses
        its bundle. This is always the case for a service, so O(bundle) is required with it.
    type: str
  keep:
    description: Keep the stored checkpoint after a restore. A container restored from O(archive) then also has a stored checkpoint.
    type: bool
    default: false
  timeout:
    description: Seconds for the checkpoint or restore. Also the time to wait for another task on the same container.
    type: float
    default: 600
notes:
  - O(bundle) and the options of the launch apply to O(state=restored). For a container of this host, an option that is not given keeps its
    value.
  - For a container from O(archive) without a record on this host, O(bundle) is required. If the bundle has a C(config.json), it is the
    config of the container. The checkpoint must fit it (the same mount points and kinds of namespaces) and must not ask for more. If the
    bundle has only a root file system in C(rootfs), the container gets the part of the archived config that stays within the defaults of
    M(longshore.oci.oci_bundle). The module then refuses an archive that asks for more (see O(trust_config)).
  - Of the launch of such a container, only O(stdin), O(sdnotify), O(log_size_max), a O(log_driver) without a path, and the signal and
    timeout of a stop come from the archive. A warning lists its other options.
  - The CRIU options of the checkpoint also apply to its restore, unless other values are given.
  - runc cannot restore a checkpoint of crun, and crun cannot restore a checkpoint of runc.
  - If the container has the option O(exit_command), the command also runs after a checkpoint.
  - The module does not write O(conmon_env) to an archive.
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

- name: Restore it, so that it continues
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

- name: Show how long it was frozen
  ansible.builtin.debug:
    msg: "{{ snapshot.statistics.frozen_time / 1000 }} ms"

- name: Write a signed checkpoint
  longshore.oci.oci_checkpoint:
    name: web
    archive: /srv/signed.tar
    sign_key: /etc/longshore/checkpoint_key

- name: Restore it on a host that has the public key
  longshore.oci.oci_checkpoint:
    name: web
    state: restored
    archive: /srv/signed.tar
    bundle: /srv/web
    verify:
      - /etc/longshore/checkpoint_key.pub

- name: Restore a second container from the snapshot, with its own bundle
  longshore.oci.oci_checkpoint:
    name: web
    state: restored
    archive: /srv/web.tar.gz
    new_name: experiment
    bundle: /srv/experiment

- name: Take a snapshot of a service, which continues
  longshore.oci.oci_checkpoint:
    name: database
    leave_running: true

- name: Restore it under another name, with its own bundle. The restored container is not a service
  longshore.oci.oci_checkpoint:
    name: database
    state: restored
    new_name: database-copy
    bundle: /srv/database-copy

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
    - The checkpoint that the task created, restored or found. V(null) without a checkpoint.
  returned: success
  type: dict
  contains:
    path:
      description: Directory of the stored checkpoint, V(null) if the checkpoint is only in an archive.
      type: str
    archive:
      description: Path of the archive, V(null) without an archive.
      type: str
    size:
      description: Size in bytes of the archive, or of the stored checkpoint if there is no archive.
      type: int
    digest:
      description: Digest of all data for a restore. It is the same in the state directory and in an archive.
      type: str
    created_at:
      description: Time of its creation, in RFC 3339 format in UTC.
      type: str
    runtime:
      description: Name and version of the runtime that created it.
      type: dict
    criu:
      description: Version of CRIU that created it.
      type: str
    options:
      description: The given CRIU options.
      type: dict
    rootfs:
      description: Part of the root file system in the archive. V(changes), V(complete) or V(null).
      type: str
  sample:
    path: /var/lib/longshore/containers/web/checkpoints/20260601T120000.123456Z-0a1b2c3d
    archive:
    size: 1048576
statistics:
  description:
    - Statistics of CRIU, with times in microseconds. For a checkpoint, C(freezing_time), C(frozen_time), C(memdump_time),
      C(memwrite_time), C(pages_scanned), C(pages_skipped_parent) and C(pages_written). For a restore, C(forking_time), C(restore_time),
      C(pages_restored), C(pages_compared) and C(pages_skipped_cow). Empty if the task had nothing to do.
  returned: success
  type: dict
  sample:
    frozen_time: 132544
    pages_written: 34
container:
  description: State of the container after the task, as RV(longshore.oci.oci_container#module:container). In check mode, its current state.
  returned: success
  type: dict
actions:
  description:
    - The actions of the module, in order. One or more of V(recover) (clean up after a task that was killed), V(checkpoint), V(export),
      V(remove) (remove an ended or created container before the restore), V(import), V(restore) and V(delete) (delete the stored
      checkpoint).
  returned: success
  type: list
  elements: str
  sample: [checkpoint, export]
dump_log:
  description: Last lines of the log of CRIU. The complete log stays in the directory of the container, and the error contains its path.
  returned: when a checkpoint failed
  type: list
  elements: str
restore_log:
  description: Last lines of the log of CRIU. C(runtime_log), C(conmon_log) and C(container_log) are returned in the same way.
  returned: when a restore failed
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoints import Checkpoints
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, checkpoint, secrets


def main() -> None:
    module = AnsibleModule(argument_spec=checkpoint.ARGUMENTS, supports_check_mode=True)
    params = secrets.conceal(module)

    def converge(module: AnsibleModule) -> dict[str, t.Any]:
        request = checkpoint.request(params)
        outcome = Checkpoints(**boundary.directories(params)).converge(request, check=module.check_mode)
        return checkpoint.result(module, outcome)

    boundary.run(module, converge, lambda: secrets.in_failures(params))


if __name__ == "__main__":
    main()
