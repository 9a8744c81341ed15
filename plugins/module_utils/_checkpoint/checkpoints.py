# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoint running containers to disk, and restore them, on the same host or on another one.

    outcome = Checkpoints(Store(...), Host(...)).converge(Request("web", Goal.CHECKPOINTED))

A dump has its own directory and counts only when it is complete. A restore is a launch in which conmon restores instead of
creating. Both may be killed at any moment. The record then contains the interrupted operation.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from .._archive import archive, tar_members
from .._archive.layout import MANIFEST
from .._archive.named_pipe import check_pipe, is_pipe, reader, writer
from .._base.deadline import Deadline
from .._base.errors import EngineError, InvalidInput
from .._base.files import is_busy, remove_file, remove_tree
from .._base.versions import numbers
from .._container.create import Launch, create
from .._container.observe import observe
from .._host.detect import Host
from .._lifecycle.delete import delete_container
from .._lifecycle.recovery import recover, used_up
from .._runtime import criu
from .._state.model import Checkpoint, Exit, Observed, Program, Record, Status, Timeouts
from .._state.store import Store, check_name
from .._state.unfinished import check_whole, discard
from .._trust import trust
from . import checkpoint_store
from .checkpoint_store import Stored
from .dump import add_rootfs, dump, fill_in, statistics
from .plan import Action, Found, Goal, Plan, plan
from .request import Outcome, Request
from .restore import lay_out, left_out, prepare_restore

if t.TYPE_CHECKING:
    from .._base.lock import Lock

# The first CRIU that can dump a frozen container (criu pull request 2514).
_DUMPS_FROZEN = (4, 1)


class Checkpoints:
    """The checkpoints of the containers of one store."""

    def __init__(self, store: Store, host: Host) -> None:
        self.store, self.host = store, host

    def converge(self, request: Request, *, check: bool = False) -> Outcome:
        """Bring a checkpoint to the requested state. Raises EngineError, and InvalidInput before anything is changed."""
        check_name(request.name)
        check_name(request.target)
        if request.goal is Goal.RESTORED and is_pipe(request.archive):
            return self._receive(request, check=check)
        return self._converge(request, check=check)

    def _converge(self, request: Request, *, check: bool = False, received: Stored | None = None) -> Outcome:
        found, decided = self.decide(request, received)
        names = sorted({request.name, request.target})
        if check or not (decided.actions or any(is_busy(self.store.run_dir, name) for name in names)):
            whole = checkpoint_store.newest(self.store, request.name)
            return Outcome(decided, found.target, found.target, _describe(request, whole) if whole else None, {})
        deadline = Deadline(request.timeout)
        with contextlib.ExitStack() as locks:
            # Always in the same order, so that two tasks cannot wait for each other.
            held = [locks.enter_context(self.store.locked(name, deadline)) for name in names]
            return _Task(self, request, deadline, held, received).run()

    def _receive(self, request: Request, *, check: bool) -> Outcome:
        """Restore from a pipe. It can be read only once, so store the checkpoint first, and restore it from there."""
        target = observe(self.store, request.target)
        if target.status in (Status.RUNNING, Status.PAUSED):
            return Outcome(Plan((), target.status), target, target, None, {})
        check_pipe(str(request.archive))
        if check:
            return Outcome(Plan((Action.IMPORT, Action.RESTORE), Status.RUNNING), target, target, None, {})
        deadline = Deadline(request.timeout)
        path = checkpoint_store.work_directory(self.store, request.name)
        try:
            with reader(str(request.archive), deadline) as pipe:
                members = archive.unpack(str(request.archive), path, pipe=pipe, verify=_verifier(request))
            whole = checkpoint_store.write_manifest(path, _manifest(request, members))
            later = request._replace(archive=None, verify=(), timeout=deadline.remaining())
            done = self._converge(later, received=whole)
        finally:
            remove_tree(path)  # If it was kept, it has another name now. The sender still has its copy.
            if self.store.load(request.name) is None:
                checkpoint_store.leave(self.store, request.name)
        return done._replace(plan=done.plan._replace(actions=(Action.IMPORT, *done.plan.actions)))

    def decide(self, request: Request, received: Stored | None = None) -> tuple[Found, Plan]:
        """Return the observed state and the plan. Refuse impossible requests. Run programs only if needed."""
        source = observe(self.store, request.name)
        target = source if request.target == request.name else observe(self.store, request.target)
        exists = None if request.archive is None else os.path.exists(request.archive) and not is_pipe(request.archive)
        whole = received or checkpoint_store.newest(self.store, request.name)
        due = whole.manifest.get("export") if whole else None
        if request.goal is Goal.CHECKPOINTED and due and request.archive == due:
            exists = False  # The archive belongs to an earlier checkpoint, because the task that had to write this one was killed.
        found = Found(source, target, whole is not None, exists)
        leave = bool(request.options.leave_running)
        decided = plan(request.goal, found, leave_running=leave, keep=request.keep)
        if Action.RECOVER in decided.actions:
            return found, decided  # After the recovery, the caller decides again.
        if Action.CHECKPOINT in decided.actions:
            self._check_dump(request, source)
        if Action.EXPORT in decided.actions:
            _check_export(request)
        if Action.RESTORE in decided.actions:
            self.prepare(request, found, self._peek(request, received))
        return found, decided

    def _check_dump(self, request: Request, source: Observed) -> Program:
        record, program = t.cast(Record, source.record), criu.find()
        runtime = record.runtime
        if record.definition.listen:
            raise InvalidInput(
                f"The container {request.name} cannot be checkpointed: its sockets (listen) belong to another network "
                "namespace than its own, which CRIU does not support."
            )
        if record.definition.network_helper != "none":
            raise InvalidInput(
                f"The container {request.name} cannot be checkpointed: CRIU cannot dump the network device that"
                f" {record.definition.network_helper} holds.",
                hint="Only a container without network_helper can be checkpointed.",
            )
        criu.check_options("checkpoint", request.options, runtime)
        reason = criu.why_not(program, runtime)
        if program is None or reason:
            raise InvalidInput(
                f"The container {request.name} cannot be checkpointed on this host: {reason}.",
                hint="The module longshore.oci.oci_engine_info returns which features work on this host.",
            )
        if request.options.pre_dump and not criu.tracks_memory(program):
            raise InvalidInput(
                "pre_dump needs a kernel that tracks memory changes (CONFIG_MEM_SOFT_DIRTY), and this one does not."
            )
        frozen = source.status is Status.PAUSED or (request.include_rootfs and request.options.leave_running)
        if frozen and numbers(program.version) < _DUMPS_FROZEN:
            raise InvalidInput(f"A paused container needs criu 4.1 or newer. This host has {program.version}.")
        return program

    def _peek(self, request: Request, received: Stored | None = None) -> Stored:
        """Return the checkpoint to restore. Of an archive, read only the needed documents."""
        if request.archive is None:
            source = received or t.cast(Stored, checkpoint_store.newest(self.store, request.name))
            check_whole(request.name, Checkpoint(source.path))
            return source
        room = tar_members.room_in(self.store.state_dir)
        members = archive.peek(request.archive, room=room, verify=_verifier(request))
        return Stored("", _manifest(request, members), members["spec.dump"])

    def prepare(self, request: Request, found: Found, source: Stored) -> Launch:
        record = found.target.record
        return prepare_restore(
            self.store, self.host, request.target, request.wanted, source, record, request.options
        )  # fmt: skip


def _manifest(request: Request, members: t.Mapping[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the manifest of an archive, or one for an archive without it. Raises InvalidInput if it does not match the request."""
    manifest = members.get(MANIFEST) or checkpoint_store.from_podman(members["config.dump"], members["spec.dump"])
    manifest = {**manifest, "from_archive": True}
    if manifest.get("format") != checkpoint_store.FORMAT:
        raise InvalidInput(f"{request.archive} has the format {manifest.get('format')}, which needs a newer release.")
    if manifest.get("name") != request.name:
        raise InvalidInput(
            f"{request.archive} is of the container {manifest.get('name')}, not of {request.name}.",
            hint=f"Set name: {manifest.get('name')}, and new_name to use another name.",
        )
    return manifest


def _verifier(request: Request) -> archive.Verify | None:
    if not request.verify:
        return None
    from .._archive import signatures

    signatures.check_signers(request.verify)
    return lambda text, signature: signatures.verify(text, signature, request.verify, what=str(request.archive))


def _check_export(request: Request) -> None:
    path = str(request.archive)
    archive.check_compression(request.compression, pipe=is_pipe(path))
    if is_pipe(path):
        check_pipe(path)
    if request.sign_key:
        from .._archive import signatures

        # This detects, for example, a key with a passphrase before the container is frozen.
        signatures.sign(b"", request.sign_key)
    if os.path.isdir(path):
        raise InvalidInput(f"The archive {path} cannot be written: it is a directory.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidInput(f"The archive {path} cannot be written: there is no directory {os.path.dirname(path)}.")
    trust.check(path, "The archive", missing=True)


def _describe(request: Request, whole: Stored, *, of_archive: bool = False) -> dict[str, t.Any]:
    """Return a checkpoint as the module does. ``size`` is the size of the archive if there is one."""
    manifest = whole.manifest
    path = request.archive if request.archive and (of_archive or os.path.exists(request.archive)) else None
    return {
        "path": whole.path or None if not of_archive else None,
        "archive": path,
        "size": os.stat(path).st_size if path and os.path.isfile(path) else manifest.get("size"),
        "digest": manifest.get("digest"),
        "created_at": manifest.get("created_at"),
        "runtime": {key: (manifest.get("runtime") or {}).get(key) for key in ("name", "version")},
        "criu": (manifest.get("criu") or {}).get("version"),
        "options": manifest.get("options") or {},
        "rootfs": manifest.get("rootfs"),
    }


class _Task:
    """The actions of one task, under the locks."""

    def __init__(
        self, checkpoints: Checkpoints, request: Request, deadline: Deadline, locks: t.Sequence[Lock],
        received: Stored | None,
    ) -> None:  # fmt: skip
        self._checkpoints, self._request, self._deadline = checkpoints, request, deadline
        self._locks, self._received = locks, received
        self._store = checkpoints.store
        self._timeouts = Timeouts(create=request.timeout)
        # Decide again under the lock.
        self._found, self._plan = checkpoints.decide(request, received)
        self._before = self._found.target
        if Action.RECOVER in self._plan.actions:
            self._recover()
        self._whole = received or checkpoint_store.newest(self._store, request.name)
        self._imported: str | None = None
        self._pipe: t.BinaryIO | None = None
        self._statistics: dict[str, int] = {}
        self._warnings: list[str] = []

    def run(self) -> Outcome:
        described = None
        steps = {
            Action.RECOVER: lambda: None, Action.CHECKPOINT: self._dump, Action.EXPORT: self._export,
            Action.REMOVE: self._remove, Action.IMPORT: self._import, Action.RESTORE: self._restore,
            Action.DELETE: self._delete,
        }  # fmt: skip
        try:
            if Action.EXPORT in self._plan.actions and is_pipe(self._request.archive):
                self._pipe = writer(str(self._request.archive), self._deadline)
            for action in self._plan.actions:
                if action is Action.DELETE:
                    described = self._whole and _describe(self._request, self._whole)
                steps[action]()
        finally:
            if self._pipe is not None:
                with contextlib.suppress(OSError, EngineError):  # The first error is the important one.
                    self._pipe.close()
            # From a failed restore, or not needed any more.
            if self._imported and not (self._request.keep and self._statistics):
                remove_tree(self._imported)
                if self._store.load(self._request.target) is None:
                    self._store.forget(self._request.target)
        after = observe(self._store, self._request.target)
        if self._imported and self._whole:
            described = _describe(self._request, self._whole, of_archive=self._request.archive is not None)
        elif self._whole and described is None:
            described = _describe(self._request, self._whole)
        return Outcome(self._plan, self._before, after, described, self._statistics, tuple(self._warnings))

    def _recover(self) -> None:
        """Complete or undo the work of a killed task, and decide again."""
        for name in sorted({self._request.name, self._request.target}):
            recover(self._store, name, self._timeouts)
            fill_in(checkpoint_store.newest(self._store, name))
        self._found, again = self._checkpoints.decide(self._request, self._received)
        self._plan = again._replace(actions=(Action.RECOVER, *again.actions))

    def _dump(self) -> None:
        request, source = self._request, self._found.source
        program = criu.find()
        _record, self._whole = dump(
            self._store, source, request.options, t.cast(Program, program), with_rootfs=request.include_rootfs,
            measure=request.archive is None, deadline=self._deadline, timeouts=self._timeouts, export=request.archive,
            keeps=[descriptor for lock in self._locks for descriptor in lock.descriptors],
        )  # fmt: skip
        self._statistics = self._whole.manifest.get("statistics") or {}

    def _export(self) -> None:
        """Write the archive, and compute the digests at the same time, so that the images are read only once."""
        request, whole = self._request, t.cast(Stored, self._whole)
        record = t.cast(Record, self._found.source.record)
        manifest = dict(whole.manifest)
        due = manifest.pop("export", None)
        if manifest.get("rootfs") is None:
            remove_file(f"{whole.path}/rootfs-diff.tar")  # of a killed task
            remove_file(f"{whole.path}/deleted.files")
            manifest["rootfs"] = add_rootfs(whole.path, whole.spec) if request.include_rootfs else None

        def finish(members: archive.Members) -> dict[str, t.Any]:
            manifest.update(checkpoint_store.measured(members))
            return manifest

        log = record.log_path if request.include_logs and record.definition.log_driver == "k8s-file" else None
        compression = archive.check_compression(request.compression, pipe=self._pipe is not None)
        sign = None
        if request.sign_key:
            from .._archive import signatures

            sign = functools.partial(signatures.sign, key=request.sign_key)
        archive.pack(
            whole.path, str(request.archive), compression=compression, log=log, manifest=finish, pipe=self._pipe, sign=sign
        )  # fmt: skip
        kept = {} if due in (None, request.archive) else {"export": due}
        self._whole = checkpoint_store.write_manifest(whole.path, {**manifest, **kept})

    def _remove(self) -> None:
        """Remove the rest of the former container. Its record and log stay, like those of any ended container."""
        before = self._found.target
        record = delete_container(self._store, self._checkpoints.host, before, before.record, self._timeouts)
        if record is None and not os.path.isdir(f"{self._store.paths(before.name).state}/checkpoints"):
            self._store.forget(before.name)
        self._found = self._found._replace(target=before._replace(record=record))

    def _import(self) -> None:
        request, peeked = self._request, self._checkpoints._peek(self._request)
        path = self._imported = checkpoint_store.work_directory(self._store, request.target)
        manifest = peeked.manifest
        if request.archive is not None:
            # Check it again, because users with write permission may have replaced the archive since.
            manifest = _manifest(request, archive.unpack(request.archive, path, verify=_verifier(request)))
        else:
            checkpoint_store.link(t.cast(Stored, self._whole).path, path)
        manifest = {**manifest, "name": request.target}
        self._whole = checkpoint_store.write_manifest(path, manifest)

    def _restore(self) -> None:
        """Restore. The checkpoint stays until the record says that the container runs. The record then marks it for removal."""
        request, source = self._request, t.cast(Stored, self._whole)
        if request.keep:
            self._whole = source = checkpoint_store.keep(self._store, request.target, source)
            self._imported = self._imported and source.path
        launch = self._checkpoints.prepare(request, self._found, source)
        checkpoint = t.cast(Checkpoint, launch.record.checkpoint)._replace(once=not request.keep)
        launch = launch._replace(record=launch.record.replace(checkpoint=checkpoint))
        record = self._found.target.record
        if record is None and source.is_foreign:
            self._warnings += left_out(source, request.wanted)
        lay_out(self._store, request.target, launch, source, with_log=request.include_logs)
        try:
            made, warnings = create(self._store, launch, previous=record, timeouts=self._timeouts)
        except EngineError as exc:
            exc.hint = exc.hint or criu.hint(exc.details.get("restore_log", ()))
            raise
        self._warnings += warnings
        self._statistics = statistics(f"{self._store.paths(made.name).bundle}/stats-restore")
        used_up(self._store, made)

    def _delete(self) -> None:
        """Delete the checkpoint. Update the record first, because it must not name a missing checkpoint."""
        record = self._store.load(self._request.name)
        if record is not None and record.phase == "checkpointed":
            ended = Exit(None, "checkpoint-deleted", None, False)
            self._store.save(record.replace(phase="removed", checkpoint=None, last_exit=ended))
            if record.checkpoint is not None:
                discard(record.checkpoint.path)  # It may be unpacked data of a killed task.
        checkpoint_store.prune(self._store, self._request.name, keep=None)
        self._whole = None
