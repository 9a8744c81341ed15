# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """The content of a C(config.json), besides the image. C(_bundle_spec/options.py) declares the options."""

    DOCUMENTATION = r"""
options:
  argv:
    description:
      - Program and its arguments, as a list. They follow the entry point of the image and replace the arguments of the image.
      - Text is refused, because Ansible would split it at commas. Use O(command) for it.
    type: list
    elements: raw
  command:
    description: The same as O(argv), as one string. It is split into words as a shell does. No other feature of a shell is available.
    type: str
  entrypoint:
    description:
      - Entry point. It replaces the entry point of the image. The arguments of the image are then not used.
      - An empty list means no entry point. Text is refused.
    type: list
    elements: raw
  env:
    description:
      - Environment variables, in addition to those of the image. Values are strings or integers.
      - The values are secret. They are hidden in logs and results.
    type: dict
  env_files:
    description:
      - Files on the host with lines C(NAME=VALUE). O(env) overrides them.
      - They are read as by podman. Only a line feed ends a line, with a carriage return before it or without. Blanks and tabs before
        a name do not count. Empty lines and lines that begin with V(#) are ignored. Quotes, C(export) and a byte order mark have no
        meaning. Unlike in podman, a line without V(=) is refused.
      - A variable with a NUL, or that is not UTF-8, is refused with its name. No C(config.json) can hold it.
    type: list
    elements: path
    aliases: [env_file]
  user:
    description:
      - User in the container, as V(user), V(uid), V(user:group) or V(uid:gid). Names come from the image. Default is the user of the
        image, otherwise root.
      - Numbers are never treated as names. V(:group) is root with this group. Comments and damaged lines in the image's files are ignored.
      - Put numbers with a colon in quotes, because YAML reads C(33:33) as one number.
      - A user without a group gets all groups that the image's C(/etc/group) lists for the user.
    type: str
  chdir:
    description: Working directory in the container. Default is the working directory of the image, otherwise V(/).
    type: str
    aliases: [workdir, working_dir]
  tty:
    description: Whether the container has a terminal. Default is V(false).
    type: bool
  hostname:
    description:
      - Host name of the container, of at most 64 bytes without blanks, C(#) or C(/). Default is the last component of O(path).
    type: raw
  mounts:
    description:
      - Mounts of the container. Each is a string C(SOURCE:DESTINATION[:OPTION,...]), or a dictionary with the keys C(destination),
        C(source), C(type) (default V(bind)) and C(options) (a list). The type V(none), and any other type with the option C(bind) or
        C(rbind), is a bind mount.
      - The source of a bind mount must exist on the host. The default options are C(rbind), C(rprivate), C(nosuid) and C(nodev).
        Options in O(mounts) override them (C(suid), C(dev), C(rshared) and so on).
      - A bind mount with C(ro) is read-only with all file systems below the source, as in docker and unlike podman. This needs Linux 5.12.
        On an older kernel, the module warns that they stay writable, and a newer kernel alone does not change the bundle. It also warns
        if another mount of the container is in this one, because its mount point may be missing. Use C(rro) if it is there. With C(bind,ro)
        they are not in the container, and with C(ro,bind-recursive=writable) they stay writable.
      - The module knows the options of podman and docker for bind mounts and C(tmpfs), and refuses any other word, because the kernel ignores
        an unknown option of a bind mount. It also refuses two options that exclude each other. It does not support C(z), C(Z), C(U), C(O),
        C(idmap) and options of named volumes. It also knows the options of C(cgroup), C(cgroup2), C(devpts), C(mqueue), C(ramfs), C(debugfs),
        C(tracefs), C(bpf) and C(pstore). For other types, it leaves the options of the file system to the kernel, which refuses those that it
        does not know. For each type, C(readonly) means C(ro).
      - As in podman and docker, a container keeps a file, directory or socket that was replaced on the host by another one with the same
        name, as C(ansible.builtin.copy) and editors do. M(longshore.oci.oci_container) warns about it, and mounts the new one with
        C(state=restarted). Mount the directory of a file to see each new one at once.
      - A mount replaces the default mount with the same destination. The order of the list has no other meaning. Mounts are made by the
        depth of their destinations and then by name, as in podman.
    type: list
    elements: raw
    aliases: [volumes]
  tmpfs:
    description:
      - Temporary file systems in memory, as C(DESTINATION[:OPTION,...]). The default options are C(nosuid), C(nodev), C(noexec) and
        C(tmpcopyup). Options in O(tmpfs) override them (C(suid), C(dev), C(exec), C(notmpcopyup)). A word that no C(tmpfs) has is refused.
    type: list
    elements: str
  shm_size:
    description: Size of C(/dev/shm). Default is V(64m). V(0) means no limit.
    type: str
  image_volumes:
    description:
      - How the module creates the volumes that the image declares.
      - With V(directory), the default, each volume is a directory in the bundle. At first it contains the files of the image. It survives
        all changes of the bundle, and is removed together with the bundle. A volume that the image has no directory for belongs to the
        user of the container, as in podman.
      - With V(tmpfs), the volumes are in memory. With V(ignore), they are part of the root file system.
      - The module omits volumes at the root directory, at or below C(/proc), C(/sys) or C(/dev), and at C(/etc/hosts),
        C(/etc/hostname) and C(/etc/resolv.conf), with a warning. O(mounts) and O(tmpfs) can use these destinations.
    type: str
    choices: [directory, tmpfs, ignore]
  memory:
    description: Memory limit, such as V(512m), at least V(6m). V(0), V(-1) and V(unlimited) mean no limit. A number alone means bytes.
    type: str
  memory_reservation:
    description:
      - Amount of memory that the kernel leaves to the container when the host has too little memory. It is at most O(memory), and at least
        V(6m). V(0) means none.
    type: str
  memory_swap:
    description:
      - Limit for memory and swap together. V(-1) and V(unlimited) mean no limit. Requires O(memory).
      - Default, also with V(0), is twice the value of O(memory), as in podman and docker. On a host that does not limit swap, this option has
        no effect, and the module warns when it creates or changes the bundle.
    type: str
  cpus:
    description: Limit for processor time, as a number of processors, such as V(1.5), and at least V(0.01). V(0) means no limit.
    type: float
  cpu_shares:
    description: Share of the processor time when all processors are busy, relative to 1024, from 2 to 262144. V(0) means the default.
    type: int
  cpuset_cpus:
    description: Processors that the container can use, such as V(0-3,5).
    type: str
  pids_limit:
    description:
      - Limit for the number of processes and threads. V(0) or less means no limit.
      - Default is V(2048), as in podman. On a host without the pids cgroup controller (such as in a user session to which systemd does not
        delegate it), the default is no limit, and the module warns when it creates or changes the bundle.
      - With systemd, it is also the value of C(TasksMax) of the scope of the container.
    type: int
  oom_score_adj:
    description: Preference of the kernel when it kills processes because memory is exhausted, from -1000 (last) to 1000 (first).
    type: int
  capabilities_add:
    description:
      - Capabilities in addition to the default ones, with or without C(CAP_). V(all) means all capabilities.
      - A user other than root also gets these capabilities, but none of the default ones.
    type: list
    elements: str
    aliases: [cap_add]
  capabilities_drop:
    description: Capabilities to remove. With V(all), the container has only those of O(capabilities_add).
    type: list
    elements: str
    aliases: [cap_drop]
  privileged:
    description:
      - Give the container all capabilities and access to all devices, without seccomp, AppArmor, SELinux, and masked or read-only paths.
        Default is V(false).
      - This does not create the device nodes of the host in the container. List the devices in O(devices).
    type: bool
  read_only:
    description: Whether the root file system is read-only. Default is V(false).
    type: bool
  read_only_tmpfs:
    description: Whether a container with O(read_only) has C(/run), C(/tmp) and C(/var/tmp) in memory. Default is V(true).
    type: bool
  no_new_privileges:
    description: Whether setuid programs and similar mechanisms have no effect. Default is V(false).
    type: bool
  seccomp:
    description:
      - V(default) selects podman's profile on the host (C(/usr/share/containers/seccomp.json)). V(unconfined) disables seccomp.
      - Any other value is the absolute path of a profile on the host, in the format of podman and docker or in the format of
        C(config.json). A changed profile of the task is a changed bundle, but a changed default profile is not.
    type: str
  apparmor_profile:
    description:
      - Name of an AppArmor profile that is loaded on the host, or V(unconfined) for no profile. The profile must be loaded at each start
        of the container, also after a reboot.
      - Containers of root that are not O(privileged) have a default. It is the first loaded profile of C(containers-default-longshore),
        which the role P(longshore.oci.runtime#role) loads at boot, the newest C(containers-default-VERSION), which is podman's, and
        C(docker-default). The bundle keeps its profile as long as this profile is loaded.
      - If AppArmor is enabled and none of these profiles is loaded, the container has no profile, and the module warns when it creates or
        changes the bundle.
    type: str
  selinux_label:
    description:
      - SELinux label of the processes, as C(user:role:type:level), or V(disable) for no label.
      - On a host with SELinux, the default is the label that its policy has for containers (C(container_t)), with a pair of categories
        that is unique to the container and that the bundle keeps. The root file system, the volumes of the image and the file systems in
        memory get the label for files of containers with the same categories. There is no default label with O(privileged), or with the
        O(pid) or O(ipc) namespace of the host.
      - The module does not relabel host directories in O(mounts). Give them the type C(container_file_t) with C(chcon) or C(semanage).
    type: str
  ulimits:
    description:
      - Limits of processes, as C(NAME=SOFT[:HARD]), such as V(nofile=1024:4096). V(-1), V(unlimited) and V(infinity) mean as much as
        possible. For a container that cannot raise limits, this is the limit of the task, rounded down to a power of two.
      - The defaults V(nofile=524288), V(nproc=65536), V(sigpending=65536) and V(memlock=8388608) apply unless this option gives a limit of
        that name. All other defaults are those of the kernel, such as V(core=0:-1) and V(stack=8388608:-1). The limits do not depend
        on the session of the task. Commands of M(longshore.oci.oci_exec) have the same limits.
      - For a user who cannot raise limits, and for a container with O(userns), a default is at most the limit of the task, rounded down to
        a power of two.
    type: list
    elements: str
    aliases: [ulimit]
  sysctls:
    description:
      - Kernel settings that belong to a namespace of the container, with dots in their names. Values are strings or integers.
      - A setting of a network interface whose name has a dot (such as a VLAN C(eth0.100)) is refused, because no runtime can set it.
    type: dict
    aliases: [sysctl]
  devices:
    description:
      - Devices of the host, as C(HOST[:CONTAINER][:ACCESS]). A directory means all devices at and below it, and none is an error. Other files
        in it are left out.
      - The access is one or more of C(r) (read), C(w) (write) and C(m) (create the device node). Default is C(rwm).
      - A name means the device that has it at the start of the container, also after a reboot with other numbers of devices. The
        container does not start without a device that the task names. Of a directory, the node of a missing device has no effect.
    type: list
    elements: str
    aliases: [device]
  network:
    description:
      - With V(none), the default, the container has its own network namespace, with nothing but a loopback device that is down.
      - V(host) is the network of the host, C(path:/run/netns/NAME) is an existing network namespace, and C(container:NAME) is the network
        of another container. M(longshore.oci.oci_container) looks up the other container by its name at each creation of the container
        and at each start of a service, and fails if the other container does not run. The module refuses paths with the number of a
        process (C(/proc/PID/...)).
      - Except with V(none), the container has the C(/etc/resolv.conf) of the host.
    type: str
  pid:
    description: PID namespace. V(private), the default, V(host), C(path:PATH) or C(container:NAME).
    type: str
  ipc:
    description:
      - IPC namespace. V(private), the default, V(host), C(path:PATH) or C(container:NAME).
      - With V(host), C(/dev/shm) is the one of the host. Otherwise the container has its own.
    type: str
  uts:
    description: UTS namespace (host name). V(private), the default, V(host), C(path:PATH) or C(container:NAME).
    type: str
  userns:
    description:
      - User namespace with these mappings. The owners of the files in the root file system are mapped accordingly.
      - For root only. Containers of other users always have a user namespace, in which the user is root and no other user is mapped.
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
      - Annotations, in addition to those of the image. Annotations can control runtimes and systemd, so of the labels of an image only
        those below C(org.opencontainers.) become annotations. This limit does not apply to this option.
      - Values are strings or integers.
    type: dict
  hooks:
    description:
      - Hooks of the OCI runtime, in the format of C(config.json). A key that no hook has is refused.
      - A hook without C(env) has only C(PATH) in its environment. It never has the environment of the container.
      - The values of the environments of hooks are secret. They are hidden in logs and results.
    type: dict
  cgroup_parent:
    description:
      - Parent cgroup for other programs that run the bundle.
      - M(longshore.oci.oci_container) ignores this value and has an option of its own with the same name.
    type: str
  stop_signal:
    description:
      - Signal that asks the container to end, by name or number, such as V(TERM), V(37), V(RTMIN+3) or V(RTMAX-1).
        M(longshore.oci.oci_container) uses it. Default is the signal of the image.
    type: str
  spec:
    description:
      - Merged into C(config.json) last, for settings without an option. Dictionaries are merged key by key. Any other value replaces the
        existing value, and V(null) removes it.
      - The values of environments in it (C(env) at any depth) are secret, like those of O(env). All other values are visible in logs and
        results.
    type: dict
notes:
  - Programs on the host. C(skopeo) and C(umoci) for images, C(tar) for archives, and C(cp) of GNU coreutils. The role
    P(longshore.oci.runtime#role) installs the first two, and podman's seccomp profile.
  - Proxy settings come from the environment of the task (C(https_proxy) and so on).
"""
