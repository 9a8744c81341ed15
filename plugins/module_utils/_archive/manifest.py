# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Longshore's description of a checkpoint: ``longshore.json``, in a stored checkpoint and in an archive. Pure."""

from __future__ import annotations

import os
import typing as t

from .._base.errors import InvalidOption
from .._config import config
from .._criu.criu import Options
from .._runtime.drivers import DRIVERS
from .._state.model import SECRETS, Definition
from .layout import Member, Members, digest

FORMAT = 1


class Software(t.NamedTuple):
    """A program that took part in a dump, as far as it is known: an archive of podman says less."""

    name: str | None = None
    path: str | None = None
    version: str | None = None


class Container(t.NamedTuple):
    """The description that podman writes and reads (``config.dump``), as far as it is used."""

    name: str = ""
    runtime: str = ""
    checkpointed_at: str | None = None
    started_at: str | None = None
    stop_signal: int | None = None
    stop_timeout: float | None = None


class Manifest(t.NamedTuple):
    """A checkpoint: which container, how it was written, and what is in it. Times are RFC 3339.

    A field that is None is not known. typed_documents.py has checked the values from an archive.
    """

    name: str
    format: int = FORMAT
    created_at: str | None = None
    criu: Software | None = None
    options: Options = Options()  # what the dump was asked for
    runtime: Software = Software()
    kernel: str | None = None
    architecture: str | None = None
    definition: Definition | None = None  # None for a container of podman's
    config_digest: str | None = None
    stop_signal: int | None = None
    stop_timeout: float | None = None  # seconds
    started_at: str | None = None
    rootfs: str | None = None  # complete or changes: what rootfs-diff.tar has; None where there is none
    annotated: bool = False  # whether spec.dump has annotations that the container had not
    digest: str | None = None
    size: int | None = None  # bytes of all members
    members: Members | None = None
    links: t.Mapping[str, str] | None = None  # targets by name; None in archives of earlier releases
    statistics: t.Mapping[str, int] | None = None  # CRIU's; None where the task was killed before it read them
    export: str | None = None  # of a stored one: the archive that is to be written from it
    paused: bool = False  # of a pending one: the container was paused before
    from_archive: bool = False  # of a stored one: anybody may have made it
    left_out: tuple[str, ...] = ()  # options of the container that another host does not take over

    @property
    def runtime_name(self) -> str | None:
        """crun or runc; None for any other, whose images only itself knows."""
        return self.runtime.name if self.runtime.name in DRIVERS else None

    def with_members(self, members: Members) -> Manifest:
        """Return it with sizes and digests of the members, and the digest of all."""
        size = sum(member.size for member in members.values())
        return self._replace(digest=digest(members), size=size, members=members)

    @classmethod
    def from_json(cls, value: t.Mapping[str, t.Any]) -> Manifest:
        """Return the manifest for an object with checked types. Missing fields are not known."""
        known = {name: value[name] for name in cls._fields if value.get(name) is not None}
        for name in ("criu", "runtime"):
            if name in known:
                known[name] = Software(**{each: known[name].get(each) for each in Software._fields})
        if "options" in known:
            known["options"] = Options(**{each: known["options"].get(each) for each in Options._fields})
        if "definition" in known:
            known["definition"] = Definition.from_json({"bundle": "", **known["definition"]})
        if "members" in known:
            known["members"] = {name: Member(*each) for name, each in known["members"].items()}
        known["left_out"] = tuple(known.get("left_out", ()))
        return cls(**known)

    def to_json(self) -> dict[str, t.Any]:
        """Return the object to write. Secrets of the definition are not stored."""
        definition = self.definition and {k: v for k, v in self.definition._asdict().items() if k not in SECRETS}
        value = {
            **self._asdict(), "criu": self.criu and self.criu._asdict(), "runtime": self.runtime._asdict(),
            "options": asked(self.options), "definition": definition,
        }  # fmt: skip
        return {name: each for name, each in value.items() if name not in _OPTIONAL or each not in (None, False, ())}


_OPTIONAL = ("digest", "size", "members", "links", "statistics", "export", "paused", "from_archive", "left_out")


def asked(options: Options) -> dict[str, t.Any]:
    """Return the options that were given."""
    return {name: value for name, value in options._asdict().items() if value is not None}


def from_podman(container: Container, spec: config.Config) -> Manifest:
    """Return a manifest for an archive that has none, from the description of podman's."""
    return Manifest(
        container.name, created_at=container.checkpointed_at,
        runtime=Software(os.path.basename(container.runtime) or None), config_digest=config.digest(dict(spec)),
        stop_signal=container.stop_signal, stop_timeout=container.stop_timeout, started_at=container.started_at,
        rootfs="changes",
    )  # fmt: skip


def check(manifest: Manifest, name: str, path: str) -> Manifest:
    """Return the manifest of an archive, marked as such. Raises InvalidOption if it does not match the request."""
    if manifest.format != FORMAT:
        raise InvalidOption(f"{path} has the format {manifest.format}, which needs a newer release.")
    if manifest.name != name:
        hint = f"Set name: {manifest.name}, and new_name to use another name."
        raise InvalidOption(f"{path} is of the container {manifest.name}, not of {name}.", hint=hint)
    return manifest._replace(from_archive=True)
