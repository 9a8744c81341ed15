# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""One host: an overlay on its kind's tree, and systemd-nspawn that boots it."""

from __future__ import annotations

import dataclasses
import os
import select
import shutil
import socket
import subprocess

from . import cgroup, network
from .command import HostsError
from .deadline import Deadline
from .fleet import Fleet, Host
from .process import ProcessId
from .recipe import AUTHORIZED_KEYS

# Enters the cgroups and mounts the overlay, then becomes systemd-nspawn. The mounts are made in a mount
# namespace that only this process is in, so that they end with it and cannot be left behind. The tmpfs
# takes what systemd-nspawn notes there of each machine, which it leaves when it is killed.
_LAUNCH = """\
set -eu
cgroups=$1 overlay=$2 root=$3
shift 3
for procs in $cgroups; do echo $$ > "$procs"; done
mount -t overlay overlay -o "$overlay" "$root"
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
exec "$@"
"""

_NSPAWN_ENV = {
    # Its filter forbids CRIU to suspend the seccomp filters of a process (PTRACE_SUSPEND_SECCOMP).
    "SYSTEMD_SECCOMP": "0",
    # Plain cgroup v2 inside, also where this machine mixes v1 and v2.
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    # CRIU writes ns_last_pid; and an unprivileged user can mount a /proc only where none is masked.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
}

# systemd gives a service that will not stop 90 s; after that the host ends in any case.
_POWER_OFF_SECONDS = 120
_KILL_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Boot:
    """A host that is on its way up; `ready` is told when systemd in it is done starting."""

    host: Host
    ready: socket.socket
    log: str


def make(fleet: Fleet, host: Host) -> None:
    """Write what is on the host's disk beyond the tree. Its record comes last: then it is whole."""
    for part in ("upper", "work", "root"):
        os.makedirs(fleet.host_path(host.name, part), exist_ok=True)
    with open(fleet.path("key.pub"), encoding="utf-8") as stream:
        public_key = stream.read()
    files = {
        "etc/machine-id": f"{host.machine_id}\n",
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{host.address} {host.name}\n",
        AUTHORIZED_KEYS: public_key,
    }
    for name, text in files.items():
        path = fleet.host_path(host.name, "upper", name)
        # These directories hide those of the tree, so they need the same mode: 0755.
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
    fleet.save(host)


def boot(fleet: Fleet, host: Host) -> Boot:
    """Switch the host on; see `wait_until_ready`."""
    network.plug(fleet, host)
    log_path = fleet.host_path(host.name, "console.log")
    ready, ready_path = _ready_socket(fleet, host)
    with open(log_path, "ab") as log:
        nspawn = subprocess.Popen(  # pylint: disable=consider-using-with
            _launch_argv(fleet, host, cgroup.make(fleet.name_of(host.name))),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **_NSPAWN_ENV, "NOTIFY_SOCKET": ready_path},
            start_new_session=True,
            cwd="/",
        )
    process = ProcessId.of(nspawn.pid)
    if process is None:
        raise HostsError(f"{host.name}: systemd-nspawn ended at once, see {log_path}")
    host = dataclasses.replace(host, process=process, ready=False)
    fleet.save(host)
    return Boot(host=host, ready=ready, log=log_path)


def wait_until_ready(started: Boot, *, deadline: Deadline) -> None:
    """systemd-nspawn passes on the READY=1 that systemd in the host sends when all is started."""
    host, what = started.host, f"{started.host.name} to boot, see {started.log}"
    if host.process is None:
        raise HostsError(f"{host.name} was not started")
    try:
        process = os.pidfd_open(host.process.pid)
    except ProcessLookupError:
        raise HostsError(f"{host.name} ended while it booted, see {started.log}") from None
    try:
        poll = select.poll()
        poll.register(started.ready, select.POLLIN)
        poll.register(process, select.POLLIN)
        while True:
            events = dict(poll.poll(deadline.remaining(what) * 1000))
            if started.ready.fileno() in events and b"READY=1" in started.ready.recv(65536).split(b"\n"):
                return
            if process in events:
                raise HostsError(f"{host.name} ended while it booted, see {started.log}")
    finally:
        os.close(process)
        started.ready.close()


def power_off(fleet: Fleet, host: Host) -> None:
    """An orderly shutdown, as with the power button. Its disk stays."""
    what = f"{host.name} to shut down"
    if host.process is not None:
        # systemd-nspawn turns SIGTERM into the signal that makes systemd shut down.
        host.process.terminate(deadline=Deadline.after(_POWER_OFF_SECONDS), what=what)
    cut_power(fleet, host.name)


def cut_power(fleet: Fleet, name: str) -> None:
    """Everything that runs on the host ends at once. Its disk stays."""
    cgroup.destroy(fleet.name_of(name), deadline=Deadline.after(_KILL_SECONDS))


def remove(fleet: Fleet, name: str) -> None:
    """The host and its disk, in whatever state either is."""
    cut_power(fleet, name)
    host = fleet.load(name)
    if host is not None:
        network.unplug(fleet, host)
    network.remove(fleet.name_of(name))
    # The overlay was mounted only in a namespace that is gone by now: these are plain files.
    if os.path.isdir(fleet.host_path(name)):
        shutil.rmtree(fleet.host_path(name))


def _ready_socket(fleet: Fleet, host: Host) -> tuple[socket.socket, str]:
    path = fleet.host_path(host.name, "ready")
    if os.path.lexists(path):
        os.unlink(path)
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    ready.bind(path)
    return ready, path


def _launch_argv(fleet: Fleet, host: Host, cgroups: list[str]) -> list[str]:
    name = fleet.name_of(host.name)
    root = fleet.host_path(host.name, "root")
    upper, work = fleet.host_path(host.name, "upper"), fleet.host_path(host.name, "work")
    return [
        # Slave: a network namespace that is removed outside must not be held by this namespace.
        "unshare", "--mount", "--propagation", "slave", "--",
        "sh", "-c", _LAUNCH, "launch",
        " ".join(cgroups), f"lowerdir={host.tree},upperdir={upper},workdir={work}", root,
        "systemd-nspawn", "--quiet", "--boot", "--directory", root,
        "--machine", name, "--hostname", host.name, "--uuid", host.machine_id,
        # No machined, no unit: the host lives in the cgroups that were made for it.
        "--register=no", "--keep-unit",
        "--capability=all", f"--network-namespace-path={network.path_of(name)}",
        "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--notify-ready=yes",
    ]  # fmt: skip


__all__ = ("Boot", "boot", "cut_power", "make", "power_off", "remove", "wait_until_ready")
