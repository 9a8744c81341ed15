# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a running container to disk. After a failure, the container continues as before."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import typing as t

from .._archive import rootfs_diff
from .._archive.layout import measure as measure_members
from .._archive.manifest import Manifest, Software
from .._base.deadline import Deadline
from .._base.errors import InvalidOption, LongshoreError, ProgramFailed
from .._base.files import make_directory, read_tail, read_text, remove_file, remove_tree, split_lines, write_text
from .._base.process import is_alive
from .._base.program import run
from .._config.namespace_names import by_name
from .._container.observe import live_status
from .._criu import criu
from .._criu.criu_log import criu_error, criu_hint
from .._criu.criu_support import SUPPORT
from .._host.cgroup import directories
from .._host.cgroup_removal import thaw
from .._host.selinux_state import has_labels
from .._lifecycle.recovery import release, settle
from .._ports import packet_lock
from .._runtime.failure import last_error
from .._runtime.runtime import Runtime, global_arguments
from .._state.model import Checkpoint, Observed, Program, Record, Status, Timeouts
from .._state.phase import Phase
from .._state.store import Store
from .._state.timestamps import timestamp
from .._state.unfinished import has_ended
from . import checkpoint_store
from .checkpoint_store import Stored

_WORTH_IT = 0.8  # of the size of the round before
_LOG_LINES, _LOG_BYTES = 400, 1 << 17


def dump(
    store: Store, before: Observed, options: criu.Options, program: Program | None, *, with_rootfs: bool, measure: bool,
    deadline: Deadline, timeouts: Timeouts, export: str | None = None, keeps: t.Sequence[int] = (),
) -> Stored:  # fmt: skip
    """Dump a container. Return the checkpoint. Raises LongshoreError with CRIU's reason; then the container runs.

    ``measure``: compute the digest now. ``export``: the archive that is written next. During the dump, the record says
    ``checkpointing`` and where, so the next task can tell whether the dump of a killed task was complete (recovery.py). The
    runtime is not killed with the task, because a half dumped container might be unusable. ``keeps`` are the descriptors of the
    lock, which the runtime holds until it ends.
    """
    record = before.existing
    moment = timestamp()
    spec = by_name(store.load_config(record.name) or {}, store.paths(record.name).namespaces)
    needed = _memory(record) + (rootfs_diff.measure(spec["root"]["path"]) if with_rootfs else 0)
    rootfs_diff.require_room(store.paths(record.name).state, needed, f"checkpoint the container {record.name}")
    path = checkpoint_store.new_directory(store, record.name, moment)
    words = tuple(criu.words("restore", options.at_restore(criu.Options())))
    manifest = describe(record, spec, moment, program, options)
    manifest = manifest._replace(export=export, paused=before.status is Status.PAUSED)
    checkpoint_store.describe_before(path, record, spec, manifest)
    store.save(record.replace(phase=Phase.CHECKPOINTING, checkpoint=Checkpoint(path, words)))
    # The memory and the files of a container that continues must match.
    paused = with_rootfs and bool(options.leave_running) and before.status is Status.RUNNING
    try:
        if paused:
            Runtime(record, store.paths(record.name).runtime_log).call("pause")
        with labelled(path, spec):
            before_it = pre_dump(record, path, options, deadline, keeps) if options.pre_dump else None
            more = ["--parent-path", f"../{before_it}"] if before_it else []
            call_checkpoint(record, path, [*more, *criu.words("checkpoint", options)], "checkpoint", deadline, keeps)
        kind = add_rootfs(path, spec) if options.leave_running and with_rootfs else None
        if paused:
            thaw(record.cgroup_path)
        if options.leave_running:
            _check_alive(record, before.status)
    except BaseException as exc:  # also an interrupt must not leave it frozen
        if is_alive(record.init) or not has_ended(path):
            raise _undo(store, before, path, exc, timeouts) from exc
        kind = None
    whole = complete(path, manifest, measure=measure, rootfs=kind)
    if options.leave_running:
        store.save(record)
    else:
        settle(store, record.replace(phase=Phase.CHECKPOINTING, checkpoint=Checkpoint(path, words)), timeouts)
    checkpoint_store.prune(store, record.name, keep=path)
    return whole


def describe(
    record: Record, spec: t.Mapping[str, t.Any], moment: str, program: Program | None, options: criu.Options
) -> Manifest:  # fmt: skip
    """Return what is known before a dump. ``moment`` is the time of it."""
    return Manifest(
        record.name, created_at=moment, criu=program and Software(*program), options=options, runtime=Software(*record.runtime),
        kernel=platform.release(), architecture=platform.machine(), definition=record.definition,
        config_digest=record.config_digest, stop_signal=record.stop_signal, stop_timeout=record.stop_timeout,
        started_at=record.started_at, annotated=checkpoint_store.MANAGER not in (spec.get("annotations") or {}),
    )  # fmt: skip


def _memory(record: Record) -> int:
    """Return the approximate size of CRIU's images: the anonymous memory in bytes. 0 if no controller counts it."""
    for directory in directories(record.cgroup_path or ""):
        lines = split_lines(read_text(f"{directory}/memory.stat") or "")
        found = {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) == 2}
        names = ("total_rss", "total_shmem") if "total_rss" in found else ("anon", "shmem")
        if found:
            return sum(found.get(name, 0) for name in names)
    return 0


def complete(path: str, manifest: Manifest, *, measure: bool, rootfs: str | None) -> Stored:
    """Write the manifest, which makes the checkpoint count."""
    manifest = manifest._replace(rootfs=rootfs, paused=False)
    return checkpoint_store.write_manifest(path, _filled_in(manifest, path, measure=measure))


def fill_in(store: Store, name: str) -> None:
    """Complete the manifest of a checkpoint whose task was killed, with facts that recovery.py does not know."""
    whole = None
    with contextlib.suppress(InvalidOption):  # A damaged one: who uses it says so.
        whole = checkpoint_store.newest(store, name)
    if whole is not None and whole.manifest.statistics is None and not whole.is_foreign:
        checkpoint_store.write_manifest(whole.path, _filled_in(whole.manifest, whole.path, measure=True))


def _filled_in(manifest: Manifest, path: str, *, measure: bool) -> Manifest:
    manifest = manifest._replace(statistics=statistics(f"{path}/stats-dump"))
    return manifest.with_members(measure_members(path)) if measure else manifest


def add_rootfs(path: str, spec: t.Mapping[str, t.Any]) -> str:
    """Pack the root file system into a checkpoint; returns ``complete`` or ``changes``, for the manifest."""
    remove_file(f"{path}/rootfs-diff.tar")  # of a killed task
    deleted = rootfs_diff.pack(spec["root"]["path"], f"{path}/rootfs-diff.tar")
    write_text(f"{path}/deleted.files", json.dumps(deleted or []))
    return "complete" if deleted is None else "changes"


def statistics(path: str) -> dict[str, int]:
    try:
        with open(path, "rb") as stream:
            return criu.parse_statistics(stream.read())
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def labelled(path: str, spec: t.Mapping[str, t.Any]) -> t.Iterator[None]:
    """Under SELinux, create images with the mount label of the container, and sockets with its process label."""
    with contextlib.ExitStack() as around:
        if has_labels():
            from .._host import selinux

            selinux.label_file(path, spec)  # new files inherit it
            # CRIU passes its sockets to the processes of the container.
            process = (spec.get("process") or {}).get("selinuxLabel")
            around.enter_context(selinux.attribute(f"{selinux.ATTRIBUTES}/sockcreate", process))
        yield


def pre_dump(
    record: Record, path: str, options: criu.Options, deadline: Deadline, keeps: t.Sequence[int] = ()
) -> str:  # fmt: skip
    """Write the memory while the container runs, then repeatedly the changes. Return the name of the last images.

    If a round writes almost as much as the one before, the container changes its memory as fast as it is written. Further
    rounds would then not make the last one shorter.
    """
    images = ""
    written: int | None = None
    for number in range(1, (options.pre_dump_rounds or 1) + 1):
        more = ["--pre-dump", *(["--parent-path", f"../{images}"] if images else [])]
        images = "pre-checkpoint" if number == 1 else f"pre-checkpoint-{number}"
        call_checkpoint(record, path, [*more, *criu.words("checkpoint", _before(options))], images, deadline, keeps)
        last, written = written, statistics(f"{path}/stats-dump").get("pages_written")
        if written is None or (last is not None and written > _WORTH_IT * last):
            break
    return images


def _before(options: criu.Options) -> criu.Options:
    """Return the options for a pre-dump, after which the container continues in any case."""
    return options._replace(leave_running=None, tcp_skip_in_flight=None)


def call_checkpoint(
    record: Record, path: str, words: list[str], images: str, deadline: Deadline, keeps: t.Sequence[int] = ()
) -> None:  # fmt: skip
    """Call the runtime's checkpoint. Raises ProgramFailed or DeadlineExceeded."""
    # With search permission for others: in a restore, CRIU opens images as the root of the container. The parent is closed.
    make_directory(f"{path}/{images}", mode=0o711)
    log = f"{path}/runtime.log"
    write_text(log, "")  # The runtime would create it readable for others.
    where = ["--image-path", f"{path}/{images}", "--work-path", path]
    argv = [record.runtime.path, *global_arguments(record, log), "checkpoint", *where, *words, record.runtime_id]
    result = run(argv, deadline, what="write the container to disk", env=_environment(record), keeps=keeps)
    whole = images != "checkpoint" or os.path.exists(f"{path}/{images}/inventory.img")
    if result.rc != 0 or not whole:
        said = last_error("\n".join(read_tail(log))) or result.stderr.strip()[-2000:]
        raise ProgramFailed(said or f"{record.runtime.name} ended with status {result.rc} without a message")


def _environment(record: Record) -> dict[str, str]:
    """Return the environment. crun 1.28 keeps the source of masked directories in its default root, even with --root. CRIU stores
    this path, and a restore does not find it. For root, the default root is XDG_RUNTIME_DIR/crun."""
    top, name = os.path.split(record.runtime_root)
    support = SUPPORT.get(name) if name == record.runtime.name and os.geteuid() == 0 else None
    return {"XDG_RUNTIME_DIR": top} if support is not None and support.uses_default_root else {}


def _undo(store: Store, before: Observed, path: str, exc: BaseException, timeouts: Timeouts) -> BaseException:
    """Resume the container, keep only the log, and return the error of the dump."""
    record = before.existing
    log = read_tail(f"{path}/dump.log", lines=_LOG_LINES, limit=_LOG_BYTES)
    kept = f"{store.paths(record.name).state}/dump.log"
    left = ""
    try:
        release(record, path, before.status, timeouts)
        packet_lock.release(store, record)
        if os.path.exists(f"{path}/dump.log"):
            os.replace(f"{path}/dump.log", kept)
        remove_tree(path)
        _check_alive(record, before.status)
    except (LongshoreError, OSError) as problem:
        left = f" {problem}"
    store.save(record)
    if not isinstance(exc, LongshoreError):
        return exc
    reason = criu_error(log) or exc.message
    goes_on = "" if left else " It continues as before."
    helps = criu_hint(log, lambda option: criu.lacks("checkpoint", option, record.runtime)) or exc.hint
    hint = " ".join(text for text in (helps, f"The log of CRIU is {kept}." if log else "") if text)
    message = f"Cannot checkpoint the container {record.name}: {reason.rstrip('.')}.{goes_on}{left}"
    return type(exc)(message, hint=hint, dump_log=log[-40:], **exc.details)


def _check_alive(record: Record, status: Status) -> None:
    if not is_alive(record.init):
        raise ProgramFailed(f"The container {record.name} has ended in the meantime.")
    now = live_status(record)
    if now is not status:
        raise ProgramFailed(f"The container {record.name} is {now.value} now and was {status.value} before.")
