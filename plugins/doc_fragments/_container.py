# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """The options that launch a container, and (C(stop)) those that stop it. C(_module/definition.py) declares them."""

    DOCUMENTATION = r"""
options:
  bundle:
    description:
      - Absolute path of the OCI bundle, a directory with C(config.json) and the root file system.
      - Required to create a container. To start, stop, pause, restart or remove an existing container, O(bundle) can be omitted.
      - With O(bundle), the task gives the complete definition of the container. An option that the task omits has its default, so
        removing an option from the task is a change. Without O(bundle), only the given options change. All others stay as recorded.
      - The module refuses a bundle that another user can change. The bundle, its C(config.json), its root file system and all
        directories above must belong to root or to the user of the task, and no other user may have write permission.
      - The module never writes to the bundle. The container runs from a copy of its C(config.json). In this copy, C(root.path) is an
        absolute path and Longshore sets C(linux.cgroupsPath) (see O(cgroup_parent)).
      - Only one container at a time can use a bundle.
    type: path
  runtime:
    description:
      - Name or path of the OCI runtime.
      - V(auto), the default, selects C(crun) if it can run on this host, otherwise C(runc). C(crun) does not run on hosts with hybrid
        cgroups. An existing container keeps the runtime that created it.
      - Other runtimes with the command line of runc work too. Longshore asks them for the state of a container by their command C(state),
        and passes all options to them as to runc.
    type: str
  runtime_root:
    description: State directory of the runtime. Default is a directory in O(run_dir) with the name of the runtime.
    type: path
  runtime_args:
    description: Additional global options for the runtime. Every call of the runtime has them, before the subcommand.
    type: list
    elements: str
  conmon:
    description: Path of conmon. By default, the module searches C(PATH) and the directories where distributions install conmon.
    type: path
  conmon_env:
    description:
      - Additional environment variables for conmon, whose environment is minimal. The environment of the container comes from the bundle.
      - Names consist of letters, digits and C(_), and do not begin with a digit. Values are strings or integers.
      - The values are secret. They are hidden in logs and results.
    type: dict
  cgroup_manager:
    description:
      - Program that creates the cgroups of the container and of conmon.
      - V(auto), the default, is V(systemd) on a host that runs systemd, otherwise V(cgroupfs).
    type: str
    choices: [auto, systemd, cgroupfs]
  cgroup_parent:
    description:
      - Parent of the cgroups of the container and of conmon. A slice with O(cgroup_manager=systemd), a path with
        O(cgroup_manager=cgroupfs).
      - Default is V(machine.slice) with systemd (V(user.slice) for users other than root), and V(/longshore) with cgroupfs.
    type: str
  log_driver:
    description:
      - Destination of the output of the container.
      - V(k8s-file), the default, writes to O(log_path). Each line has a time stamp and the name of the stream.
      - V(journald) writes to the journal. The field C(CONTAINER_NAME) has the name of the container. conmon requires an id of more than
        12 characters, so a name of 12 characters or less gets the suffix C(.longshore.oci) in its id for the runtime.
      - V(none) discards the output.
      - V(passthrough) appends to O(log_path) what the container writes, without time stamps. Standard output and standard error of the
        container are a pipe, so it cannot change the log in another way. With
        O(longshore.oci.oci_container#module:service), they are the file itself, and the container can truncate it.
      - V(auto) is V(journald) for a new service, if this user can read the journal and conmon can write to it, and no option for a file is
        given. Otherwise it is V(k8s-file). An existing container keeps its file or journal. The role P(longshore.oci.container#role)
        uses V(auto) for services.
    type: str
    choices: [auto, k8s-file, journald, none, passthrough]
  log_path:
    description:
      - Path of the log file. The container appends to an existing file, also to the log of an earlier container with this name.
      - Default is a file in O(state_dir). Longshore removes the default file together with the container, but never a file that this
        option names.
      - Other users must not have write permission in its directory, and it must not be a symbolic link. With O(log_driver=k8s-file), it
        cannot have a colon.
    type: path
  log_size_max:
    description:
      - Size, such as V(10M), at which conmon discards a V(k8s-file) log and starts an empty one. At most 2^63 - 1 bytes. conmon ends if the
        directory of the log is gone then.
      - Default is V(0), which means no limit, and so do V(-1) and V(unlimited).
    type: str
  log_tag:
    description: Tag for each line with O(log_driver=journald).
    type: str
  stdin:
    description: Keep the standard input of the container open for clients that attach. Default is V(false).
    type: bool
  no_pivot:
    description: Do not use C(pivot_root). Needed for a root file system on a ramdisk. Default is V(false).
    type: bool
  no_new_keyring:
    description: Do not create a new session keyring for the container. Default is V(false).
    type: bool
  conmon_pidfile:
    description:
      - Path of a file to which conmon writes its pid, for a service manager. Longshore removes the file together with the container.
      - An existing file must be a pid file, which contains a number and nothing else. If the creation of the container fails, the file
        has its former content.
    type: path
  exit_command:
    description:
      - Command that conmon runs after the container has ended, as a list that begins with an absolute path. Text is refused.
      - conmon also runs the command after a failed creation and after a checkpoint, so the command must handle these cases. The removal of
        a container waits for the command no longer than O(longshore.oci.oci_container#module:kill_timeout).
    type: list
    elements: str
  exit_delay:
    description: Seconds that conmon waits before it runs O(exit_command), at most 2147483647.
    type: int
  sdnotify:
    description:
      - Source of the notification that the container is ready, as in sd_notify(3).
      - With V(container), the task waits until the container sends C(READY=1), no longer than
        O(longshore.oci.oci_container#module:ready_timeout). The socket is mounted at C(/run/notify/notify.sock), and C(NOTIFY_SOCKET)
        has this path. If the container is not ready in time, the task fails and returns the last C(STATUS=) (with conmon 2.1.9 or newer)
        and the end of the log. The container continues to run so that you can inspect it. The next task with V(started) recreates it.
      - With V(conmon), the container is ready as soon as its process runs. The container gets no socket.
      - With both, if C(NOTIFY_SOCKET) is in the environment of the task itself, Longshore also notifies that service manager, and names
        conmon as the main process. This needs python-systemd on the host.
      - V(ignore), the default, does not pass readiness on to anybody. The container is ready as with V(conmon).
    type: str
    choices: [ignore, conmon, container]
  reserve_ports:
    description:
      - Ports of the host that no other process can take while the container runs, such as V(8080), V(8080/udp), V(127.0.0.1:8080/tcp),
        V([::1]:53/udp) or V(8000-8010/tcp). Without an address, the port is reserved on all addresses, for IPv4 and IPv6.
      - conmon holds the sockets, so the ports are free as soon as the container ends. conmon does not listen on the sockets. They do not
        disturb a rule of nftables or another mechanism that forwards the ports to the container.
      - Has no effect with O(longshore.oci.oci_container#module:network_helper), which holds the ports that it publishes.
      - If the kernel does not support V(sctp), the module omits these ports with a warning.
      - If a port is in use, the task fails before it changes anything. With psutil on the host, the error names the process.
    type: list
    elements: str
  listen:
    description:
      - Addresses on which conmon opens sockets for the container. The container finds the sockets as in sd_listen_fds(3), from descriptor
        3 up, with C(LISTEN_FDS), C(LISTEN_PID) and C(LISTEN_FDNAMES). The container needs no network of its own for this.
      - V(8080), V(127.0.0.1:8080/tcp), V([::1]:53/udp) or V(unix:/run/web.sock), optionally with a name in front, such as
        V(admin=127.0.0.1:8081). The default name is the name of the container. UDP sockets are bound. All other sockets listen.
      - Every user who can reach the path of a Unix socket can use it (mode 0666). Longshore removes the socket together with the container.
      - The container needs its own pid namespace and must not have a terminal. It cannot be checkpointed, because the sockets do not
        belong to its network namespace.
    type: list
    elements: str
"""

    STOP = r"""
options:
  stop_signal:
    description:
      - Signal that asks the container to end, by name or number, such as V(TERM), V(37), V(RTMIN+3) or V(RTMAX-1).
      - With O(bundle), Longshore records the value. Without O(bundle), the value applies to this task only.
      - Default is the recorded value. For a new container, it is the signal of the image (the annotation
        C(org.opencontainers.image.stopSignal) of the bundle), otherwise V(TERM).
    type: str
  stop_timeout:
    description:
      - Seconds to wait after O(stop_signal) before the module kills the container. V(0) kills it at once.
      - Before that, the commands of M(longshore.oci.oci_exec) in the container get SIGTERM. All of them together have the same time to end.
      - With O(bundle), Longshore records the value. Without O(bundle), the value applies to this task only. Default is the recorded value,
        otherwise V(10).
      - In a shutdown of the host, systemd stops the container with the O(stop_signal) and O(stop_timeout) that the container was created with
        (with the cgroup manager systemd).
    type: float
  kill_timeout:
    description: Seconds to wait after SIGKILL. After that, the task fails, and the error says why the process does not end.
    type: float
    default: 5
  create_timeout:
    description: Seconds for conmon and the runtime to create the container. Also the time to wait for another task on the same container.
    type: float
    default: 240
  ready_timeout:
    description: Seconds for a container with O(sdnotify=container) to report that it is ready. Default is O(create_timeout).
    type: float
"""
