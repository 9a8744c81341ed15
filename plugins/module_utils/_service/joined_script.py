# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write how the script and the unit of a service share the namespaces of other containers."""

from __future__ import annotations

import shlex
import typing as t

from .._config.namespace_paths import KINDS
from .._state import names
from .._state.model import Record
from .._state.store import Store

_FIRST_DESCRIPTOR = 4  # of the script; it has 3 and 9
_SCRIPT = """\
# Who has the number in a pid file, and since when, if that is in the scope of the container.
first() {{
    pid=$(cat "$1" 2>/dev/null) && case $pid in ''|*[!0-9]*) false ;; esac || return 1
    case $(sed 's|$|/|' "/proc/$pid/cgroup" 2>/dev/null) in *"/$2/"*) ;; *) return 1 ;; esac
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    set -- ${{stat##*) }}
    case $1 in Z|X) return 1 ;; esac
    shift 19
    echo "$pid $1"
}}
refuse() {{ echo "$1" >&2; exit 1; }}
# Arguments: kind, its file in /proc, container, pid file, scope, descriptor. Who is the same before and after was so meanwhile.
share() {{
    seen=$(first "$4" "$5") && [ -e "/proc/${{seen% *}}/ns/$2" ] && eval "exec $6<\\"/proc/${{seen% *}}/ns/$2\\"" &&
        [ "$(first "$4" "$5")" = "$seen" ] || refuse "The container $3, whose $1 namespace {name} shares, does not run."
    mkdir -p {namespaces}/"$1" && ln -s "/proc/$$/fd/$6" {namespaces}/"$1/$3" || exit
}}
# The first process is where it should be; of one that only root may look into before it is started, nothing is known.
shared() {{
    case $(readlink "/proc/$pid/ns/$2") in
    ''|"$(readlink "/proc/$$/fd/$6")") ln -sfn "/proc/$pid/ns/$2" {namespaces}/"$1/$3" ;;
    *) refuse "The container is not in the $1 namespace of $3." ;;
    esac
}}
"""
_PID = "pid=${report#*: } && pid=${pid%%[!0-9]*} && "


def script(store: Store, record: Record, found: t.Mapping[str, str]) -> dict[str, str]:
    """Of the script of a service: functions, what comes before conmon, what conmon does not get, and what comes before
    the start."""
    words = []
    for number, (kind, peer) in enumerate(found.items(), _FIRST_DESCRIPTOR):
        other = store.load(peer)
        scope = names.container_unit(peer, other.realm if other else store.realm)
        words.append(shlex.join([kind, KINDS[kind], peer, store.paths(peer).pidfile, scope, str(number)]))
    closed = " ".join(f"{number}<&-" for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + len(words)))
    paths = store.paths(record.name)
    return {
        "functions": _SCRIPT.format(name=shlex.quote(record.name), namespaces=shlex.quote(paths.namespaces)),
        "share": "".join(f"share {each}\n    " for each in words), "closed": f" {closed}",
        "shared": f"exec {closed}; {_PID}" + "".join(f"shared {each} && " for each in words),
    }  # fmt: skip


def bound(store: Store, found: t.Mapping[str, str]) -> str:
    """Lines of the unit of a service: it lives with the services whose namespaces it shares."""
    text = ""
    for other in filter(None, map(store.load, sorted(set(found.values())))):
        unit = names.service_unit(other.name, other.realm)
        # One that is started again by systemd restarts this one with it. BindsTo would stop it for good (since systemd 254).
        binds = "BindsTo" if other.definition.restart_policy == "no" else "Requires"
        text += f"{binds}={unit}\nAfter={unit}\n" if other.definition.service else ""
    return text
