# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the restore of a container: its config on this host, its files, and its launch."""

from __future__ import annotations

import os
import typing as t

from .._archive import archive, default_config, rights, rootfs_diff, typed_documents
from .._base.errors import InvalidInput
from .._base.files import make_directory, read_text, write_text
from .._container.create import Launch, prepare
from .._host.detect import Host
from .._runtime import criu
from .._state import config
from .._state.model import Checkpoint, Definition, Desired, Program, Record, Timeouts
from .._state.namespaces import PEER
from .._state.store import Store
from .._trust.annotations import from_outside
from .checkpoint_store import MANAGER, Stored

# The files that podman mounts from its own directories, and whether each is a directory. A container from podman gets them
# from the state directory.
_PODMAN_MOUNTS = {
    "/dev/shm": True, "/run/secrets": True, "/etc/hosts": False, "/etc/hostname": False, "/etc/resolv.conf": False,
    "/run/.containerenv": False,
}  # fmt: skip
# The used fields of the definition of a container in an archive.
_TAKEN_OVER = ("log_size_max", "sdnotify", "stdin")


class Wanted(t.NamedTuple):
    """The changes for the restored container. ``name`` None: the same name. ``trust_config``: use the config in the archive."""

    name: str | None = None
    overrides: t.Mapping[str, t.Any] = {}  # fields of a Definition
    trust_config: bool = False


def options_of(manifest: t.Mapping[str, t.Any]) -> criu.Options:
    """Return the options of the dump, without fields that this release does not know."""
    asked = manifest.get("options") or {}
    return criu.Options(**{name: asked[name] for name in criu.Options._fields if name in asked})


def left_out(source: Stored, wanted: Wanted) -> list[str]:
    """Return a warning about options of the container that this host does not take from an archive."""
    names = [name for name in source.manifest.get("left_out") or [] if name not in wanted.overrides]
    text = f"{', '.join(names)} of the container in the archive: ignored. Set these options in the task for this host."
    return [text] if names else []


def prepare_restore(
    store: Store, host: Host, name: str, wanted: Wanted, source: Stored, recorded: Record | None, options: criu.Options
) -> Launch:  # fmt: skip
    """Return a launch from a checkpoint. Raises InvalidInput for all detectable problems.

    ``source.path`` is the directory where it will be unpacked, or empty before that decision.
    """
    manifest = source.manifest
    known = None if recorded is None or recorded.phase == "creating" else recorded
    definition = _definition(wanted, source, known)
    spec = _config(store, name, source, definition, known, wanted)
    stop = Timeouts(stop=manifest.get("stop_timeout"))
    desired = Desired(
        name, definition=None if known else definition, stop_signal=manifest.get("stop_signal"), timeouts=stop
    )
    launch = prepare(store, host, desired, definition, known, spec)
    if source.is_foreign and not wanted.trust_config:
        launch = launch._replace(config=_agreed(source.spec, launch.config))
    _check_same(launch.record.runtime, manifest)
    criu.check_options("restore", options, launch.record.runtime)
    if launch.record.runtime.name in ("crun", "runc"):
        reason = criu.why_not(criu.find(), launch.record.runtime)
        if reason:
            raise InvalidInput(f"The container {name} cannot be restored on this host: {reason}.")
    asked = options_of(manifest)
    if source.is_foreign and asked.manage_cgroups_mode in ("full", "strict") and options.manage_cgroups_mode is None:
        raise InvalidInput(
            f"The archive asks for manage_cgroups_mode: {asked.manage_cgroups_mode}, which changes cgroups of the host.",
            hint="Set the option manage_cgroups_mode.",
        )
    moved = source.spec.get("linux", {}).get("cgroupsPath") != launch.config["linux"]["cgroupsPath"]
    if asked.manage_cgroups_mode == "ignore" and launch.record.runtime.name == "crun" and moved:
        # crun (restore.c, all versions so far) parses the option, and then resets it.
        raise InvalidInput(
            f"{source.manifest['name']} was checkpointed with manage_cgroups_mode: ignore. crun always changes cgroups "
            "in a restore, so it can restore the container only under the same name and cgroup_parent."
        )
    words = tuple(criu.words("restore", asked.at_restore(options)))
    return launch.restoring(Checkpoint(source.path, words), manifest.get("started_at"))


def _definition(wanted: Wanted, source: Stored, known: Record | None) -> Definition:
    """Return the recorded definition, otherwise that of the checkpoint, with the options of the task.

    From an archive come only fields that are neither commands nor paths of this host.
    """
    manifest = source.manifest
    was = manifest.get("definition") or {}
    if known is not None:
        base = known.definition
    elif source.is_foreign:
        if "bundle" not in wanted.overrides:
            raise InvalidInput(
                "The container in the archive needs a bundle on this host.",
                hint="Set bundle to a directory with a config.json, or to one with the root file system in rootfs."
                + (f" It was {was['bundle'][:200]} on the host of the archive." if was.get("bundle") else ""),
            )
        base = Definition(bundle=wanted.overrides["bundle"], **{name: was[name] for name in _TAKEN_OVER if name in was})
        if was.get("log_driver") in ("none", "journald"):
            base = base._replace(log_driver=was["log_driver"], log_size_max=None)
    else:
        base = Definition.from_json(was)
        # These belong to the other container.
        base = base._replace(log_path=None, conmon_pidfile=None, runtime_root=None, conmon=None)
        base = base._replace(service=False, restart_policy="no")
    # The images belong to this runtime, even if this host prefers another one.
    runtime = (manifest.get("runtime") or {}).get("name")
    if source.is_foreign and runtime not in ("crun", "runc"):
        runtime = None
    if base.runtime == "auto" or ("runtime" not in wanted.overrides and base.runtime.startswith("/")):
        base = base._replace(runtime=(known.runtime.path if known else runtime) or "auto")
    return base._replace(**wanted.overrides)


def _check_same(runtime: Program, manifest: t.Mapping[str, t.Any]) -> None:
    dumped = (manifest.get("runtime") or {}).get("name")
    if dumped in ("crun", "runc") and runtime.name in ("crun", "runc") and dumped != runtime.name:
        raise InvalidInput(f"The checkpoint was created with {dumped}, so {runtime.name} cannot restore it.")


def _config(
    store: Store, name: str, source: Stored, definition: Definition, known: Record | None, wanted: Wanted
) -> dict[str, t.Any]:  # fmt: skip
    """Return the config for the restore: that of this host for a container from an archive, otherwise its former one."""
    given = "bundle" in wanted.overrides
    if not source.is_foreign or wanted.trust_config:
        return _localise(store, name, source, definition, bundle_given=given)
    if not definition.bundle.startswith("/"):
        raise InvalidInput(f"The bundle {definition.bundle} must be given as an absolute path.")
    saved = store.load_config(name) if known and not given else None
    if saved or os.path.exists(f"{definition.bundle}/config.json"):
        return saved or config.read_bundle(definition.bundle)

    def generated(mount: t.Mapping[str, t.Any]) -> bool:
        return _is_podmans(mount) and not source.manifest.get("definition")

    within = default_config.within(source.spec, f"{definition.bundle}/rootfs", generated=generated)
    kept = from_outside(source.spec.get("annotations"))
    mounts = [_mount(store, name, mount, from_podman=True) for mount in within["mounts"]]
    return {**within, "mounts": mounts, "annotations": kept}


def _agreed(asked: dict[str, t.Any], here: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the config of this host, with additional limits of the checkpoint. Raises InvalidInput if the checkpoint has more
    rights, or does not fit."""
    more = rights.excess(asked, here)
    if more:
        raise InvalidInput(
            f"The checkpoint asks for more than the bundle allows: {rights.named(more)}.",
            hint="To allow it, change the config.json of the bundle.",
        )
    other = rights.differences(asked, here)
    if other:
        raise InvalidInput(
            f"The checkpoint does not fit the bundle: {rights.named(other)}.",
            hint="The bundle must have the same mounts and namespaces as the original bundle of the container.",
        )
    linux = dict(here["linux"])
    for name in ("maskedPaths", "readonlyPaths"):  # CRIU needs them, because they are mounts.
        paths = (asked.get("linux") or {}).get(name) or []
        linux[name] = list(
            dict.fromkeys([*(linux.get(name) or []), *(p for p in paths if p.startswith("/") and ".." not in p)])
        )
    readonly = bool(here["root"].get("readonly") or asked["root"].get("readonly"))
    return {**here, "root": {**here["root"], "readonly": readonly}, "linux": linux}


def _localise(
    store: Store, name: str, source: Stored, definition: Definition, *, bundle_given: bool
) -> dict[str, t.Any]:  # fmt: skip
    """Return the config of the checkpoint, with the root file system and the mount sources of this host."""
    spec = dict(source.spec)
    if not isinstance(spec.get("root"), dict) or not isinstance(spec.get("process"), dict):
        raise InvalidInput("The checkpoint contains no valid config of a container (spec.dump).")
    if source.is_foreign:
        spec["annotations"] = from_outside(spec.get("annotations"))
    elif source.manifest.get("annotated"):
        spec["annotations"] = {k: v for k, v in (spec.get("annotations") or {}).items() if k != MANAGER}
    if bundle_given:
        root = f"{definition.bundle}/rootfs"
        if os.path.exists(f"{definition.bundle}/config.json"):
            root = config.read_bundle(definition.bundle)["root"]["path"]
        elif not definition.bundle.startswith("/"):
            raise InvalidInput(f"The bundle {definition.bundle} must be given as an absolute path.")
        spec["root"] = {**spec["root"], "path": root}
    from_podman = not source.manifest.get("definition")
    spec["mounts"] = [_mount(store, name, mount, from_podman=from_podman) for mount in spec.get("mounts") or []]
    for namespace in (spec.get("linux") or {}).get("namespaces") or []:
        path = namespace.get("path")
        if path and not path.startswith(PEER) and not os.path.exists(path):
            raise InvalidInput(
                f"The container is in the {namespace.get('type')} namespace {path}, which does not exist on this host.",
                hint="Create it first. For a network namespace, use oci_network.",
            )
    return spec


def _mount(store: Store, name: str, mount: t.Mapping[str, t.Any], *, from_podman: bool) -> dict[str, t.Any]:
    where, source = str(mount.get("destination")), str(mount.get("source") or "")
    if not rights.is_bind(mount) or where == config.NOTIFY_DIRECTORY:
        return dict(mount)
    if from_podman and _is_podmans(mount):
        return {**mount, "source": f"{store.paths(name).state}/mounts{where}"}
    if os.path.exists(source):
        return dict(mount)
    raise InvalidInput(
        f"The container has {source} mounted at {where}, which does not exist on this host.",
        hint="Create it with the content that the container expects.",
    )


def _is_podmans(mount: t.Mapping[str, t.Any]) -> bool:
    return mount.get("destination") in _PODMAN_MOUNTS and "/userdata/" in str(mount.get("source"))


def lay_out(store: Store, name: str, launch: Launch, source: Stored, *, with_log: bool) -> None:
    """Create the files of the restored container from the unpacked checkpoint."""
    state = store.paths(name).state
    for mount in launch.config.get("mounts") or []:
        where, path = str(mount.get("destination")), str(mount.get("source"))
        if where in _PODMAN_MOUNTS and path == f"{state}/mounts{where}":
            make_directory(path if _PODMAN_MOUNTS[where] else os.path.dirname(path), mode=0o755)
            if not _PODMAN_MOUNTS[where] and not os.path.exists(path):
                text = read_text(where) if where in ("/etc/hosts", "/etc/resolv.conf") else ""
                write_text(path, text or "", mode=0o644)
            elif where == "/dev/shm" and os.path.exists(f"{source.path}/devshm-checkpoint.tar"):
                rootfs_diff.apply(path, f"{source.path}/devshm-checkpoint.tar", None)
                os.chmod(path, 0o1777)
    root = launch.config["root"]["path"]
    deleted = _deleted(source)
    # If the manifest does not mention it, it is incomplete data of a killed task.
    packed = source.manifest.get("rootfs") and os.path.exists(f"{source.path}/rootfs-diff.tar")
    deleted = deleted if source.manifest.get("rootfs") else []
    if packed:
        rootfs_diff.apply(
            root, f"{source.path}/rootfs-diff.tar", None if source.manifest.get("rootfs") == "complete" else deleted
        )
    elif deleted:
        rootfs_diff.apply(root, None, deleted)
    log = launch.record.log_path
    if with_log and log and not os.path.exists(log) and os.path.exists(f"{source.path}/ctr.log"):
        os.replace(f"{source.path}/ctr.log", log)


def _deleted(source: Stored) -> list[str]:
    """Return the names of deleted files from podman or Longshore."""
    path = f"{source.path}/deleted.files"
    return typed_documents.deleted_files(archive.read(path), source.path) if os.path.exists(path) else []
