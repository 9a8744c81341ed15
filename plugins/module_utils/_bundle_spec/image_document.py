# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the manifest and the configuration of an image, and return checked values. Pure.

No other code reads the raw documents of an image, because the author of the image is not trusted. A document that does not
conform to the image-spec is refused with one sentence that names the field. Null is the same as absent, as in Go.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import typing as t

from .._base.errors import InvalidOption
from .._trust.annotations import is_text

MOST_BYTES = 4 * 2**20  # of a document; skopeo has the same limit
_MOST_LAYERS = 1000
_MOST_VOLUMES = 256  # each is a directory and a mount
_MOST_ENTRIES = 10000
_MOST_WORD = (
    32 << 16
) - 1  # of an argument or variable on any host (MAX_ARG_STRLEN); program_words has that of this one
_MOST_NUMBER = 2**63 - 1
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer."
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PLATFORM = re.compile(r"[A-Za-z0-9._-]{0,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # in paths, which users read in messages and logs
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(?:tcp|udp|sctp))?", re.IGNORECASE)


class Healthcheck(t.NamedTuple):
    """A health check. Times are in nanoseconds. 0 means the default of the program that checks."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ImageConfig(t.NamedTuple):
    """The configuration of an image. Paths are absolute and clean."""

    diff_ids: tuple[str, ...] = ()
    architecture: str = ""
    os: str = ""
    variant: str = ""
    author: str = ""
    created: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    workdir: str = ""
    labels: t.Mapping[str, str] = {}
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None


class Manifest(t.NamedTuple):
    """Digests of the configuration and of the layers in their compressed form."""

    config: str
    layers: tuple[str, ...]


def is_digest(value: t.Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def file_name(digest: str) -> str:
    """Return the name of a digest in the store. Paths there consist of digests, so refuse anything else."""
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise InvalidOption(f"{digest[:100]!r} is not a sha256 digest.")
    return found[1]


def chain_id(diff_ids: t.Sequence[str]) -> str:
    """Return the digest of all layers together (image-spec, config.md). It does not depend on their compression."""
    chain = ""
    for layer in diff_ids:
        chain = "sha256:" + hashlib.sha256(f"{chain} {layer}".encode()).hexdigest() if chain else layer
    return chain or "sha256:" + hashlib.sha256(b"").hexdigest()


def files_id(manifest: Manifest, config: ImageConfig) -> str:
    """Return the name of the unpacked files of an image in the store.

    It depends on the actual layers and on their expected contents, so an image only gets the files of another image with
    exactly the same layers. umoci checks the content of every layer, but not whether a layer is missing.
    """
    _check_count(len(manifest.layers), config)
    text = "\n".join(("layers", *manifest.layers, "diff_ids", *config.diff_ids))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def parse_index(data: bytes | str) -> str:
    """Return the digest of the one manifest in the index of a layout."""
    entries = _load(data, "index").objects("manifests", 1)
    if not entries:
        raise _not_valid("manifests", "is empty")
    return entries[0].digest()


def parse_manifest(data: bytes | str) -> Manifest:
    """Return an OCI manifest, the format of all manifests in the cache."""
    fields = _load(data, "manifest")
    if fields.integer("schemaVersion") != 2 or fields.text("mediaType") not in ("", _MANIFEST):
        raise _not_valid("its manifest", "is not an OCI image manifest")
    for other in ("manifests", "fsLayers"):
        # As in CVE-2021-41190: programs disagree about a document that is also an index.
        if other in fields:
            raise _not_valid("its manifest", f"has {other}, so it is not clear what it is")
    described = fields.object("config")
    if described.text("mediaType") != _CONFIG:
        raise _not_valid(
            "config.mediaType", f"{described.text('mediaType')[:100]!r} is not that of a container's image"
        )
    layers = fields.objects("layers", _MOST_LAYERS)
    for layer in layers:
        if not layer.text("mediaType").startswith(_LAYER):
            raise _not_valid(f"{layer.where}.mediaType", f"{layer.text('mediaType')[:100]!r} is not that of a layer")
    return Manifest(described.digest(), tuple(layer.digest() for layer in layers))


def check_raw(text: str, config: ImageConfig) -> None:
    """Refuse an image of a registry before it is fetched, as far as possible: an index does not describe its images."""
    fields = _load(text, "manifest")
    if "layers" in fields and "manifests" not in fields:
        _check_count(len(fields.objects("layers", _MOST_LAYERS)), config)


def _check_count(layers: int, config: ImageConfig) -> None:
    if layers != len(config.diff_ids):
        raise _not_valid("it", f"has {layers} layers, and {len(config.diff_ids)} diff_ids for them")


def parse_config(data: bytes | str) -> ImageConfig:
    fields = _load(data, "configuration")
    if "rootfs" not in fields:
        raise _not_valid("it", "is not an image of a container: its configuration lists no layers")
    rootfs = fields.object("rootfs")
    if rootfs.text("type") != "layers":
        raise _not_valid("rootfs.type", "must be 'layers'")
    diff_ids = tuple(
        _digest(word, f"rootfs.diff_ids[{number}]")
        for number, word in enumerate(rootfs.texts("diff_ids", _MOST_LAYERS))
    )
    simple = {name: fields.remark(name) for name in ("author", "created")}
    for name in ("architecture", "os", "variant"):
        simple[name] = fields.text(name)
        if not _PLATFORM.fullmatch(simple[name]):
            raise _not_valid(name, f"{simple[name]!r} is not the name of one")
    config = fields.object("config")
    return ImageConfig(
        diff_ids=diff_ids, **simple, user=config.text("User", 512), ports=_ports(config), env=_env(config),
        entrypoint=_entrypoint(config), cmd=config.texts("Cmd"), volumes=_volumes(config), workdir=_workdir(config),
        labels=config.map("Labels"), stop_signal=config.text("StopSignal", 32), healthcheck=_healthcheck(config),
    )  # fmt: skip


def _ports(config: _Fields) -> tuple[str, ...]:
    """Return the ports. Leave out words that are not ports, such as ``$PORT/tcp`` of a build: nothing depends on it, and docker runs such images."""
    found = map(_PORT.fullmatch, config.names("ExposedPorts", 200000))  # Builders list each port of a range.
    return tuple(port[0] for port in found if port and all(int(number) <= 65535 for number in port.groups("0")))


def _env(config: _Fields) -> tuple[tuple[str, str], ...]:
    """Return the variables. Ignore a name without a value, which is an unset variable in docker."""
    pairs = [word.partition("=") for word in config.texts("Env")]
    for number, (name, equals, _value) in enumerate(pairs):
        if equals and not name:
            raise _not_valid(f"config.Env[{number}]", "is not NAME=VALUE")
    return tuple((name, value) for name, equals, value in pairs if equals)


def _entrypoint(config: _Fields) -> tuple[str, ...]:
    """Return the arguments. A single empty one is how a Dockerfile removes the entry point of its base image."""
    words = config.texts("Entrypoint")
    return () if words == ("",) else words


def _volumes(config: _Fields) -> tuple[str, ...]:
    return tuple(sorted({_path(place, "config.Volumes") for place in config.names("Volumes", _MOST_VOLUMES)}))


def _workdir(config: _Fields) -> str:
    text = config.text("WorkingDir", 4095)
    return _path(text, "config.WorkingDir") if text else ""


def _healthcheck(config: _Fields) -> Healthcheck | None:
    if "Healthcheck" not in config:
        return None
    check = config.object("Healthcheck")
    names = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
    # docker runs an image with a negative number, and nothing here depends on it.
    return Healthcheck(check.texts("Test"), *(max(0, check.integer(name, -_MOST_NUMBER - 1)) for name in names))


class _Fields:
    """An object of a document. ``where`` identifies it in messages.

    Names are not case-sensitive, as in Go, the language of the other programs that read images. Programs would disagree
    about a name with two spellings, so such a document is refused.
    """

    def __init__(self, value: t.Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _not_valid(where or "its document", "must be an object")
        self.where = where
        self._values: dict[str, t.Any] = {}
        for name, item in value.items():
            if name.casefold() in self._values:
                raise _not_valid(where or "its document", f"has {name[:100]!r} twice, in different spellings")
            self._values[name.casefold()] = item

    def __contains__(self, name: str) -> bool:
        return self._values.get(name.casefold()) is not None

    def _take(self, name: str, kind: type, empty: t.Any, words: str) -> tuple[t.Any, str]:
        value, where = self._values.get(name.casefold()), f"{self.where}.{name}".lstrip(".")
        # A bool is an int in Python, but not in JSON.
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise _not_valid(where, f"must be {words}")
        return empty if value is None else value, where

    def object(self, name: str) -> _Fields:
        value, where = self._take(name, dict, {}, "an object")
        return _Fields(value, where)

    def objects(self, name: str, most: int) -> list[_Fields]:
        values, where = self._take(name, list, [], "a list")
        _check_length(values, most, where)
        return [_Fields(value, f"{where}[{number}]") for number, value in enumerate(values)]

    def text(self, name: str, most: int = 255) -> str:
        value, where = self._take(name, str, "", "text")
        return _text(value, where, most)

    def remark(self, name: str) -> str:
        """Return text that nothing depends on, or none instead of what no annotation can be."""
        value: str = self._take(name, str, "", "text")[0]
        return value if is_text(value, 4096) else ""

    def texts(self, name: str, most: int = _MOST_ENTRIES) -> tuple[str, ...]:
        values, where = self._take(name, list, [], "a list of texts")
        _check_length(values, most, where)
        return tuple(_text(value, f"{where}[{number}]") for number, value in enumerate(values))

    def names(self, name: str, most: int) -> tuple[str, ...]:
        """Return the keys of a set in the notation of Go: an object whose values are empty objects."""
        values, where = self._take(name, dict, {}, "an object")
        _check_length(values, most, where)
        if not all(value is None or isinstance(value, dict) for value in values.values()):
            raise _not_valid(where, "must be an object of empty objects")
        return tuple(sorted(_text(key, where) for key in values))

    def map(self, name: str) -> dict[str, str]:
        """Return the pairs that can be annotations: nothing depends on one that an image should have."""
        values, where = self._take(name, dict, {}, "an object")
        _check_length(values, _MOST_ENTRIES, where)
        for key, value in values.items():
            if value is not None and not isinstance(value, str):
                raise _not_valid(f"{where}[{key[:100]!r}]", "must be text")
        return {key: value or "" for key, value in values.items() if is_text(key) and is_text(value or "", MOST_BYTES)}

    def integer(self, name: str, least: int = 0) -> int:
        value, where = self._take(name, int, 0, "a whole number")
        if not least <= value <= _MOST_NUMBER:
            raise _not_valid(where, "is out of range")
        return int(value)

    def digest(self) -> str:
        """Return the digest of a descriptor."""
        self.integer("size")
        return _digest(self.text("digest"), f"{self.where}.digest")


def _load(data: bytes | str, what: str) -> _Fields:
    if len(data) > MOST_BYTES:
        raise _not_valid(f"its {what}", f"has more than {MOST_BYTES >> 20} MiB")
    try:
        text = data.decode() if isinstance(data, bytes) else data
        found = json.loads(text, object_pairs_hook=_no_name_twice, parse_int=_integer, parse_constant=_integer)
    except (ValueError, RecursionError) as exc:
        deep = isinstance(exc, RecursionError)
        raise _not_valid(f"its {what}", "is nested too deeply" if deep else f"is not JSON ({str(exc)[:100]})") from None
    if not isinstance(found, dict):
        raise _not_valid(f"its {what}", "must be an object")
    return _Fields(found, "")


def _no_name_twice(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _integer(text: str) -> int:
    """Refuse NaN and Infinity, and numbers that would take minutes to convert."""
    if len(text) > 20 or not text.lstrip("-").isdecimal():
        raise ValueError("a number is out of range")
    return int(text)


def _check_length(values: t.Sized, most: int, where: str) -> None:
    if len(values) > most:
        raise _not_valid(where, f"has more than {most} entries")


def _text(value: t.Any, where: str, most: int = _MOST_WORD) -> str:
    if not isinstance(value, str):
        raise _not_valid(where, "must be text")
    if not is_text(value, most):
        raise _not_valid(where, f"is longer than {most} bytes, or holds a NUL or half of a character")
    return value


def _digest(value: str, where: str) -> str:
    if not is_digest(value):
        raise _not_valid(where, "must be sha256: and 64 hexadecimal digits in lower case")
    return value


def _path(value: str, where: str) -> str:
    """Return a normalized absolute path. A relative path starts at the root directory, as in podman."""
    clean = posixpath.normpath("/" + value.lstrip("/"))
    words = clean.encode().split(b"/")
    if _CONTROL.search(value) or not value or len(clean.encode()) > 4095 or any(len(word) > 255 for word in words):
        raise _not_valid(where, f"has {value[:100]!r}, which is not a path")
    return clean


def _not_valid(where: str, what: str) -> InvalidOption:
    return InvalidOption(f"The image is not valid: {where} {what}.")
