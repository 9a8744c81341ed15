# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the texts of the unit of a service and of its script. Write no files."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from .._base import mountinfo
from .._base.program import UMASK, clean_environment
from .._config import namespaces
from .._conmon.create_command import create_argv
from .._container import sd_notify
from .._host import overlay
from .._runtime.runtime import global_arguments
from .._state import names
from .._state.model import LogDriver, NetworkHelper, Record, Timeouts
from .._state.store import Paths, Store

Config = t.Mapping[str, t.Any]
ROUTE_SECONDS = 60  # for pasta at boot, until the host has a default route
_OVERLAY = ("lowerdir", "upperdir", "workdir", "redirect_dir", "metacopy", "context")


_MOUNT = "mountpoint --quiet {0} || mount -t overlay -o {1} overlay {0} || exit"


_ALONE = dict.fromkeys(("functions", "share", "closed", "shared"), "")  # without namespaces of other containers


MARGIN = 10.0  # additional seconds of systemd after the timeout of the script, before it kills all processes


# Type=notify: the script reports the pid of conmon, so systemd knows its main process before the container runs. Type=forking
# with a pid file fails for a container that ends at once. conmon passes on the messages of a container that reports readiness.
# StartLimitIntervalSec: a restart policy has no end. KillSignal: the script has already sent the stop signal, and conmon would forward another one.
# TimeoutStartFailureMode: otherwise systemd would send SIGCONT and wait without effect (available since systemd 246).
# IgnoreSIGPIPE: as in any other launch, because pasta of Debian 12 refuses to run with an ignored SIGPIPE.
_UNIT = """\
# Written by longshore.oci for the container {name}, and overwritten by it.
[Unit]
Description=Container {name}
Wants=network-online.target
After=network-online.target
{bound}RequiresMountsFor={places}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
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


# $alive is locked as long as conmon lives: it inherits descriptor 9, and the runtime closes it. Descriptor 8 keeps room for the exit code
# (conmon_launch.room_for_exit). conmon reports the pid in
# one line, or an error, and keeps that pipe until it ends. The unit is active right before the program of the container starts:
# systemd takes the end of a main process before that for a failure. $failed tells the task about a start that fails after it. In
# a stop, a process that waits for conmon becomes the main process, because the exit code of conmon, such as 143, is no failure
# then (SuccessExitStatus would also count without a stop).
_SCRIPT = """\
# Written by longshore.oci for the container {name}: what its service runs.
set -u
umask 027
manager=${{NOTIFY_SOCKET-}}
unset NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC
{environment}
runtime() {{ {runtime} "$@"; }}
failed() {{ : >{failed}; runtime delete --force {id}; }}
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
    {config_file}
    cd {bundle} && exec 9>{alive} && flock 9 || exit
    {share}{before}{{
        exec 8>{room}; head -c 8192 /dev/zero >&8; rm {room}
        umask {umask:03o}; _OCI_SYNCPIPE=3 {conmon}; }} 3>&1 >>{output} 2>&1 </dev/null{closed} | {{
        exec 9>&-
        read -r report
        case $report in
        '{{"data": '[1-9]*)
            trap 'test $? -eq 0 || failed' EXIT
            {shared}{connect}{main}runtime start {id}
            ;;
        *) echo "conmon: $report" >&2; cat {runtime_log} {output} >&2; exit 1 ;;
        esac
    }}
    ;;
stop)
    waiting=$(flock {alive} true >/dev/null 2>&1 & echo $!)
    NOTIFY_SOCKET=$manager systemd-notify "MAINPID=$waiting" 2>/dev/null
    runtime kill {id} {signal}
    {resume}
    flock --wait {grace} {alive} true || runtime kill {id} KILL
    ;;
clean)
    clean
    ;;
esac
"""


def unit_quote(text: str, *, command: bool = False) -> str:
    """Quote a text for a unit (systemd.syntax(7)). In a ``command``, systemd.service(5) also has variables. Line breaks cannot be
    quoted, so create refuses them."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"{}"'.format(quoted.replace("$", "$$") if command else quoted)


def unit_text(record: Record, paths: Paths, start: float, config: Config, bound: str = "") -> str:
    """Return the text of the unit. ``start``: the timeout of systemd for a start, in seconds."""
    return _UNIT.format(
        name=record.name, places=" ".join(map(unit_quote, _places(record, paths, config))), bound=bound,
        script=unit_quote(paths.service_script, command=True),
        start_timeout=max(1.0, start), stop_timeout=record.stop_timeout + MARGIN,
        restart=record.definition.restart_policy, target=names.service_target(),
    )  # fmt: skip


def _places(record: Record, paths: Paths, config: Config) -> list[str]:
    """Return the paths that must be mounted before the start: those that the launch needs, and the sources of bind mounts."""
    definition, root = record.definition, (config.get("root") or {}).get("path")
    given = (root, definition.runtime_root, definition.log_path, definition.conmon_pidfile)
    found = [paths.state, definition.bundle, *sorted(mount_sources(config)), *filter(None, given)]
    plain = list(map(os.path.normpath, found))
    # systemd also waits for the mounts of the parents of a path.
    return [path for path in dict.fromkeys(plain) if not any(other.startswith(f"{path}/") for other in plain)]


def mount_sources(config: Config) -> set[str]:
    """Return the sources of the bind mounts of a config."""
    mounts = [mount for mount in config.get("mounts") or [] if str(mount.get("source") or "").startswith("/")]
    return {each["source"] for each in mounts if {"bind", "rbind"} & {each.get("type"), *(each.get("options") or ())}}


def start_seconds(record: Record, timeouts: Timeouts) -> float:
    """Return the timeout of systemd for a start, until the container is ready."""
    ready = sd_notify.ready_seconds(timeouts) if record.definition.sdnotify == "container" else 0
    network = ROUTE_SECONDS if record.definition.network_helper is NetworkHelper.PASTA else 0
    return timeouts.create + ready + network


def script_text(record: Record, paths: Paths, joins: t.Mapping[str, str] | None = None, *, terminal: bool) -> str:
    definition = record.definition
    passthrough = record.log_path if definition.log_driver is LogDriver.PASSTHROUGH else None
    settings = clean_environment(**definition.conmon_env)
    runtime = [record.runtime.path, *global_arguments(record, paths.runtime_log)]
    grace, notifies = record.stop_timeout, definition.sdnotify == "container"
    pidfile = shlex.quote(definition.conmon_pidfile or paths.conmon_pidfile)
    words = {
        "name": record.name, "id": record.runtime_id, "run": paths.run, "persist": paths.persist, "bundle": paths.bundle,
        "exits": paths.exits, "state": paths.state, "owner": paths.owner, "runtime_root": record.runtime_root,
        "runtime_state": f"{record.runtime_root}/{record.runtime_id}", "runtime_log": paths.runtime_log,
        "alive": f"{paths.run}/alive", "room": f"{paths.run}/room", "failed": failed_mark(paths), "output": passthrough or paths.conmon_log,
        "signal": str(record.stop_signal if grace > 0 else 9), "grace": f"{grace:g}",
    }  # fmt: skip
    places = (paths.run, paths.persist, words["runtime_state"])
    return _SCRIPT.format(
        mounts=_mounts(*places),
        **{name: shlex.quote(word) for name, word in words.items()},
        environment="\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
        runtime=shlex.join(runtime), conmon=_conmon(record, paths, terminal=terminal),
        umask=UMASK, overlay=_MOUNT.format(*map(shlex.quote, record.overlay)) if record.overlay else ":",
        notify=f"mkdir -m 755 {shlex.quote(paths.notify)}" if notifies else ":",
        main=f'NOTIFY_SOCKET=$manager systemd-notify {"" if notifies else "--ready "}"MAINPID=$(cat {pidfile})" || exit; ',
        resume=f"runtime resume {shlex.quote(record.runtime_id)} 2>/dev/null",
        **_network(record, paths),
        **{"config_file": f"ln -s {shlex.quote(paths.config)} {shlex.quote(paths.bundle)}/config.json", **(joins or _ALONE)},
    )  # fmt: skip


def failed_mark(paths: Paths) -> str:
    """Return the file with which the script reports that the last start has failed."""
    return f"{paths.run}/start-failed"


def _mounts(*places: str) -> str:
    """Return a shell pattern for mount points (with a slash) at or below these directories.

    Nothing is removed through a mount: a killed restore leaves the root file system of the container mounted there.
    """
    texts = [re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", os.path.realpath(place)) for place in places]
    return " | ".join(f"{shlex.quote(text + '/')}*" for text in texts)


def namespaces_of(store: Store, record: Record, config: Config) -> tuple[t.Mapping[str, str], str]:
    """Return the parts of script and unit for namespaces of other containers."""
    directory = store.paths(record.name).namespaces
    if not any(path.startswith(f"{directory}/") for path in namespaces.namespaces_of(config).values()):
        return _ALONE, ""
    from .._container import joined_namespaces
    from . import joined_script

    found = joined_namespaces.peers(config, store.paths(record.name))
    return joined_script.script(store, record, found), joined_script.bound(store, found)


def overlay_at(root: str) -> tuple[str, str] | None:
    """Return a root file system that is an overlay now, and its mount options: the service mounts it after a reboot."""
    found = overlay.overlay_at(os.path.realpath(root), mountinfo.read())
    kept = [option for option in found.options if option.partition("=")[0] in _OVERLAY] if found else []
    # Relative paths mean nothing any more where the script runs.
    absolute = sum(option.startswith(("lowerdir=/", "upperdir=/", "workdir=/")) for option in kept) == 3
    return (root, ",".join(kept)) if absolute else None


def _network(record: Record, paths: Paths) -> dict[str, str]:
    """Return the parts of the script for a network helper."""
    if record.definition.network_helper is NetworkHelper.NONE:
        return dict.fromkeys(("network", "before", "connect"), "")
    from .._ports.network_helper import script

    return script(record, paths, ROUTE_SECONDS)


def _conmon(record: Record, paths: Paths, *, terminal: bool) -> str:
    """Return its command line, with the socket of systemd instead of Longshore's, because no task waits for the message."""
    argv = create_argv(record, paths, terminal=terminal)
    return " ".join('"$manager"' if word == paths.ready_socket else shlex.quote(word) for word in argv)
