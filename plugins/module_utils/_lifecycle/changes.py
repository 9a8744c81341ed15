# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a container was made of with what it is to be made of. Only files are read."""

from __future__ import annotations

import enum
import os
import typing as t

from .._base import mountinfo
from .._base.files import read_json
from .._config import config, config_differences
from .._runtime.drivers import driver_of
from .._state.model import SECRETS, CgroupManager, Definition, Desired, Record
from .._state.store import Store

Differences = dict[str, tuple[t.Any, t.Any]]

_PATHS = ("bundle", "runtime", "runtime_root", "conmon", "log_path", "conmon_pidfile")


def compare(
    store: Store, desired: Desired, wanted: Definition, record: Record
) -> tuple[Differences, Differences, list[str]]:
    """Return the differences that need a new container, those of the stop settings, which need none, and what of the host is
    different since the container was created: it has that when it is created again."""
    if _is_same_path(wanted.bundle, record.definition.bundle):
        # Another spelling of the same directory. The paths in the saved config have the recorded one.
        wanted = wanted._replace(bundle=record.definition.bundle)
    manager = record.cgroup_manager if wanted.cgroup_manager is CgroupManager.AUTO else wanted.cgroup_manager
    saved = store.load_config(desired.name)
    if saved is None and desired.definition is None:
        return {}, {}, []  # The record is of a create that was interrupted.
    source = saved or {} if desired.definition is None else config.read_bundle(wanted.bundle)
    paths = store.paths(desired.name)
    effective = config.effective(source, record.replace(definition=wanted, cgroup_manager=manager), paths)
    if config.DEVICES in (effective.get("annotations") or {}):
        from .._runtime import device_numbers

        # A service has looked for its devices at its last start.
        saved, effective = (
            read_json(f"{paths.bundle}/config.json") or saved,
            device_numbers.resolved(effective, strict=False),
        )
    if saved and _is_same_path(saved["root"]["path"], effective["root"]["path"]):
        effective["root"] = {**effective["root"], "path": saved["root"]["path"]}
    changes = definition_changes(wanted, record)
    since = driver_of(record.runtime.name).recursive_mounts
    if not since:
        from .._config import recursive_mounts

        effective = recursive_mounts.fitted(effective, since)
    pair = [config.without_stop_contract(each) for each in (saved or {}, effective)]
    found = config_differences.differences({"config": pair[0]}, {"config": pair[1]})
    older: list[str] = []
    if found:
        from . import host_facts

        found, older = host_facts.split(pair[0], pair[1], found)
    changes.update(found)
    if saved and record.init:
        older = [*older, *_replaced(saved, record.init.pid)]
    number, seconds = config.stop_settings(desired, source, record)
    settings = {"stop_signal": (record.stop_signal, number), "stop_timeout": (record.stop_timeout, seconds)}
    return changes, {name: pair for name, pair in settings.items() if pair[0] != pair[1]}, older


def _replaced(saved: config.Config, pid: int) -> list[str]:
    """Return the mounts whose source was replaced since the container with this first process was created."""
    binds = [mount for mount in saved.get("mounts") or [] if "bind" in str(mount)]
    try:
        inside = mountinfo.read(f"/proc/{pid}/mountinfo") if binds else []
    except OSError:  # It has just ended. The table of a zombie cannot be read (EINVAL).
        return []
    if not inside:
        return []
    here = mountinfo.read()
    if _is_mounted_as_before(binds, inside, here):
        return []
    from .replaced_mounts import replaced

    return [f"the source of {place}" for place in replaced(saved, inside, here)]


def _is_mounted_as_before(
    binds: t.Sequence[dict[str, t.Any]], inside: t.Sequence[mountinfo.Mount], here: t.Sequence[mountinfo.Mount]
) -> bool:
    """Tell by a glance whether the source of each bind mount is the same. Others need a closer look: those below a mount of the host,
    or with more links in a path."""
    found = {(each.device, each.root, each.place) for each in inside}
    device = [each.device for each in here if each.place == "/"][-1:]
    below = tuple({f"{each.place.rstrip('/')}/" for each in here} - {"/"})
    for mount in binds:
        source = str(mount.get("source"))
        if not f"{source}/".startswith(below) and os.path.islink(source):
            source = os.path.normpath(os.path.join(os.path.dirname(source), os.readlink(source)))
        if f"{source}/".startswith(below) or (*device, source, mount.get("destination")) not in found:
            return False
    return True


def definition_changes(definition: Definition, record: Record) -> dict[str, tuple[t.Any, t.Any]]:
    """Return the options of a launch that differ from the record's.

    ``auto`` (or nothing) for a program or manager accepts the one that was taken, and so does its name. Two spellings of a path,
    such as ``/srv/web/`` or a symbolic link, are the same path.
    """
    taken = {
        "runtime": ("auto", record.runtime.path.rpartition("/")[2], record.runtime.path),
        "conmon": (None, record.conmon.path),
        "cgroup_manager": (CgroupManager.AUTO, record.cgroup_manager),
        "runtime_root": (record.runtime_root,),
        "log_path": (record.log_path,),
    }
    changes = {}
    for name, new in definition._asdict().items():
        old = getattr(record.definition, name)
        known = (old, *taken.get(name, ()))
        if new not in known and not (name in _PATHS and any(_is_same_path(new, each) for each in known)):
            hidden = name in SECRETS
            changes[f"launch.{name}"] = ("(hidden)", "(hidden, new)") if hidden else (_plain(old), _plain(new))
    return changes


def _is_same_path(one: str | None, other: str | None) -> bool:
    both = [os.path.realpath(path) for path in (one, other) if path and path.startswith("/")]
    return len(both) == 2 and both[0] == both[1]


def _plain(value: t.Any) -> t.Any:
    return value.value if isinstance(value, enum.Enum) else list(value) if isinstance(value, tuple) else value
