# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: looked up and fetched with skopeo into a cache that all bundles of the host share.

    STATE/images/blobs/      layers, configurations and manifests by digest, each there once
    STATE/images/layouts/    one OCI layout for each image, by the digest of its manifest; its blobs are the above
    STATE/images/references/ what a reference and platform stand for since they were last asked for

Every layout has an index of its own, so nobody has to lock one. What is fetched counts once it has been renamed. What a
document of an image says is read by image_document.py alone, and every path in the cache is made by its file_name.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import typing as t

from .._base.deadline import Deadline
from .._base.errors import EngineError, InvalidInput, reason_of
from .._base.files import make_directory, read_json, write_text
from .._bundle_spec import image_document, parse
from .._bundle_spec.options import Request, Source
from .facts import architecture

TAG = "image"  # of the one image in a layout
_TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "dir", "containers-storage", "docker-daemon")


class Images:
    """The cache below one state directory. Stores only; touches the disk when asked to."""

    def __init__(self, state_dir: str) -> None:
        self._root = f"{state_dir}/images"

    def layout(self, source: Source) -> str:
        """Where an image is in the cache, as umoci wants it."""
        return f"{self._path((source.image or {})['manifest'])}:{TAG}"

    def _path(self, manifest: str) -> str:
        return f"{self._root}/layouts/{image_document.file_name(manifest)}"

    def look(self, request: Request, deadline: Deadline) -> Source:
        """What the image is now, from the cache where ``pull`` allows; nothing is written. Raises EngineError."""
        reference = check_reference(request.image or "")
        known = self._known(request)
        if request.pull == "never" and not known:
            raise InvalidInput(
                f"The image {reference} is not in the cache of this host, and pull: never forbids to fetch it."
            )
        if known and request.pull != "always":
            return known
        with _credentials(request) as login:
            raw = self._inspect(request, login, deadline, "--raw")
            digest = "sha256:" + hashlib.sha256(raw.encode()).hexdigest()
            if known and (known.image or {})["digest"] == digest:
                return known
            config = image_document.parse_config(self._inspect(request, login, deadline, "--config", "--raw"))
        image_document.check_raw(raw, config)
        image = {"reference": reference, "platform": request.platform, "digest": digest}
        return Source("image", image_document.chain_id(config.diff_ids), config, image, cached=False)

    def _known(self, request: Request) -> Source | None:
        """Return what the cache has of an image; None where that is nothing, or not all that it needs."""
        image = (read_json(self._remembered(request)) or {}).get("image")
        if not isinstance(image, dict) or not all(
            image_document.is_digest(image.get(n)) for n in ("digest", "manifest")
        ):
            return None
        known = {"reference": request.image, "platform": request.platform, "digest": image["digest"]}
        try:
            if os.path.isdir(self._path(image["manifest"])):
                return self._source({**known, "manifest": image["manifest"]})
        except EngineError:
            # Damaged, or kept by a release that did not check it: it is looked up again.
            if request.pull == "never":
                raise
        return None

    def _source(self, image: dict[str, t.Any]) -> Source:
        """Return an image of the cache, whose documents are read each time: they are small, and their names say whether
        they are whole."""
        manifest = image_document.parse_manifest(self._blob(image["manifest"]))
        config = image_document.parse_config(self._blob(manifest.config))
        files = image_document.files_id(manifest, config)
        return Source("image", image_document.chain_id(config.diff_ids), config, image, files=files)

    def _remembered(self, request: Request) -> str:
        key = hashlib.sha256(f"{request.image} {request.platform or ''}".encode()).hexdigest()[:32]
        return f"{self._root}/references/{key}.json"

    def _inspect(self, request: Request, login: list[str], deadline: Deadline, *how: str) -> str:
        from . import tools

        argv = ["skopeo", *_platform(request), "inspect", *how, *login, _tls(request, ""), request.image or ""]
        if request.ca_cert_dir:
            argv[-1:-1] = ["--cert-dir", request.ca_cert_dir]
        return tools.call(argv, deadline, what=f"look up the image {request.image}").stdout

    def fetch(self, request: Request, source: Source, deadline: Deadline) -> Source:
        """Copy the very image that was looked up into the cache. Layers that are there already are not fetched again."""
        from . import tools

        image = dict(source.image or {})
        blobs = f"{self._root}/blobs/sha256"
        make_directory(blobs, mode=0o700)
        with tools.workspace(f"{self._root}/layouts") as space, _credentials(request) as login:
            made = f"{space}/layout"
            os.mkdir(made, 0o700)
            os.symlink(f"{self._root}/blobs", f"{made}/blobs")
            argv = [
                "skopeo", *_platform(request), "copy", "--quiet", *login, _tls(request, "src-"),
                pinned(image["reference"], image["digest"]), f"oci:{made}:{TAG}",
            ]  # fmt: skip
            if request.ca_cert_dir:
                argv[-2:-2] = ["--src-cert-dir", request.ca_cert_dir]
            tools.call(argv, deadline, what=f"fetch the image {image['reference']}", place=self._root, temporary=space)
            image["manifest"] = image_document.parse_index(_read(f"{made}/index.json"))
            fetched = self._source(image)
            tools.keep(made, self._path(image["manifest"]))
        make_directory(f"{self._root}/references", mode=0o700)
        write_text(self._remembered(request), json.dumps({"image": image}))
        return fetched

    def _blob(self, digest: str) -> bytes:
        """Return a document of the cache, which is what its name says."""
        data = _read(f"{self._root}/blobs/sha256/{image_document.file_name(digest)}")
        if len(data) <= image_document.MOST_BYTES and f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise EngineError(f"The cache {self._root} is damaged: {digest} is not what it should be.")
        return data


def _read(path: str) -> bytes:
    """Return a file of the cache, and no more of it than tells that it is too large."""
    try:
        with open(path, "rb") as stream:
            return stream.read(image_document.MOST_BYTES + 1)
    except OSError as exc:
        raise EngineError(f"The cache is damaged: {path} cannot be read: {reason_of(exc)}.") from exc


def check_reference(reference: str) -> str:
    transport, colon, rest = reference.partition(":")
    if not colon or transport not in _TRANSPORTS or not rest or "\0" in reference:
        hint = f"Write docker://docker.io/library/busybox:1, or one with {', '.join(_TRANSPORTS[1:])} in front."
        raise InvalidInput(f"{reference!r} is not the reference of an image as skopeo has them.", hint=hint)
    return reference


def pinned(reference: str, digest: str) -> str:
    """A reference to just these contents, where the transport can say so: a tag may move at any moment."""
    if not reference.startswith("docker://"):
        return reference
    name = reference.partition("@")[0]
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{digest}"


def other_platform(source: Source, request: Request) -> str | None:
    """What platform an image is for, where that is not the one that is wanted."""
    wanted = parse.platform(request.platform or f"linux/{architecture()}")
    have = (source.config.os or wanted[0], source.config.architecture or wanted[1])
    return None if have == wanted[:2] else "/".join(have)


def _platform(request: Request) -> list[str]:
    if request.platform is None:
        return []
    system, machine, variant = parse.platform(request.platform)
    return ["--override-os", system, "--override-arch", machine, *(["--override-variant", variant] if variant else [])]


def _tls(request: Request, side: str) -> str:
    return f"--{side}tls-verify={str(request.tls_verify).lower()}"


@contextlib.contextmanager
def _credentials(request: Request) -> t.Iterator[list[str]]:
    """The option by which skopeo learns who is asking. A password is in no command line and in no file: skopeo reads it
    from memory of this process."""
    if request.username is None:
        yield ["--authfile", request.authfile] if request.authfile else []
        return
    registry = re.sub(r"^docker://([^/]+)/.*", r"\1", request.image or "")
    if registry == request.image or not re.search(r"[.:]|^localhost$", registry):
        registry = "docker.io"
    secret = base64.b64encode(f"{request.username}:{request.password or ''}".encode()).decode()
    with open(os.memfd_create("auth"), "w+b") as stream:
        stream.write(json.dumps({"auths": {registry: {"auth": secret}}}).encode())
        stream.flush()
        yield ["--authfile", f"/proc/{os.getpid()}/fd/{stream.fileno()}"]
