# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the restore of a container: its definition, and its launch."""

from __future__ import annotations

import typing as t

from .._archive.layout import MANIFEST
from .._archive.manifest import Manifest
from .._archive.typed_documents import damaged_checkpoint
from .._base.errors import InvalidOption, MissingPrerequisite
from .._container.create import Launch, prepare
from .._criu import criu
from .._criu.criu_support import SUPPORT
from .._host.detect import Host
from .._lifecycle.owners import owner_of
from .._state.model import Checkpoint, Definition, Desired, LogDriver, Program, Record, Timeouts
from .._state.phase import Phase
from .._state.store import Store
from .checkpoint_store import Stored
from .restore_config import agreed, restore_config

# The used fields of the definition of a container in an archive.
_TAKEN_OVER = ("log_size_max", "sdnotify", "stdin")


class Wanted(t.NamedTuple):
    """The changes for the restored container. ``name`` None: the same name. ``trust_config``: use the config in the archive."""

    name: str | None = None
    overrides: t.Mapping[str, t.Any] = {}  # fields of a Definition
    trust_config: bool = False


def left_out(source: Stored, wanted: Wanted) -> list[str]:
    """Return a warning about options of the container that this host does not take from an archive."""
    names = [name for name in source.manifest.left_out if name not in wanted.overrides]
    text = f"{', '.join(names)} of the container in the archive: ignored. Set these options in the task for this host."
    return [text] if names else []


def prepare_restore(
    store: Store, host: Host, name: str, wanted: Wanted, source: Stored, recorded: Record | None, options: criu.Options
) -> Launch:  # fmt: skip
    """Return a launch from a checkpoint. Raises InvalidOption, MissingPrerequisite or WrongState for all detectable
    problems.

    ``source.path`` is the directory where it will be unpacked, or empty before that decision.
    """
    manifest = source.manifest
    known = None if recorded is None or recorded.phase is Phase.CREATING else recorded
    definition = definition_of(wanted, source, known)
    spec = restore_config(
        store, name, source, definition, known, bundle_given="bundle" in wanted.overrides, trusted=wanted.trust_config
    )  # fmt: skip
    stop = Timeouts(stop=manifest.stop_timeout)
    desired = Desired(name, definition=None if known else definition, stop_signal=manifest.stop_signal, timeouts=stop)
    launch = prepare(store, host, desired, definition, known, spec)
    owner_of(definition).check(store, launch)
    if source.is_foreign and not wanted.trust_config:
        launch = launch._replace(config=agreed(source.spec, launch.config))
    check_runtime(launch.record.runtime, manifest)
    criu.check_options("restore", options, launch.record.runtime)
    support = SUPPORT.get(launch.record.runtime.name)
    if support is not None:
        reason = criu.why_not(criu.find(), launch.record.runtime)
        if reason:
            raise MissingPrerequisite(f"The container {name} cannot be restored on this host: {reason}.")
    cgroups = source.spec.get("linux", {}).get("cgroupsPath"), launch.config["linux"]["cgroupsPath"]
    check_cgroups(manifest, options, launch.record.runtime, moved=cgroups[0] != cgroups[1])
    words = tuple(criu.words("restore", manifest.options.at_restore(options)))
    return launch.restoring(Checkpoint(source.path, words), manifest.started_at)


def check_runtime(runtime: Program, manifest: Manifest) -> None:
    """Refuse to restore with one of crun and runc what was dumped with the other. Pure."""
    if manifest.runtime_name in SUPPORT and runtime.name in SUPPORT and manifest.runtime_name != runtime.name:
        made_with = f"The checkpoint was created with {manifest.runtime_name}"
        raise InvalidOption(f"{made_with}, so {runtime.name} cannot restore it.")


def check_cgroups(manifest: Manifest, options: criu.Options, runtime: Program, *, moved: bool) -> None:
    """Refuse a way to restore cgroups that an archive must not choose, or that crun does not do. ``moved``: the container gets
    another cgroup than it had. Pure."""
    mode, support = manifest.options.manage_cgroups_mode, SUPPORT.get(runtime.name)
    if manifest.from_archive and mode in ("full", "strict") and options.manage_cgroups_mode is None:
        message = f"The archive asks for manage_cgroups_mode: {mode}, which changes cgroups of the host."
        raise InvalidOption(message, hint="Set the option manage_cgroups_mode.")
    if mode == "ignore" and support is not None and support.resets_cgroups and moved:
        # The runtime parses the option, and then resets it.
        raise InvalidOption(
            f"{manifest.name} was checkpointed with manage_cgroups_mode: ignore. {runtime.name} always changes cgroups "
            "in a restore, so it can restore the container only under the same name and cgroup_parent."
        )


def definition_of(wanted: Wanted, source: Stored, known: Record | None) -> Definition:
    """Return the recorded definition, otherwise that of the checkpoint, with the options of the task.

    From an archive come only fields that are neither commands nor paths of this host.
    """
    manifest = source.manifest
    was = manifest.definition or Definition("")
    if known is not None:
        base = known.definition
    elif source.is_foreign:
        if "bundle" not in wanted.overrides:
            raise InvalidOption(
                "The container in the archive needs a bundle on this host.",
                hint="Set bundle to a directory with a config.json, or to one with the root file system in rootfs."
                + (f" It was {was.bundle[:200]} on the host of the archive." if was.bundle else ""),
            )
        base = Definition(wanted.overrides["bundle"], **{name: getattr(was, name) for name in _TAKEN_OVER})
        if was.log_driver in (LogDriver.NONE, LogDriver.JOURNALD):
            base = base._replace(log_driver=was.log_driver, log_size_max=None)
    else:
        if not was.bundle:
            raise damaged_checkpoint(source.path)(f"{MANIFEST} has no definition with a bundle")
        # These belong to the other container.
        base = was._replace(log_path=None, conmon_pidfile=None, runtime_root=None, conmon=None)
        base = base._replace(service=False, restart_policy="no")
    # The images belong to this runtime, even if this host prefers another one.
    runtime = manifest.runtime_name if source.is_foreign else manifest.runtime.name
    if base.runtime == "auto" or ("runtime" not in wanted.overrides and base.runtime.startswith("/")):
        base = base._replace(runtime=(known.runtime.path if known else runtime) or "auto")
    return base._replace(**wanted.overrides)
