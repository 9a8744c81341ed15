# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """The options of a container's launch, and (C(stop)) of its end; the options of C(_module/container.py)."""

    DOCUMENTATION = r"""
options:
  bundle:
    description:
      - OCI bundle to run. An absolute path of a directory with C(config.json) and the root file system.
      - Needed to create a container. A container that exists is known by its record, so O(bundle) can be left out to
        start, stop, pause, restart or remove it.
      - With O(bundle) the task says the whole definition. An option that is not given has its default, so taking one away
        is a change too. Without O(bundle) the container stays as recorded, apart from the options that are given.
      - A bundle that another user can change is refused. It must belong to root or to the user of the task, and so must
        C(config.json), the root file system and all directories above; nobody else may have the right to write there.
      - The bundle is never written to. The container runs from a copy of its C(config.json) in which C(root.path) is
        absolute and C(linux.cgroupsPath) is Longshore's (see O(cgroup_parent)).
      - A bundle can be used by one container at a time.
    type: path
  runtime:
    description:
      - OCI runtime, by name or path.
      - V(auto) (the default) takes the first of C(crun) and C(runc) that can run on this host. C(crun) refuses hosts with
        hybrid cgroups. A container that exists stays with the runtime that it was made with.
    type: str
  runtime_root:
    description: State directory of the runtime. Default is a directory named after the runtime in O(run_dir).
    type: path
  runtime_args:
    description: More global options for the runtime, before its subcommand. Used in every call of the runtime.
    type: list
    elements: str
  conmon:
    description: Path of conmon. By default it is looked for in C(PATH) and where distributions put it.
    type: path
  conmon_env:
    description:
      - More environment for conmon, which has only a minimal one. The container itself gets its environment from the bundle.
      - Names have letters, digits and C(_), and do not begin with a digit.
      - The values are secret. They are hidden in logs and results.
    type: dict
  cgroup_manager:
    description:
      - Who makes the cgroups of container and conmon.
      - V(auto) (the default) is V(systemd) where systemd runs, else V(cgroupfs).
    type: str
    choices: [auto, systemd, cgroupfs]
  cgroup_parent:
    description:
      - Below which the cgroups of container and conmon are made. A slice with O(cgroup_manager=systemd), a path with
        O(cgroup_manager=cgroupfs).
      - Default is V(machine.slice) (V(user.slice) for other users than root), or V(/longshore).
    type: str
  log_driver:
    description:
      - Where the output of the container goes.
      - V(k8s-file) (the default) writes O(log_path) with a time stamp and the name of the stream in each line.
      - V(journald) writes to the journal, with the name of the container in the field C(CONTAINER_NAME). A name of 12
        characters or less gets the suffix C(.longshore.oci) as its id for the runtime, since conmon takes no shorter ones.
      - V(none) drops it.
      - V(passthrough) gives the container O(log_path) itself as standard output and error.
    type: str
    choices: [k8s-file, journald, none, passthrough]
  log_path:
    description:
      - Log file. It is appended to, also by the next container of this name.
      - Default is a file in O(state_dir), which is removed with the container. A file named here is left alone then.
      - Other users must not be able to write to its directory, and it must not be a symbolic link.
    type: path
  log_size_max:
    description: Size, such as V(10M), at which conmon starts a V(k8s-file) log anew. Default, and V(0), is no limit. At most 2^63 - 1 bytes.
    type: str
  log_tag:
    description: Tag for each line with O(log_driver=journald).
    type: str
  stdin:
    description: Keep the standard input of the container open for clients that attach. Default is V(false).
    type: bool
  no_pivot:
    description: Do not use C(pivot_root), for a root file system on a ramdisk. Default is V(false).
    type: bool
  no_new_keyring:
    description: Do not make a new session keyring for the container. Default is V(false).
    type: bool
  conmon_pidfile:
    description:
      - Write the pid of conmon to this file, for a service manager. Removed with the container.
      - A file that is there already must be a pid file, with a number and nothing else. It is as it was when the container cannot be made.
    type: path
  exit_command:
    description:
      - Command, as a list with a full path first, that conmon runs when the container has ended.
      - It also runs after a failed creation and after a checkpoint, and must cope with that. Removing a container does not
        wait longer for it than O(longshore.oci.oci_container#module:kill_timeout).
    type: list
    elements: str
  exit_delay:
    description: Seconds that conmon waits before it runs O(exit_command), at most 2147483647.
    type: int
  sdnotify:
    description:
      - Who says that the container is ready, as in sd_notify(3).
      - V(container) waits at start, no longer than O(longshore.oci.oci_container#module:ready_timeout), until the container
        says C(READY=1). Its socket is mounted at C(/run/notify/notify.sock) and named in C(NOTIFY_SOCKET). One that does not
        say so in time fails the task with its last C(STATUS=) (with conmon 2.1.9 or newer, which passes it on) and the end of its
        log, and goes on running, to be looked at.
        The next task with V(started) makes it anew.
      - V(conmon) calls it ready as soon as its process runs, and gives it no socket.
      - With both, the service manager that the task itself runs under (C(NOTIFY_SOCKET) in its own environment) is told then,
        with conmon as the main process. This needs python-systemd on the host.
      - V(ignore) (the default) is V(conmon) without a word to anybody.
    type: str
    choices: [ignore, conmon, container]
  reserve_ports:
    description:
      - Ports of the host that nobody else can take while the container lives, such as V(8080), V(8080/udp),
        V(127.0.0.1:8080/tcp), V([::1]:53/udp) or V(8000-8010/tcp). Without an address they are those of IPv4 and IPv6.
      - conmon holds the sockets, so they are free again the moment the container ends. It does not listen on them, so what
        forwards the ports to the container, a rule of nftables for one, is not disturbed.
      - Does nothing with O(longshore.oci.oci_container#module:network_helper), which has the ports that it publishes itself.
      - V(sctp) is left out with a warning where the kernel has none.
      - A port in use fails the task before anything is touched, with the name of who has it, which takes psutil on the host.
    type: list
    elements: str
  listen:
    description:
      - Addresses to listen on for the container, which finds the sockets as in sd_listen_fds(3), from descriptor 3 up, with
        C(LISTEN_FDS), C(LISTEN_PID) and C(LISTEN_FDNAMES). It needs no network of its own for that.
      - V(8080), V(127.0.0.1:8080/tcp), V([::1]:53/udp) or V(unix:/run/web.sock), and a name in front where there are several,
        V(admin=127.0.0.1:8081). The default name is that of the container. Sockets of UDP are bound, all others listen.
      - A Unix socket can be used by everybody who gets to it (mode 0666), and is removed with the container.
      - The container needs a pid namespace of its own, and no terminal. It cannot be checkpointed, for the sockets are not of
        its network namespace.
    type: list
    elements: str
"""

    STOP = r"""
options:
  stop_signal:
    description:
      - Signal that asks the container to end, by name or number.
      - Recorded when given with O(bundle), else used for this task alone.
      - Default is the recorded one. For a new container it is what the image says (the annotation
        C(org.opencontainers.image.stopSignal) of the bundle), else V(TERM).
    type: str
  stop_timeout:
    description:
      - Seconds to wait after O(stop_signal) before the container is killed. V(0) kills at once.
      - The commands of M(longshore.oci.oci_exec) in it are ended before it, with SIGTERM and as much time, all of them together.
      - Recorded when given with O(bundle), else used for this task alone. Default is the recorded one, else V(10).
    type: float
  kill_timeout:
    description: Seconds to wait after SIGKILL before the task fails and says what the process is stuck in.
    type: float
    default: 5
  create_timeout:
    description: Seconds for conmon and the runtime to create the container, and to wait for another task that works on it.
    type: float
    default: 240
  ready_timeout:
    description: Seconds for a container with O(sdnotify=container) to say that it is ready. Default is O(create_timeout).
    type: float
"""
