# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """What a config.json is made of, besides an image; the options of C(_bundle/options.py)."""

    DOCUMENTATION = r"""
options:
  argv:
    description: Program and its arguments, as a list. Comes after the entry point of the image, in the place of the image's own.
    type: list
    elements: str
  command:
    description: As O(argv), as one string that is split as a shell does. Nothing else of it is a shell's.
    type: str
  entrypoint:
    description:
      - Entry point, in the place of the image's. The arguments of the image are not used then.
      - An empty list is for none.
    type: list
    elements: str
  env:
    description:
      - Environment, in addition to that of the image. Text and whole numbers.
      - The values are secret. They are hidden in logs and results.
    type: dict
  env_files:
    description: Files on the host with lines C(NAME=VALUE). O(env) comes after them.
    type: list
    elements: path
    aliases: [env_file]
  user:
    description:
      - User in the container, as V(user), V(uid), V(user:group) or V(uid:gid). Names are those of the image. Default is what the
        image says, else root.
      - A user without a group gets all that the image's C(/etc/group) has for it.
    type: str
  chdir:
    description: Directory in the container to start in. Default is what the image says, else V(/).
    type: str
    aliases: [workdir, working_dir]
  tty:
    description: Whether the container has a terminal. Default is V(false).
    type: bool
  hostname:
    description: Host name of the container. Default is the last part of O(path).
    type: str
  mounts:
    description:
      - What is mounted in the container. Each a string C(SOURCE:DESTINATION[:OPTION,...]), or a dictionary with C(destination),
        C(source), C(type) (V(bind) if not given) and C(options) (a list).
      - The source of a bind mount must exist on the host. It is mounted with C(rbind), C(rprivate), C(nosuid) and
        C(nodev), unless O(mounts) says otherwise (C(suid), C(dev), C(rshared) and so on).
      - A mount takes the place of one that the container would have at the same destination by default.
    type: list
    elements: raw
    aliases: [volumes]
  tmpfs:
    description:
      - Temporary file systems in memory, as C(DESTINATION[:OPTION,...]). Mounted with C(nosuid), C(nodev), C(noexec) and
        C(tmpcopyup), unless O(tmpfs) says otherwise.
    type: list
    elements: str
  shm_size:
    description: Size of C(/dev/shm). Default is V(64m).
    type: str
  image_volumes:
    description:
      - What becomes of the volumes that the image declares.
      - V(directory) (the default) gives each a directory in the bundle, with what the image has there to begin with. It stays
        through all changes, and is removed with the bundle.
      - V(tmpfs) has them in memory. V(ignore) leaves them in the root file system.
      - Volumes over the root directory, at or below C(/proc), C(/sys) or C(/dev), and over C(/etc/hosts), C(/etc/hostname) and
        C(/etc/resolv.conf) are left out with a warning. O(mounts) and O(tmpfs) may mount there.
    type: str
    choices: [directory, tmpfs, ignore]
  memory:
    description: Most memory, such as V(512m).
    type: str
  memory_reservation:
    description: Memory that is left to the container when the host runs short.
    type: str
  memory_swap:
    description: Most memory and swap together. V(-1) is for no limit. Needs O(memory).
    type: str
  cpus:
    description: Most processor time, in processors, such as V(1.5).
    type: float
  cpu_shares:
    description: Share of processor time when all processors are busy, relative to 1024.
    type: int
  cpuset_cpus:
    description: Processors to run on, such as V(0-3,5).
    type: str
  pids_limit:
    description:
      - Most processes and threads. V(0) or less is for no limit.
      - Default is V(2048), as in podman. Where the cgroups have no controller for pids (as in a session of a user that systemd gives
        none), there is no limit by default, and a warning when the bundle is made or changed.
      - With systemd it is also C(TasksMax) of the container's scope.
    type: int
  oom_score_adj:
    description: Whom the kernel kills first when memory runs out, from -1000 to 1000.
    type: int
  capabilities_add:
    description:
      - Capabilities in addition to the default ones, with or without C(CAP_). V(all) is for all there are.
      - A user other than root has them too. Of the default ones it has none.
    type: list
    elements: str
    aliases: [cap_add]
  capabilities_drop:
    description: Capabilities to take away. V(all) leaves only those of O(capabilities_add).
    type: list
    elements: str
    aliases: [cap_drop]
  privileged:
    description:
      - All capabilities, no seccomp, no AppArmor, no SELinux, nothing masked or read-only, and the use of all devices. Default is
        V(false).
      - Device nodes of the host do not come along. Name them in O(devices).
    type: bool
  read_only:
    description: Whether the root file system is read-only. Default is V(false).
    type: bool
  read_only_tmpfs:
    description: Whether a container with O(read_only) has C(/run), C(/tmp) and C(/var/tmp) in memory. Default is V(true).
    type: bool
  no_new_privileges:
    description: Whether setuid programs and the like have no effect. Default is V(false).
    type: bool
  seccomp:
    description:
      - V(default) is for podman's profile on the host (C(/usr/share/containers/seccomp.json)), V(unconfined) for none.
      - Else the absolute path of a profile on the host, as podman and docker take it, or as it stands in a C(config.json).
    type: str
  apparmor_profile:
    description:
      - Name of an AppArmor profile that the host has loaded, or V(unconfined) for none. It must be loaded whenever the container
        starts, also after a reboot.
      - Default for containers of root, but for O(privileged) ones, is C(containers-default-longshore), which the role
        P(longshore.oci.runtime#role) has loaded at boot, else the newest C(containers-default-VERSION) that is loaded, which is podman's,
        else C(docker-default). The bundle keeps its profile while that is loaded.
      - Where AppArmor is enabled and none of them is loaded, there is no profile, and a warning when the bundle is made or changed.
    type: str
  selinux_label:
    description:
      - SELinux label of the processes, as C(user:role:type:level), or V(disable) for none.
      - Default on a host with SELinux is the one that its policy has for containers (C(container_t)), with a pair of categories that no
        other container has, and that the bundle keeps. The root file system, the volumes of the image and what is mounted in memory get
        the label for files of containers with the same categories. With O(privileged), or the O(pid) or O(ipc) of the host, there is none.
      - Directories of the host in O(mounts) are not relabelled. Give them the type C(container_file_t) with C(chcon) or C(semanage).
    type: str
  ulimits:
    description:
      - Limits of processes, as C(NAME=SOFT[:HARD]), such as V(nofile=1024:4096). V(-1) is for no limit.
      - Default is V(nofile=524288) and V(nproc=65536), in addition to those that are given for other names. They do not depend
        on the session of the task, and commands of M(longshore.oci.oci_exec) have the same.
      - A user that cannot raise limits, and a container with O(userns), have at most what the task has, rounded down to a power of two.
    type: list
    elements: str
    aliases: [ulimit]
  sysctls:
    description: Settings of the kernel, of those that belong to a namespace of the container.
    type: dict
    aliases: [sysctl]
  devices:
    description: Devices of the host, as C(HOST[:CONTAINER][:rwm]). A directory is for all in it.
    type: list
    elements: str
    aliases: [device]
  network:
    description:
      - V(none) (the default) is for a network of its own, with nothing but a loopback device that is down.
      - V(host) is for that of the host, C(path:/run/netns/NAME) for one that was made beforehand, and C(container:NAME) for
        that of another container. M(longshore.oci.oci_container) looks for that one by its name at each create, and at each start
        of a service; it is refused while the other container does not run. A path by the number of a process (C(/proc/PID/...)) is refused.
      - But for V(none), the container has the host's C(/etc/resolv.conf).
    type: str
  pid:
    description: V(private) (the default), V(host), C(path:PATH) or C(container:NAME).
    type: str
  ipc:
    description:
      - V(private) (the default), V(host), C(path:PATH) or C(container:NAME).
      - C(/dev/shm) is that of the host with V(host), and else the container's own.
    type: str
  uts:
    description: V(private) (the default), V(host), C(path:PATH) or C(container:NAME).
    type: str
  userns:
    description:
      - A user namespace with these mappings. The files of the root file system belong to whom their owners are mapped to.
      - Only for root. The containers of other users always have one, in which that user is root, and nobody else is mapped.
    type: dict
    suboptions:
      uidmap:
        description: Mappings of users, as C(CONTAINER:HOST:SIZE), such as V(0:100000:65536).
        type: list
        elements: str
        required: true
      gidmap:
        description: Mappings of groups. Default is O(userns.uidmap).
        type: list
        elements: str
  annotations:
    description:
      - Annotations, in addition to what the image says about itself. Runtimes and systemd take orders from annotations, so of
        the labels of an image only those below C(org.opencontainers.) become annotations. This option has no such limit.
    type: dict
  hooks:
    description:
      - Hooks of the OCI runtime, as they stand in a C(config.json).
      - A hook without C(env) has C(PATH) alone in its environment, and never that of the container.
      - The values of their environments are secret. They are hidden in logs and results.
    type: dict
  cgroup_parent:
    description:
      - Below which other programs that run the bundle make its cgroup.
      - M(longshore.oci.oci_container) has its own option of that name, and does not heed this one.
    type: str
  stop_signal:
    description:
      - Signal that asks the container to end, by name or number. M(longshore.oci.oci_container) heeds it. Default is what the
        image says.
    type: str
  spec:
    description:
      - Merged into C(config.json) last, for all that no option has. Dictionaries are merged key by key, anything else takes the
        place of what was there, and V(null) takes it away.
      - Values of environments in it (C(env) at any depth) are secret, as those of O(env) are. All else is shown in logs and results.
    type: dict
notes:
  - Programs on the host. C(skopeo) and C(umoci) for images, C(tar) for archives, and C(cp) of GNU coreutils. The role
    P(longshore.oci.runtime#role) installs the first two, with podman's seccomp profile.
  - A proxy is taken from the environment of the task (C(https_proxy) and so on).
"""
