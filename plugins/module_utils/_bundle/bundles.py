# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles: observe, plan and apply.

    PATH/config.json       the config; its root.path is one of the next
    PATH/rootfs-ID/        root file systems: the current one, and the one that a container still uses
    PATH/volumes/          the volumes of the image; they exist as long as the bundle
    PATH/etc/              hostname and hosts
    PATH/longshore.json    the record; a bundle without a complete record is created again

The record is created first and removed last. It has ``unfinished`` during a change, and ``removing`` during a removal: what a
killed task has left. With nothing to do, no program is started (unless a registry has to be asked), and nothing is written.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import typing as t

from .._base.accounts import User
from .._base.deadline import Deadline
from .._base.errors import (
    AbsentFile,
    Conflict,
    InvalidOption,
    LongshoreError,
    MissingPrerequisite,
    NotInstalled,
    WrongState,
)
from .._base.files import is_busy, make_directory, read_json, refuse_bytes, write_text
from .._bundle_spec import asked, spec
from .._bundle_spec.image_document import ImageConfig, is_digest
from .._bundle_spec.options import FIRST_RECORD, RECORD, Action, BundleRecord, Facts, Options, Plan, Request, Source
from .._bundle_spec.plan import by_place, plan
from .._config import config, config_differences
from .._state.store import Store
from .._trust import trust
from . import answering, directory
from .confinement import level_of, missing_protections
from .facts import assumptions, gather, inside, look_up, touched
from .image import Images, other_platform

if t.TYPE_CHECKING:
    from .rootfs import Maps, Roots


class Outcome(t.NamedTuple):
    """The plan and its result. ``existed``: a complete bundle existed before. ``record`` is the current one."""

    plan: Plan
    actions: tuple[Action, ...]
    existed: bool
    record: BundleRecord
    warnings: tuple[str, ...] = ()


_PATHS = ("path", "rootfs", "authfile", "ca_cert_dir", "env_files")  # of the host, not in a config


class _Decision(t.NamedTuple):
    plan: Plan
    record: BundleRecord
    config: dict[str, t.Any]
    user: User | None  # None: it depends on the image, which is not fetched yet


class Bundles:
    """The bundles that share one cache. The constructor does no I/O."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self._store = Store(state_dir=state_dir, run_dir=run_dir)
        self._images = Images(state_dir)

    @functools.cached_property
    def _roots(self) -> Roots:
        from .rootfs import Roots

        return Roots(self._store.state_dir)

    def converge(self, request: Request, *, check: bool = False) -> Outcome:
        """Bring a bundle to the requested state. Raises LongshoreError. Impossible requests fail before the bundle is changed."""
        try:
            return self._converge(request, check)
        except OSError as exc:
            raise LongshoreError(f"Cannot work on the bundle {request.path}: {exc.strerror} ({exc.filename}).") from exc

    def _converge(self, request: Request, check: bool) -> Outcome:
        for name, value in {**request._replace(options=Options())._asdict(), **request.options._asdict()}.items():
            refuse_bytes(name, value, is_path=name in _PATHS)
        deadline = Deadline(request.timeout)
        answering.check(touched(request, self._store.state_dir), deadline)
        directory.check(request)
        before = _load(request.path)
        if request.absent:
            return self._remove(request.path, before, check)
        if request.rootfs_mode == "auto":
            from . import overlay_support

            request = overlay_support.chosen(request, before, self._store.state_dir, check=check)
        assumed: list[str] = []
        facts = gather(request.options, self._store, request.path, before, assumed if check else None)
        self._refuse(request, facts)
        try:
            source = self._look(request, before, deadline, check)
        except (AbsentFile, NotInstalled) as exc:
            if not check:
                raise
            made = (Action.ROOTFS, Action.CONFIG)
            return Outcome(Plan(made), made, bool(before.root), before, assumptions([*assumed, exc.message]))
        warnings = (*self._warn(request, source), *assumptions(assumed))
        decided = self._decide(request, facts, source)
        if decided.plan.actions:
            warnings += missing_protections(request.options, facts)
            warnings += spec.writable_below(request.options, facts, decided.config)
        if check or not (decided.plan.actions or self._is_left(request.path, before)):
            return Outcome(decided.plan, decided.plan.actions, bool(before.root), before, warnings)
        with self._locked(request.path, deadline):
            self._tidy(request.path)
            if not source.cached:
                source = self._images.fetch(request, source, deadline)
            if decided.user is None or Action.ROOTFS in decided.plan.actions:
                from .rootfs import check_places

                check_places(self._roots.unpack(source, self._images, deadline), source.config, request.options)
            now = self._decide(request, facts, source)
            record = now.record
            if now.plan.actions:
                record = self._apply(request, facts, source, now, deadline)
            elif record.unfinished:
                self.complete(request.path, record)
        pulled = (Action.PULL,) if Action.PULL in decided.plan.actions else ()
        actions = (*pulled, *(action for action in now.plan.actions if action is not Action.PULL))
        return Outcome(now.plan, actions, bool(before.root), record, warnings)

    def _locked(self, path: str, deadline: Deadline) -> t.ContextManager[object]:
        return self._store.locked(directory.lock_name(path), deadline, f"the bundle {path}")

    def _is_left(self, path: str, record: BundleRecord) -> bool:
        """Tell whether a task works on the bundle, or was killed while it did."""
        return record.unfinished or is_busy(self._store.run_dir, directory.lock_name(path))

    def _tidy(self, path: str) -> None:
        """Remove the leftovers of killed tasks, and complete a removal. A container created in between has all its files, because
        a removal deletes config.json first."""
        from . import upkeep

        upkeep.tidy(path, self._store.state_dir)
        if upkeep.is_being_removed(path) and self._store.bundle_holder(path) is None:
            upkeep.remove(path)

    def _refuse(self, request: Request, facts: Facts) -> None:
        path = request.path
        for what in ("authfile", "ca_cert_dir"):
            if getattr(request, what):
                trust.check(os.path.abspath(getattr(request, what)), what)
        if not directory.is_ours(path) and os.path.lexists(path) and not directory.is_blank(os.path.realpath(path)):
            raise WrongState(f"{path} exists and is not a bundle of oci_bundle.", hint="Remove it first.")
        if request.rootfs_mode == "overlay" and spec.id_maps(request.options, facts):
            raise MissingPrerequisite("rootfs_mode: overlay needs root, and cannot be used with userns.")
        # With an empty image instead of the real one, to report invalid options now.
        spec.make(ImageConfig(cmd=("true",)), request.options, facts, User(), path)

    def _look(self, request: Request, record: BundleRecord, deadline: Deadline, check: bool) -> Source:
        if request.image is not None:
            return self._images.look(request, deadline, check=check)
        path = request.rootfs or ""
        if not path.startswith("/") or not os.path.exists(path):
            raise AbsentFile(f"There is no directory or tar archive at {path} on this host.")
        from . import rootfs, used_directory

        stamp = () if os.path.isdir(path) else rootfs.tar_stamp(path)  # Reports a path that is not a file.
        trust.check(path, "rootfs", tree=os.path.isdir(path))
        path = os.path.realpath(path)
        if os.path.isdir(path):
            if f"{request.path}/".startswith(f"{path}/"):
                raise InvalidOption(f"The bundle {request.path} cannot be inside its own root file system {path}.")
            with used_directory.uncovered(path) as (_at, mounts):
                answering.check([f"{path}/{place}" for place in mounts], deadline)
            return Source("directory", rootfs.directory_digest(path), path=path)
        known, before = record.rootfs_digest, list(record.stamp) or [0]  # An earlier release recorded less.
        same = record.source == path and before == list(stamp[: len(before)]) and is_digest(known)
        digest = str(known) if same else rootfs.tar_digest(path)
        return Source("tar", digest, path=path, stamp=stamp, files=digest)

    def _warn(self, request: Request, source: Source) -> tuple[str, ...]:
        other = other_platform(source, request) if source.kind == "image" else None
        if other and request.platform:
            raise InvalidOption(f"The image {request.image} is for {other}, not for {request.platform}.")
        found = [f"The image {request.image} is for {other}, which is not this host's platform."] if other else []
        if source.problem:
            found.append(f"The image {request.image} of the cache is used. {source.problem}")
        left_out = [p for p in spec.wanted_volumes(source.config, request.options) if spec.is_reserved(p)]
        if left_out:
            why = "They are at the root, in /proc, /sys or /dev, or at files of oci_bundle, where no image may have volumes."
            found.append(f"Volumes of the image {request.image} are left out: {', '.join(left_out)[:300]}. {why}")
        return tuple(found)

    def _decide(self, request: Request, facts: Facts, source: Source) -> _Decision:
        """Return the decision, from files alone."""
        path, overlay = request.path, request.rootfs_mode == "overlay"
        record = _load(path)
        user = self._user(request, source, record)
        desired = spec.make(source.config, request.options, facts, user or User(), path)
        wanted = asked.digest(source.config, request.options, facts, user or User(), path)
        desired["annotations"] = {**(desired.get("annotations") or {}), **asked.notes(facts, wanted)}
        parts = [wanted, source.digest, request.rootfs_mode]
        root = f"rootfs-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"
        if not (request.options.spec.get("root") or {}).get("path"):
            desired["root"]["path"] = root
        differences = config_differences.differences(
            by_place(read_json(f"{path}/config.json") or {}), by_place(desired)
        )
        differences.pop(f"annotations.{config_differences.ASKED}", None)  # It comes with the next difference.
        differences.update(directory.not_private(path, spec.id_maps(request.options, facts)))
        if user is None:
            unknown = ("process.user", "process.env.HOME", "process.capabilities")
            differences = {key: pair for key, pair in differences.items() if not key.startswith(unknown)}
        files = spec.files(request.options, path)
        decided = plan(
            record=record, source=source, root=root, root_is_there=os.path.isdir(f"{path}/{root}"),
            is_mounted=os.path.ismount(f"{path}/{root}"), overlay=overlay, config=differences,
            files_differ=any(not directory.holds(f"{path}/etc/{name}", text) for name, text in files.items()),
        )  # fmt: skip
        return _Decision(decided, record, desired, user)

    def _user(self, request: Request, source: Source, record: BundleRecord) -> User | None:
        """Return the user from the image's passwd. Read it once, because the container may write to its copy."""
        wanted = _wanted_user(request, source)
        if record.rootfs_digest == source.digest and record.user["wanted"] == wanted:
            known = record.user
            return User(known["uid"], known["gid"], tuple(known["groups"]), known["home"])
        root = self._roots.path(source)
        try:
            return look_up(root, wanted) if root else None
        except InvalidOption as exc:
            if request.options.user:
                raise
            raise InvalidOption(f"The image is not valid: config.User. {exc.message}", hint="Set user.") from exc

    def _apply(
        self, request: Request, facts: Facts, source: Source, now: _Decision, deadline: Deadline
    ) -> BundleRecord:
        """Return the record of the changed bundle. A failure before the new config.json is there leaves nothing."""
        from . import upkeep

        path, volumes = request.path, spec.volumes(source.config, request.options)
        made = (
            *(f"etc/{name}" for name in spec.files(request.options, path)),
            *(f"volumes/{v}" for v in volumes.values()),
        )
        found = upkeep.begin(path, *directory.owner_and_mode(spec.id_maps(request.options, facts)))
        try:
            return self._make(request, facts, source, now, deadline)
        except (LongshoreError, OSError):
            recorded, used = now.record.root, self._used_root(path)
            upkeep.undo(found, root=now.plan.root, made=made, recorded=recorded, used=used)
            raise

    def _make(self, request: Request, facts: Facts, source: Source, now: _Decision, deadline: Deadline) -> BundleRecord:
        from . import rootfs, upkeep

        path, maps = request.path, spec.id_maps(request.options, facts)
        overlay = request.rootfs_mode == "overlay"
        if not directory.is_ours(path):
            write_text(f"{path}/{RECORD}", FIRST_RECORD)  # From now on, the directory is known as a bundle.
        elif now.record.root and not now.record.unfinished:
            _save(path, now.record._replace(unfinished=True), durable=False)
        root, used = f"{path}/{now.plan.root}", self._used_root(path)
        # An unrecorded one with this name may have been changed, unless a container with exactly this config uses it, or config.json
        # names it: then the last task failed or was killed between that and the record.
        named = root == used or (upkeep.named_root(path) == root and not (overlay and not os.path.ismount(root)))
        if Action.ROOTFS in now.plan.actions and not (named and os.path.isdir(root)):
            rootfs.remove(root)
            if not overlay:
                self._copy(source, "/", root, maps, deadline)
        same = now.record.root == now.plan.root
        lower = now.record.lower if same else rootfs.lower_of(root)
        if overlay and not os.path.ismount(root):
            label = facts.labels[1] if facts.labels else ""
            known = self._roots.lower(source, lower) if same and source.kind != "directory" else None
            known = known or self._roots.unpack(source, self._images, deadline)
            rootfs.mount(known, root, deadline, label)
            lower = os.path.basename(known) if source.kind != "directory" else None
        self._make_files(request, source, maps, now.user or User(), deadline)
        if facts.labels and facts.labels[1]:
            directory.label(path, [] if overlay else [root], facts.labels[1])
        record = self._record(request, facts, source, now)._replace(lower=lower)
        write_text(f"{path}/config.json", json.dumps(now.config, indent=1) + "\n")
        self.complete(path, record)
        return record

    def complete(self, path: str, record: BundleRecord) -> None:
        """Remove unrecorded root file systems after this record is on the disk, and mark the change as complete."""
        from . import rootfs, tools, upkeep

        others = upkeep.other_roots(path, (f"{path}/{record.root}", self._used_root(path)))
        if others:
            _save(path, record._replace(unfinished=True))
            tools.flush_directory(path)
        for root in others:
            rootfs.remove(root)
        _save(path, record._replace(unfinished=False), durable=not others)

    def _make_files(self, request: Request, source: Source, maps: Maps, user: User, deadline: Deadline) -> None:
        """Create the files that config.json mounts from the bundle. A volume starts with the files of the image, and stays. One that
        the image does not have belongs to the user of the container, as in podman."""
        path = request.path
        for place, name in spec.volumes(source.config, request.options).items():
            if not os.path.isdir(f"{path}/volumes/{name}"):
                make_directory(f"{path}/volumes", mode=0o755)
                self._copy(source, place, f"{path}/volumes/{name}", maps, deadline, (user.uid, user.gid))
        # A container that runs may have these mounted, so they change last.
        for name, text in spec.files(request.options, path).items():
            make_directory(f"{path}/etc", mode=0o755)
            if not directory.holds(f"{path}/etc/{name}", text):
                directory.put(f"{path}/etc/{name}", text)

    def _copy(
        self, source: Source, place: str, to: str, maps: Maps, deadline: Deadline, owner: tuple[int, int] = (0, 0)
    ) -> None:
        """Copy a directory of the source, or create an empty one of this owner if the source does not have it."""
        from . import rootfs, tools

        content = inside(self._roots.unpack(source, self._images, deadline), place)
        with tools.workspace(os.path.dirname(to)) as space:
            if content is None or not os.path.isdir(content):
                content = f"{space}/empty"
                os.mkdir(content)
                os.chmod(content, 0o755)
                if os.geteuid() == 0:
                    os.chown(content, *owner)
            rootfs.copy(content, f"{space}/copy", maps, deadline)
            tools.keep(f"{space}/copy", to)

    def _used_root(self, path: str) -> str | None:
        """Return the root file system that a container uses, running or not, until it is recreated."""
        holder = self._store.bundle_holder(path)
        saved = self._store.load_config(holder.name) if holder else None
        # The container may have been given another path to the bundle.
        return f"{path}/{os.path.basename(saved['root']['path'])}" if saved else None

    def _record(self, request: Request, facts: Facts, source: Source, decided: _Decision) -> BundleRecord:
        return BundleRecord(
            root=decided.plan.root, rootfs_digest=source.digest, rootfs_mode=request.rootfs_mode, image=source.image,
            source=source.path, stamp=source.stamp if source.path else (), apparmor=facts.apparmor,
            level=level_of(facts.labels[0]) if facts.labels else None, config_digest=config.digest(decided.config),
            user={"wanted": _wanted_user(request, source), **(decided.user or User())._asdict()},
            healthcheck=source.config.healthcheck and source.config.healthcheck._asdict(),
        )  # fmt: skip

    def _remove(self, path: str, record: BundleRecord, check: bool) -> Outcome:
        decided = self._plan_removal(path)
        if not check and (decided.actions or self._is_left(path, record)):
            with self._locked(path, Deadline(60)):
                decided, record = self._plan_removal(path), BundleRecord()
                from . import upkeep

                upkeep.tidy(path, self._store.state_dir)
                if decided.actions:
                    upkeep.remove(path)
        return Outcome(decided, decided.actions, bool(decided.actions), record)

    def _plan_removal(self, path: str) -> Plan:
        if not os.path.lexists(path):
            return Plan(())
        if os.path.islink(path) or not (directory.is_ours(path) or directory.is_blank(path)):
            raise WrongState(f"{path} is not a bundle of oci_bundle, so it is not removed.")
        self._check_unused(path)
        return Plan((Action.REMOVE,))

    def _check_unused(self, path: str) -> None:
        holder = self._store.bundle_holder(path)
        if holder is not None:
            raise Conflict(f"The bundle {path} is in use by the container {holder.name}.", hint="Remove it first.")
        from .._base.trees import mounted

        real = os.path.realpath(path)
        for place in mounted(real):
            if not place[len(real) :].startswith("/rootfs-"):
                raise Conflict(f"{place} is mounted, so the bundle {path} is not removed.", hint="Unmount it first.")


def _wanted_user(request: Request, source: Source) -> str:
    return request.options.user or source.config.user  # As in podman, an empty text counts as not given.


def _load(path: str) -> BundleRecord:
    """Return the record, empty if there is no bundle, or one that is incomplete or being removed."""
    found = read_json(f"{path}/{RECORD}") or {}
    if found.get("format", BundleRecord().format) != BundleRecord().format:
        raise InvalidOption(f"The bundle {path} was created by a newer release of longshore.oci.", hint="Use that.")
    return BundleRecord() if found.get("removing") else BundleRecord.from_json(found)


def _save(path: str, record: BundleRecord, *, durable: bool = True) -> None:
    write_text(f"{path}/{RECORD}", json.dumps(record.to_json()) + "\n", durable=durable)
