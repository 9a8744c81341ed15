# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon, the monitor of one container: its command line, and the hand-shake of a launch.

The contract is that of conmon 2.0 to 2.2 (conmon.c, cli.c, ctr_exit.c), which podman follows too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import typing as t

from .container import Definition, Record
from .errors import DeadlineExceeded, InvalidInput, ProgramFailed, reason_of
from .files import read_tail, remove_file
from .process import Handle, identify, spawn
from .runtime import global_arguments
from .store import Paths
from .waiting import Deadline, wait_readable

# The first version that has an option (tags of conmon's repository). What is not here has always been there.
_SINCE = {
    "--log-tag": (2, 0, 3), "--persist-dir": (2, 0, 5), "--exit-delay": (2, 0, 17), "--sdnotify-socket": (2, 0, 22),
    "--full-attach": (2, 0, 23),
}  # fmt: skip
# The option of ours that asks for an option of conmon's.
_ASKED_BY = {"log_tag": "--log-tag", "exit_delay": "--exit-delay"}


def has(version: str, option: str) -> bool:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return numbers >= _SINCE.get(option, (0,))


def check_options(definition: Definition, version: str) -> None:
    """Raises InvalidInput for an option that this conmon lacks, with the version that has it."""
    asked = [(name, option) for name, option in _ASKED_BY.items() if getattr(definition, name) is not None]
    if definition.sdnotify == "container":
        asked.append(("sdnotify", "--sdnotify-socket"))
    for name, option in asked:
        if not has(version, option):
            since = ".".join(map(str, _SINCE[option]))
            raise InvalidInput(f"The option {name} needs conmon {since} or newer; this host has {version}.")


def create_argv(record: Record, paths: Paths, *, terminal: bool) -> list[str]:
    """The command line of conmon for a create, without anything that this version does not have."""
    wanted, version = record.definition, record.conmon.version
    argv = [
        record.conmon.path, "--api-version", "1",
        "--cid", record.runtime_id, "--cuuid", record.runtime_id,
        "--name", record.name,
        "--runtime", record.runtime.path,
        "--bundle", paths.bundle,
        "--container-pidfile", paths.pidfile,
        "--conmon-pidfile", wanted.conmon_pidfile or paths.conmon_pidfile,
        "--exit-dir", paths.exits,
        "--log-path", f"k8s-file:{record.log_path}" if wanted.log_driver == "k8s-file" else wanted.log_driver,
        # Never debug: those lines would mix with what the container says.
        "--log-level", "warning", "--syslog",
    ]  # fmt: skip
    # Without --full-attach its socket directory would be one that exists only under CRI-O.
    argv += ["--full-attach"] if has(version, "--full-attach") else ["--socket-dir-path", paths.run]
    if has(version, "--persist-dir"):
        argv += ["--persist-dir", paths.persist]
    for word in global_arguments(record, paths.runtime_log):
        argv += [f"--runtime-arg={word}"]
    if record.cgroup_manager == "systemd":
        argv.append("--systemd-cgroup")
    if terminal:
        argv.append("--terminal")
    elif wanted.stdin:
        argv.append("--stdin")
    if wanted.log_size_max is not None:
        argv += ["--log-size-max", str(wanted.log_size_max)]
    if wanted.log_tag is not None:
        argv += ["--log-tag", wanted.log_tag]
    if wanted.no_pivot:
        argv.append("--no-pivot")
    if wanted.no_new_keyring:
        argv.append("--no-new-keyring")
    if wanted.sdnotify == "container":
        argv += ["--sdnotify-socket", paths.ready_socket]
    if wanted.exit_command:
        argv += ["--exit-command", wanted.exit_command[0]]
        argv += [f"--exit-command-arg={word}" for word in wanted.exit_command[1:]]
        if wanted.exit_delay is not None:
            argv += ["--exit-delay", str(wanted.exit_delay)]
    return argv


def launch(
    argv: t.Sequence[str], *, directory: str, output: str, environment: t.Mapping[str, str],
    place: t.Callable[[int], None], deadline: Deadline, cgroup: str | None = None,
) -> int:  # fmt: skip
    """Start conmon, put it where it belongs, let it go, and return the pid of the container's first process.

    It is born in ``cgroup`` (a directory of cgroup2) where that can be; else ``place`` is called with its pid, before
    conmon may fork, so all that it starts is in its cgroup. ``output`` is the file for what conmon says
    before it detaches (and, with the log driver passthrough, for the container). One deadline covers it all. Raises
    ProgramFailed or DeadlineExceeded; then conmon has been killed, and what it has started is the caller's to sweep.
    """
    # SEQPACKET as podman has it: one read is one message, and a peer that dies is an end of file at once.
    sync, conmon_sync = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    start, conmon_start = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with sync, start:
        with conmon_sync, conmon_start, open(output, "ab", opener=_private) as stream:
            inherited = (conmon_sync.fileno(), conmon_start.fileno())
            pipes = {"_OCI_SYNCPIPE": str(inherited[0]), "_OCI_STARTPIPE": str(inherited[1])}
            try:
                conmon, placed = spawn(
                    argv, directory=directory, environment={**environment, **pipes}, output=stream.fileno(),
                    inherited=inherited, cgroup=cgroup,
                )  # fmt: skip
            except (OSError, ValueError) as exc:  # ValueError: a NUL in an argument
                raise ProgramFailed(f"conmon cannot be run ({argv[0]}): {reason_of(exc)}") from exc
        released = False
        try:
            if not placed:
                place(conmon)
            try:
                start.send(b"\0")
            except OSError:
                raise ProgramFailed("conmon ended before it could be told to go on") from None
            pid = _read_pid(sync, conmon, deadline)
            released = True
            return pid
        finally:
            # Closing the start pipe would be a go-ahead too (read() returns 0): to stop conmon one has to kill it.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # where the caller ignores SIGCHLD
                if not released:
                    os.kill(conmon, signal.SIGKILL)
                os.waitpid(conmon, 0)  # The first process ends as soon as it has forked; it is dead or dying by now.


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _read_pid(sync: socket.socket, conmon: int, deadline: Deadline) -> int:
    """The container's pid from conmon's report. Its first process exiting says nothing; one that fails says it all."""
    buffer = b""
    with Handle(identify(conmon)) as first:
        while b"\n" not in buffer:
            if not wait_readable([sync.fileno()], deadline):
                gone = "" if first.fd is None or first.wait(Deadline(0)) else ", and conmon has not even detached"
                raise DeadlineExceeded(f"conmon and the runtime did not report in time{gone}")
            try:
                data = sync.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                break
            buffer += data
    # conmon writes nothing where a runtime failed silently (up to 2.1.13), and older API levels call the key pid.
    line = buffer.split(b"\n", 1)[0].decode("utf-8", "replace")
    if not line:
        raise ProgramFailed("")
    try:
        report = json.loads(line)
        pid = int(report["data"] if "data" in report else report["pid"])
    except (ValueError, KeyError, TypeError):
        raise ProgramFailed(f"conmon reported {line!r}, which is not understood") from None
    if pid <= 0:
        raise ProgramFailed(str(report.get("message") or "").strip())
    return pid


class ReadySocket:
    """The socket that conmon sends to, as a context manager; it is there only while somebody waits."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._status = ""

    def __enter__(self) -> ReadySocket:
        remove_file(self._path)
        self._socket.bind(self._path)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()
        remove_file(self._path)

    def wait(self, record: Record, deadline: Deadline) -> None:
        """Until READY=1. Raises ProgramFailed when the container ends first, DeadlineExceeded when it stays silent."""
        with Handle(record.init) as init:
            ended = init.fd is None
            while True:
                watched = [self._socket.fileno()] + ([] if init.fd is None else [init.fd])
                ready = wait_readable(watched, Deadline(0) if ended else deadline)
                if self._socket.fileno() in ready:
                    if self._is_ready(self._socket.recv(65536)):
                        return
                elif ended or not ready:
                    break
                ended = ended or init.fd in ready  # what it said before is still to be read
        kind, text = (ProgramFailed, "ended before it said") if ended else (DeadlineExceeded, "did not say in time")
        last = f" Its last status was: {self._status}." if self._status else ""
        log = read_tail(record.log_path) if record.log_path else []
        raise kind(f"The container {record.name} {text} that it is ready (READY=1).{last}", container_log=log)

    def _is_ready(self, message: bytes) -> bool:
        lines = message.decode("utf-8", "replace").splitlines()
        self._status = next((line[7:] for line in lines if line.startswith("STATUS=")), self._status)
        return "READY=1" in lines
