# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that are services of systemd: their unit runs conmon, at boot and as often as the restart policy says.

systemd alone starts and stops such a container then, for us too. The unit calls a script of a few lines, which needs a
shell, flock(1) and the runtime, and nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
import typing as t

from .._base import leftovers
from .._base.deadline import Deadline
from .._base.errors import Conflict, DeadlineExceeded, EngineError, ProgramFailed
from .._base.files import make_directory, plain_path, read_text, remove_file, remove_tree, write_text
from .._base.process import Handle, boot_id, clean_environment, signal_name
from .._container import sd_notify, teardown
from .._container.create import Launch, create_argv, write_config
from .._container.observe import EXIT_FILE_SECONDS, as_systemd_has_it, collect_exit, timestamp
from .._container.ownership import check_names, has_unit
from .._host import systemd
from .._host.runtime import Runtime, global_arguments
from .._state import model
from .._state.model import Record, StopReport, Timeouts
from .._state.store import Paths, Store
from . import stop_starting

if t.TYPE_CHECKING:
    from .._base.lock import Lock

_PROMPT = 30.0  # seconds for systemd to read units, or to forget one
_OVERLAY = ("lowerdir", "upperdir", "workdir", "redirect_dir", "metacopy", "context")
_MOUNT = "mountpoint --quiet {0} || mount -t overlay -o {1} overlay {0} || exit"
_ALONE = dict.fromkeys(("functions", "share", "closed", "shared"), "")  # for no namespaces of other containers
_MARGIN = 10.0  # seconds that systemd waits longer than the script, before it kills everything itself

# Type=forking: conmon forks, and the main process is the one in its pid file. Type=notify, for a container that says when it
# is ready: the script says which conmon is, and conmon passes on what the container says. KillSignal: the script has sent the
# signal that the container knows; conmon would forward another. TimeoutStartFailureMode: else SIGCONT would be waited for in
# vain (since systemd 246; older ones do that). IgnoreSIGPIPE: as in any other launch; pasta of Debian 12 refuses to run where
# that is ignored.
_UNIT = """\
# Written by longshore.oci for the container {name}, and written anew by it.
[Unit]
Description=Container {name}
Wants=network-online.target
After=network-online.target
{bound}RequiresMountsFor={state} {bundle}

[Service]
{type}
ExecStart=/bin/sh {script} start
ExecStop=/bin/sh {script} stop
ExecStopPost=/bin/sh {script} clean
KillMode=mixed
KillSignal=SIGCONT
IgnoreSIGPIPE=no
TimeoutStartSec={start_timeout:.0f}
TimeoutStartFailureMode=kill
TimeoutStopSec={stop_timeout:.0f}
Restart={restart}
RestartSec=1

[Install]
WantedBy={target}
"""

# $alive is locked as long as conmon lives: it inherits descriptor 9, and the runtime closes it. conmon reports the pid in
# one line, or an error, and keeps that pipe until it ends.
_SCRIPT = """\
# Written by longshore.oci for the container {name}: what its service runs.
set -u
umask 027
manager=${{NOTIFY_SOCKET-}}
unset NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC
{environment}
runtime() {{ {runtime} "$@"; }}
{functions}{network}mounted() {{
    while read -r id parent device root place rest; do
        case $place/ in {mounts}) printf '%s\\n' "$place" ;; esac
    done </proc/self/mountinfo
}}
clean() {{
    mounted | sed 's/\\\\/\\\\0/g' | while read -r place; do umount -l "$(printf %b "$place")" 2>/dev/null; done
    left=$(mounted) && test -z "$left" || {{ echo "Nothing is removed: something is mounted at $left" >&2; exit 1; }}
    test ! -d {runtime_state} || runtime delete --force {id}
}}
case $1 in
start)
    clean
    rm -rf {run} {persist}
    mkdir -p {bundle} {exits} {persist} {runtime_root} || exit
    (umask 077 && : >{runtime_log})
    ln -s {state} {owner}
    {notify}
    {overlay}
    ln -s {config} {bundle}/config.json
    cd {bundle} && exec 9>{alive} && flock 9 || exit
    {share}{before}_OCI_SYNCPIPE=3 {conmon} 3>&1 >>{output} 2>&1 </dev/null{closed} | {{
        exec 9>&-
        read -r report
        case $report in
        '{{"data": '[1-9]*) {shared}{connect}{main}runtime start {id} ;;
        *) echo "conmon: $report" >&2; cat {runtime_log} {output} >&2; exit 1 ;;
        esac
    }}
    ;;
stop)
    runtime kill {id} {signal}
    {resume}
    flock --wait {grace} {alive} true || runtime kill {id} KILL
    ;;
clean)
    clean
    ;;
esac
"""


def create(store: Store, launch: Launch, *, previous: Record | None, timeouts: Timeouts) -> tuple[Record, list[str]]:
    """Write the unit, and all that it needs; nothing is started. On failure record, config and claim are the previous ones again."""
    record, paths = launch.record, store.paths(launch.record.name)
    check_names(record, previous)
    check_unit(record, paths)
    previous_config = read_text(paths.config)
    make_directory(paths.state)
    store.save(record)
    try:
        store.claim_bundle(record.definition.bundle, record.name)
        remove_tree(paths.persist)  # The exit of the run before would be believed.
        digest, overlay = write_config(launch, paths), _overlay_at(launch.config["root"]["path"])
        record = record.replace(phase="created", config_digest=digest, created_at=timestamp(), overlay=overlay)
        write(store, record, timeouts)
    except BaseException:
        # The first failure counts; a unit without a record is for absent to remove.
        with contextlib.suppress(EngineError):
            remove(record.name, record.realm)
        from .._container.rollback import take_back

        take_back(store, record, previous, previous_config)
        raise
    if previous is not None and previous.definition.bundle != record.definition.bundle:
        store.release_bundle(previous.definition.bundle, record.name)
    return store.save(record), []


def check_unit(record: Record, paths: Paths) -> None:
    """Raises Conflict where the unit of that name is another's: of a release that did not tell state directories apart, or
    written by hand."""
    if not has_unit(record, paths):
        path = model.service_path(record.name, record.realm)
        raise Conflict(
            f"{path} is not a unit of this container.", hint="It belongs to another state_dir, or was written by hand."
        )


def write(store: Store, record: Record, timeouts: Timeouts) -> None:
    """Let unit and script be what the record says."""
    paths, path = store.paths(record.name), model.service_path(record.name, record.realm)
    saved = store.load_config(record.name) or {}
    terminal = bool(saved.get("process", {}).get("terminal"))
    joins, bound = _namespaces(store, record, saved)
    texts = (_script(record, paths, joins, terminal=terminal), _unit(record, paths, timeouts, bound))
    if (read_text(paths.service_script), read_text(path)) == texts and not record.unit_pending:
        return
    write_text(paths.service_script, texts[0])  # First: the unit needs it. The environment of conmon is in it.
    make_directory(os.path.dirname(path), mode=0o755)
    leftovers.clear(os.path.dirname(path), re.escape(os.path.basename(path)))
    write_text(path, texts[1], mode=0o644)
    with _bus(_PROMPT) as bus:
        bus.reload()


def update(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """Let unit and script be what a record says that is saved with ``unit_pending``, so that the next task goes on if this one is
    killed."""
    write(store, record, timeouts)
    return store.save(record.replace(unit_pending=False))


def start(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """Start it, now and at boot, or wait for a start that systemd is at. Raises ProgramFailed with what runtime and conmon said;
    then it is stopped, and stays so."""
    unit, paths = model.service_unit(record.name, record.realm), store.paths(record.name)
    with _bus(_start_seconds(record, timeouts) + record.stop_timeout + 2 * _MARGIN) as bus:
        record = store.save(record.replace(phase="starting"))  # Before systemd is told.
        write(store, record, timeouts)  # A removal that was killed may have taken the unit away already.
        bus.enable(unit)
        result = bus.wait_for_job(bus.begin_job("StartUnit", unit))
        if result != "done":
            words = teardown.last_words(paths, record.log_path)
            unconnected = words["network_log"][-1:] if not os.path.exists(paths.network_pidfile) else []
            said = (
                "".join(unconnected)
                or Runtime(record, paths.runtime_log).error_in_log()
                or " ".join(words["conmon_log"][-3:])
            )
            if not said and record.definition.sdnotify == "container":
                said = f"it did not say that it is ready (READY=1), the job of systemd ended as {result}"
            bus.disable(unit)
            bus.wait_for_job(bus.begin_job("StopUnit", unit))
            bus.reset_failed(unit)
            store.save(record.replace(phase="created"))
            raise ProgramFailed(
                f"Cannot start the container {record.name}: {said or f'the job of systemd ended as {result}'}.",
                hint=f"Look at: journalctl --unit {unit}", **words,
            )  # fmt: skip
    now = as_systemd_has_it(record, paths)
    # A short one may have ended by now; its exit tells.
    return store.save(now.replace(phase="running", boot=boot_id(), started_at=now.started_at or timestamp()))


def stop(
    store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
) -> tuple[StopReport, Record | None]:
    """The contract of ``teardown.stop``, carried out by systemd. It does not start at boot any more."""
    began, unit, paths = time.monotonic(), model.service_unit(record.name, record.realm), store.paths(record.name)
    grace = record.stop_timeout if timeouts.stop is None else timeouts.stop
    record = store.save(record.replace(phase="stopping"))  # Before the script is another, and systemd is told.
    write(store, record.replace(stop_signal=number, stop_timeout=grace), timeouts)
    lock.release()
    try:
        with Handle(record.init) as init, _bus(grace + timeouts.kill + _PROMPT) as bus:
            bus.disable(unit)
            teardown.end_sessions(paths, grace, timeouts.kill)
            job = bus.begin_job("StopUnit", unit)
            if record.init is None:  # In the middle of a start: nothing there has begun its work.
                bus.kill(unit)
            with stop_starting.told(bus, unit, record, init, number if grace > 0 else 9):
                ended = init.wait(Deadline(grace)) if grace > 0 else init.fd is None
            bus.wait_for_job(job)
            bus.reset_failed(unit)
            if record.init is None:  # Stopped in the middle of a start: whatever has come of it.
                bus.stop_unit(model.container_unit(record.name, record.realm))
            teardown.kill_all(record, init, Deadline(timeouts.kill))
    finally:
        lock.acquire(Deadline(timeouts.create))
    now = store.load(record.name)
    if now is not None and (now.created_at != record.created_at or now.phase == "removed"):
        now = None
    if now is not None:
        collect_exit(record, paths, Deadline(EXIT_FILE_SECONDS))
        now = store.save(now.replace(phase="stopped"))
    used = signal_name(number) if ended or grace > 0 else "KILL"
    return StopReport(signal=used, killed=not ended, waited=round(time.monotonic() - began, 3)), now


def remove(name: str, realm: str) -> None:
    """Stop the service and remove its unit. What is left of the container is swept as that of any other."""
    unit, path = model.service_unit(name, realm), model.service_path(name, realm)
    with _bus(_PROMPT) as bus:
        # Not asked to end, for it has: this ends what restarts it, or what only systemd knows of.
        with contextlib.suppress(DeadlineExceeded):
            job = bus.begin_job("StopUnit", unit)
            bus.end_start(unit)
            bus.wait_for_job(job)
        bus.disable(unit)
        remove_file(path)
        bus.reload()
        bus.reset_failed(unit)


class _Bus(stop_starting.Bus):
    """With what only services need of systemd."""

    def enable(self, unit: str) -> None:
        """From the next boot on, as the unit's [Install] says."""
        self.call("EnableUnitFiles", "asbb", 1, unit, 0, 1)
        self.reload()

    def disable(self, unit: str) -> None:
        with systemd.nothing_if_unknown():
            self.call("DisableUnitFiles", "asb", 1, unit, 0)
        self.reload()

    def reset_failed(self, unit: str) -> None:
        """Forget that it failed, and how often it was started."""
        with systemd.nothing_if_unknown():
            self.call("ResetFailedUnit", "s", unit)

    def reload(self) -> None:
        """Read all unit files again."""
        self.call("Reload", "")


def _bus(seconds: float) -> _Bus:
    return _Bus(user=os.geteuid() != 0, deadline=Deadline(seconds))


def unit_quote(text: str, *, command: bool = False) -> str:
    """Return a word of a unit (systemd.syntax(7)), which means the text itself; in a ``command``, systemd.service(5) has
    variables too. There is no way to write a line break: create refuses it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"{}"'.format(quoted.replace("$", "$$") if command else quoted)


def _unit(record: Record, paths: Paths, timeouts: Timeouts, bound: str = "") -> str:
    definition = record.definition
    # The pid file is no list of words: it is written without quotes.
    pidfile = (definition.conmon_pidfile or paths.conmon_pidfile).replace("%", "%%")
    notifies = definition.sdnotify == "container"
    return _UNIT.format(
        name=record.name, state=unit_quote(paths.state), bundle=unit_quote(definition.bundle),
        script=unit_quote(paths.service_script, command=True),
        type="Type=notify\nNotifyAccess=all" if notifies else f"Type=forking\nPIDFile={pidfile}",
        bound=bound, start_timeout=max(1.0, _start_seconds(record, timeouts)), stop_timeout=record.stop_timeout + _MARGIN,
        restart=definition.restart_policy, target="multi-user.target" if os.geteuid() == 0 else "default.target",
    )  # fmt: skip


def _start_seconds(record: Record, timeouts: Timeouts) -> float:
    """What systemd gives a start, until the container is ready."""
    return timeouts.create + (sd_notify.ready_seconds(timeouts) if record.definition.sdnotify == "container" else 0)


def _script(record: Record, paths: Paths, joins: t.Mapping[str, str] | None = None, *, terminal: bool) -> str:
    definition = record.definition
    passthrough = record.log_path if definition.log_driver == "passthrough" else None
    settings = clean_environment(**definition.conmon_env)
    runtime = [record.runtime.path, *global_arguments(record, paths.runtime_log)]
    grace, notifies = record.stop_timeout, definition.sdnotify == "container"
    pidfile = shlex.quote(definition.conmon_pidfile or paths.conmon_pidfile)
    words = {
        "name": record.name, "id": record.runtime_id, "run": paths.run, "persist": paths.persist, "bundle": paths.bundle,
        "exits": paths.exits, "state": paths.state, "owner": paths.owner, "config": paths.config, "runtime_root": record.runtime_root,
        "runtime_state": f"{record.runtime_root}/{record.runtime_id}", "runtime_log": paths.runtime_log,
        "alive": f"{paths.run}/alive", "output": passthrough or paths.conmon_log,
        "signal": str(record.stop_signal if grace > 0 else 9), "grace": f"{grace:g}",
    }  # fmt: skip
    places = (paths.run, paths.persist, words["runtime_state"])
    return _SCRIPT.format(
        mounts=_mounts(*places),
        **{name: shlex.quote(word) for name, word in words.items()},
        environment="\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
        runtime=shlex.join(runtime), conmon=_conmon(record, paths, terminal=terminal),
        overlay=_MOUNT.format(*map(shlex.quote, record.overlay)) if record.overlay else ":",
        notify=f"mkdir -m 755 {shlex.quote(paths.notify)}" if notifies else ":",
        main=f'NOTIFY_SOCKET=$manager systemd-notify "MAINPID=$(cat {pidfile})"; ' if notifies else "",
        resume=f"runtime resume {shlex.quote(record.runtime_id)} 2>/dev/null",
        **_network(record, paths), **(joins or _ALONE),
    )  # fmt: skip


def _mounts(*places: str) -> str:
    """Return a pattern of the shell, for the places of mounts (with a slash) that are these directories or below them.

    Nothing is removed through a mount: a restore that was killed leaves the root file system of the container in there.
    """
    texts = [re.sub(r"[ \\]", lambda found: f"\\{ord(found[0]):03o}", os.path.realpath(place)) for place in places]
    return " | ".join(f"{shlex.quote(text + '/')}*" for text in texts)


def _namespaces(store: Store, record: Record, config: t.Mapping[str, t.Any]) -> tuple[t.Mapping[str, str], str]:
    """What script and unit do for namespaces of other containers."""
    if f"{store.paths(record.name).namespaces}/" not in str((config.get("linux") or {}).get("namespaces")):
        return _ALONE, ""
    from .._container import joined_namespaces

    found = joined_namespaces.peers(config, store.paths(record.name))
    return joined_namespaces.script(store, record, found), joined_namespaces.bound(store, found)


def _overlay_at(root: str) -> tuple[str, str] | None:
    """A root file system that is an overlay now, and the options to mount it with; after a reboot nobody else would."""
    found = None
    # A carriage return or the like in the path of a mount ends no line (proc(5)).
    for line in filter(None, (read_text("/proc/self/mountinfo") or "").split("\n")):
        before, _dash, after = line.partition(" - ")
        place, (kind, _source, options) = before.split(" ")[4], after.split(" ", 2)
        if plain_path(place) == os.path.realpath(root):
            # A label of SELinux has a comma, and is in quotes.
            parts = re.findall(r'(?:[^,"]|"[^"]*")+', options)
            kept = [option for option in parts if option.partition("=")[0] in _OVERLAY]
            # Relative paths mean nothing any more where the script runs.
            absolute = sum(option.startswith(("lowerdir=/", "upperdir=/", "workdir=/")) for option in kept) == 3
            found = (root, plain_path(",".join(kept))) if kind == "overlay" and absolute else None
    return found


def _network(record: Record, paths: Paths) -> dict[str, str]:
    """What the script does for a network helper."""
    if record.definition.network_helper == "none":
        return dict.fromkeys(("network", "before", "connect"), "")
    from .._ports.network_helper import script

    return script(record, paths)


def _conmon(record: Record, paths: Paths, *, terminal: bool) -> str:
    """Its command line, with the socket of systemd in the place of ours: nobody else is there to hear."""
    argv = create_argv(record, paths, terminal=terminal)
    return " ".join('"$manager"' if word == paths.ready_socket else shlex.quote(word) for word in argv)
