# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a container: check everything first without changes, then launch it. A launch that failed leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import Conflict, InvalidOption, LongshoreError
from .._base.files import check_text, make_directory, read_text, remove_tree, write_text
from .._base.process import boot_id, identify
from .._base.versions import numbers
from .._config import config
from .._config.namespaces import namespaces_of
from .._conmon import conmon, conmon_launch
from .._conmon.create_command import check_options, create_argv
from .._host import cgroup
from .._host.detect import Host
from .._host.selinux_state import has_labels
from .._runtime.drivers import DRIVERS, driver_of
from .._runtime.runtime import Runtime
from .._state import names
from .._state.model import CgroupManager, Checkpoint, Definition, Desired, LogDriver, NetworkHelper, Record, Timeouts
from .._state.phase import Phase
from .._state.store import Paths, Store
from .._state.timestamps import timestamp

if t.TYPE_CHECKING:
    from .._ports.network_helper import Helper

# Rarely used options, and their defaults.
_SELDOM = ("runtime_root", "log_path", "conmon_pidfile", "exit_command", "log_tag", "log_size_max", "exit_delay")
_NOT_GIVEN = (None, ())


class Launch(t.NamedTuple):
    """A checked container: its first record and its effective config."""

    record: Record
    config: config.Config

    @property
    def is_plain(self) -> bool:
        """Whether conmon needs nothing but its command line (see launch_context). Most containers are plain."""
        wanted, maps_users = self.record.definition, os.geteuid() == 0 and "user" in namespaces_of(self.config)
        read_only = self.record.checkpoint and self.config["root"].get("readonly")
        return not (wanted.reserve_ports or wanted.listen or maps_users or read_only)

    def restoring(self, checkpoint: Checkpoint | None, started: str | None) -> Launch:
        """Return the same launch from a checkpoint. Raises InvalidOption or MissingPrerequisite for one that cannot be restored."""
        from .restored_limits import check_possible

        check_possible(self.config)
        record = self.record.replace(phase=Phase.RESTORING, checkpoint=checkpoint, started_at=started)
        return self._replace(record=record)


def prepare(
    store: Store, host: Host, desired: Desired, definition: Definition, recorded: Record | None,
    source: config.Config | None = None,
) -> Launch:  # fmt: skip
    """Return the launch. Raises InvalidOption, MissingPrerequisite, WrongState or Conflict before anything is changed.

    Without a bundle in ``desired``, recreate the recorded container from its former config. ``source`` overrides the config.
    """
    paths = store.paths(desired.name)
    _check_texts(definition, paths)
    saved = store.load_config(desired.name) if definition is not desired.definition else None
    restored, source = source is not None, source or saved or config.read_bundle(definition.bundle)
    if not os.path.isdir(source["root"]["path"]):
        raise InvalidOption(f"The root file system {source['root']['path']} does not exist any more.")
    config.check_root(source)
    manager = host.cgroup_manager(definition.cgroup_manager)
    _check_parent(definition.cgroup_parent, manager)
    usual = definition._replace(runtime="auto", cgroup_manager=CgroupManager.AUTO, cgroup_parent=None)
    if usual != Definition(definition.bundle):
        from .._state import launch_options

        launch_options.check(definition, paths, terminal=bool(source["process"].get("terminal")))
    before = None
    if source.get("hooks") or any(getattr(definition, name) not in _NOT_GIVEN for name in _SELDOM):
        from .._state import given_paths

        given_paths.check(definition, source.get("hooks"))
        before = given_paths.former_pidfile(definition.conmon_pidfile or "", recorded)
    runtime, monitor = host.runtime(definition.runtime), host.conmon(definition.conmon)
    check_options(definition, monitor.version)
    if definition.network_helper is not NetworkHelper.NONE or definition.publish or definition.network_options:
        from .._ports import network_helper

        network_helper.check(definition, source, paths, recorded)
    signal_number, stop_timeout = config.stop_settings(desired, source, recorded)
    record = Record(
        name=desired.name, phase=Phase.CREATING, definition=definition, config_digest="", runtime=runtime,
        runtime_root=definition.runtime_root or f"{store.run_dir}/{runtime.name}", conmon=monitor, cgroup_manager=manager,
        boot=boot_id(), log_path=log_path(definition, paths), stop_signal=signal_number, stop_timeout=stop_timeout,
        realm=store.realm, pidfile_before=before,
    )  # fmt: skip
    _check_free(store, record, paths)
    launch = Launch(record, _effective(source, record, paths, restored=restored))
    _check_program(launch, restored=restored)
    _check_limits(launch)
    since = driver_of(runtime.name).recursive_mounts
    if not since or numbers(runtime.version) < since:
        from .._config import recursive_mounts

        recursive_mounts.check(launch.config, runtime.name, runtime.version, since)
        launch = launch._replace(config=recursive_mounts.fitted(launch.config, since))
    if any(namespaces_of(launch.config).values()):
        from . import joined_namespaces

        joined_namespaces.check(store, record, launch.config)
    if not launch.is_plain:
        from . import launch_context

        launch_context.check(store, record, launch.config, recorded)
    return launch


def _effective(source: config.Config, record: Record, paths: Paths, *, restored: bool) -> config.Config:
    """Return the config of a launch. A restored container has its devices, with the numbers that they had."""
    found = config.effective(source, record, paths)
    if restored or config.DEVICES not in (found.get("annotations") or {}):
        return found
    from .._runtime import device_numbers

    return device_numbers.resolved(found)


def log_path(definition: Definition, paths: Paths) -> str | None:
    return None if definition.log_driver in (LogDriver.NONE, LogDriver.JOURNALD) else definition.log_path or paths.log


def _check_texts(definition: Definition, paths: Paths) -> None:
    """Refuse control characters in parts of a unit, a script or a command line, except in arguments of the user."""
    names = ("bundle", "runtime", "runtime_root", "conmon", "cgroup_parent", "log_path", "log_tag", "conmon_pidfile")
    texts = [(name, getattr(definition, name) or "") for name in names]
    texts += [("state_dir", paths.state), ("run_dir", paths.run)]
    for name in ("runtime_args", "network_options"):
        texts += [(name, word) for word in getattr(definition, name)]
    for name, text in [*texts, ("exit_command", definition.exit_command[0] if definition.exit_command else "")]:
        check_text(name, text)
    # conmon (ctr_logging.c) takes the part before a colon in the path of a log for a driver, and drops what follows a second one.
    logs = [("log_path", log_path(definition, paths) or "")] if definition.log_driver is LogDriver.K8S_FILE else []
    for name, text in [("state_dir", paths.state), ("run_dir", paths.run), *logs]:
        if ":" in text:
            raise InvalidOption(
                f"{name} cannot have a colon, at which conmon and some runtimes split the path of a log: {text}."
            )


def _check_program(launch: Launch, *, restored: bool) -> None:
    """Refuse a program that no kernel can execute, and words that it does not pass to one. The container would count as started."""
    runtime, process = launch.record.runtime, launch.config["process"]
    if (
        len(process["args"][0] + str(process.get("cwd"))) > 1000 or len(str(process)) > 30000
    ):  # Most configs are far below any limit.
        from .._config import program_words

        program_words.check(process)
    # A hook may change the files, and another runtime may have a kernel of its own.
    if not restored and not launch.config.get("hooks") and runtime.name in DRIVERS:
        from .._config import program_file

        program_file.check(launch.config, runtime.path)


def _check_limits(launch: Launch) -> None:
    if launch.record.runtime.name in DRIVERS and set(launch.config["linux"].get("resources") or ()) - {"devices"}:
        from .._runtime import controllers

        controllers.check(launch.config, os.geteuid(), cgroup.controllers(os.geteuid()))


def _check_parent(parent: str | None, manager: CgroupManager) -> None:
    if parent is not None and not parent.startswith("/") and not parent.endswith(".slice"):
        raise InvalidOption(f"cgroup_parent must be an absolute path, not {parent!r}.")
    if parent is not None and (os.path.normpath(parent) != parent or (":" in parent and parent.endswith(".slice"))):
        raise InvalidOption(f"cgroup_parent must be a plain path, not {parent!r}.")
    if parent is not None and parent.endswith(".slice") != (manager is CgroupManager.SYSTEMD):
        wanted = "a slice, such as machine.slice" if manager is CgroupManager.SYSTEMD else "a path, such as /longshore"
        raise InvalidOption(f"With the cgroup manager {manager.value}, cgroup_parent must be {wanted}, not {parent!r}.")


def _check_free(store: Store, record: Record, paths: Paths) -> None:
    store.check_bundle(record.definition.bundle, record.name)
    runtime = Runtime(record, paths.runtime_log)
    bundle = runtime.bundle() if store.load(record.name) is None else None
    # Not recorded: from a lost record, or of another program.
    if bundle is not None and os.path.realpath(bundle) != os.path.realpath(paths.bundle):
        message = f"{record.runtime.name} already has a container {record.name} in {record.runtime_root}, which Longshore has not"
        raise Conflict(f"{message} created.", hint="Choose another name or runtime_root.")


def create(store: Store, launch: Launch, *, previous: Record | None, timeouts: Timeouts) -> tuple[Record, list[str]]:
    """Launch a container. Return the record and warnings. After a failure, nothing of it is left, and the former record is restored.

    With a checkpoint in the record, restore it. A failure does not change the checkpoint.
    """
    record, paths = launch.record, store.paths(launch.record.name)
    own = (names.container_cgroup(record), names.conmon_cgroup(record))
    if record.cgroup_manager is CgroupManager.SYSTEMD or any(map(cgroup.directories, own)):
        from .ownership import check_names

        check_names(record, previous)
    previous_config = read_text(paths.config)
    make_directory(paths.state)
    store.save(record)
    try:
        store.claim_bundle(record.definition.bundle, record.name)
        _lay_out(launch, paths)
        record, warnings = _launch(store, launch, paths, timeouts)
    except BaseException as exc:  # also after an interrupt, nothing may be left
        from .rollback import roll_back

        failure = roll_back(store, record, previous, previous_config, exc, timeouts)
        if failure is exc:
            raise
        raise failure from exc
    if previous is not None:
        store.release_bundle(previous.definition.bundle, record.name)
    return record, warnings


def _lay_out(launch: Launch, paths: Paths) -> None:
    """Create the directories for a launch. Remove the files of earlier runs first, because a stale exit file would be read.
    conmon creates no directory itself."""
    remove_tree(paths.run)
    remove_tree(paths.persist)
    for directory in (paths.bundle, paths.exits, paths.persist, launch.record.runtime_root):
        make_directory(directory)
    write_text(paths.runtime_log, "")  # The runtime would create it readable for others.
    os.symlink(paths.state, paths.owner)
    if launch.record.definition.sdnotify == "container":
        make_directory(paths.notify, mode=0o755)


def write_config(launch: Launch, paths: Paths) -> str:
    """Write the effective config and return its digest."""
    write_text(paths.config, json.dumps(launch.config))
    return config.digest(launch.config)


def _launch(store: Store, launch: Launch, paths: Paths, timeouts: Timeouts) -> tuple[Record, list[str]]:
    record, deadline, where = launch.record, Deadline(timeouts.create), cgroup.layout()
    warnings: list[str] = []

    def place(pid: int, what: str = "conmon") -> None:
        try:
            conmon.place(record, pid, deadline.at_most(10))
        except (LongshoreError, OSError) as exc:
            warnings.append(f"{what} of {record.name} stays in the cgroup of this task, and may end with it: {exc}")

    output = paths.conmon_log
    with contextlib.ExitStack() as around:
        joined = around.enter_context(_namespaces(store, launch, paths))
        helper = around.enter_context(_network_helper(record, paths, place))
        fds = [*(helper.preserved if helper else []), *around.enter_context(conmon_launch.room_for_exit(paths.exits))]
        if record.definition.log_driver is LogDriver.PASSTHROUGH and record.log_path:
            from .._conmon.log_pipe import log_pipe

            output = around.enter_context(log_pipe(record.log_path, lambda pid: place(pid, "The writer of the log")))
        argv, environment, preserve, noticed = around.enter_context(_launch_context(store, launch, paths, fds))
        warnings += noticed
        if record.checkpoint:
            from . import restored_limits

            around.enter_context(restored_limits.prepared(launch.config))
        with conmon_launch.launch(
            argv, directory=paths.bundle, output=output, environment=environment, place=place,
            spawn_directory=None if record.cgroup_manager is CgroupManager.SYSTEMD else cgroup.spawn_directory(names.conmon_cgroup(record), where),
            preserve=preserve,
        ) as pipes:  # fmt: skip
            # Prepare files for the runtime while conmon starts.
            record = record.replace(config_digest=write_config(launch, paths))
            if not os.path.exists(f"{paths.bundle}/config.json"):
                os.symlink(paths.config, f"{paths.bundle}/config.json")
            pipes["START"].go_on()
            if helper:
                helper.answer(pipes["SYNC"], deadline)
            pid = conmon_launch.read_pid(pipes["SYNC"], deadline)
            joined(pid)
            if helper:
                helper.connect(pid, deadline)
    monitor = conmon_launch.pid_of_monitor(record.definition.conmon_pidfile or paths.conmon_pidfile, pid)
    if record.checkpoint:
        restored_limits.check(record.name, pid, launch.config)
        restored_limits.release(monitor, launch.config)
    record = record.replace(
        phase=Phase.RUNNING if record.checkpoint else Phase.CREATED, pidfile_before=None, init=identify(pid),
        checkpoint=record.checkpoint if record.checkpoint and record.checkpoint.once else None,
        monitor=identify(monitor), cgroup_path=_own_cgroup(record, pid, where),
        conmon_cgroup_path=cgroup.path_of(monitor, where), created_at=timestamp(),
        helper=helper.process if helper else None,
    )  # fmt: skip
    return store.save(record), warnings


@contextlib.contextmanager
def _launch_context(
    store: Store, launch: Launch, paths: Paths, fds: list[int]
) -> t.Iterator[tuple[list[str], t.Mapping[str, str], t.Sequence[int], t.Sequence[str]]]:
    """Return how to start conmon (command line, environment, descriptors including ``fds``), and warnings."""
    record, terminal = launch.record, bool(launch.config["process"].get("terminal"))
    argv = create_argv(record, paths, terminal=terminal)
    with contextlib.ExitStack() as around:
        if has_labels():
            from .._host import selinux

            around.enter_context(selinux.for_conmon())
            if record.checkpoint:
                selinux.label_file(paths.bundle, launch.config)  # CRIU writes its log there
        if launch.is_plain:
            yield argv, record.definition.conmon_env, fds, ()
        else:
            from . import launch_context

            yield around.enter_context(launch_context.launch_context(store, record, launch.config, paths, argv, fds))
        if has_labels() and record.log_path:
            selinux.label_file(record.log_path, launch.config)


def _namespaces(store: Store, launch: Launch, paths: Paths) -> t.ContextManager[t.Callable[[int], None]]:
    """Offer namespaces of other containers. Only a container that shares some has the directory in its config."""
    if not any(path.startswith(f"{paths.namespaces}/") for path in namespaces_of(launch.config).values()):
        return contextlib.nullcontext(lambda _pid: None)
    from . import joined_namespaces

    return joined_namespaces.offered(store, launch.record, launch.config)


def _network_helper(
    record: Record, paths: Paths, place: t.Callable[[int, str], None]
) -> t.ContextManager[Helper | None]:
    if record.definition.network_helper is NetworkHelper.NONE:
        return contextlib.nullcontext()
    from .._ports.network_helper import Helper

    return Helper(record, paths, lambda pid: place(pid, record.definition.network_helper.value))


def _own_cgroup(record: Record, pid: int, where: cgroup.Layout) -> str | None:
    """Return the container's cgroup, or None if the runtime could not create one and left it in a foreign cgroup (of a rootless
    session), which must never be frozen or killed."""
    path = cgroup.path_of(pid, where) or ""
    in_scope = record.cgroup_manager is CgroupManager.SYSTEMD
    own = names.container_unit(record.name, record.realm) if in_scope else names.container_cgroup(record)
    return path if f"{own}/" in f"{path}/" else None
