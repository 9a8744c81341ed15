# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up images and fetch them with skopeo into a cache that all bundles of the host share.

    STATE/images/blobs/      layers, configurations and manifests by digest, each only once
    STATE/images/layouts/    one OCI layout for each image, by the digest of its manifest; it shares the blobs
    STATE/images/references/ the image of a reference and platform at the last lookup, and the stamp of its file

A registry is asked as ``pull`` says. An image of this host is the current one unless ``pull`` is never, as in podman: its file is
read again when it is another one, and a store of images is asked each time.

Every layout has its own index, so no lock is needed. A fetched file counts after it has been renamed. Only image_document.py
reads the documents of an image, and its file_name creates every path in the cache.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import stat
import typing as t

from .._base.deadline import Deadline
from .._base.errors import AbsentFile, InvalidOption, LongshoreError, ProgramFailed, reason_of
from .._base.files import make_directory, read_json, write_text
from .._bundle_spec import image_document, parse
from .._bundle_spec.options import Request, Source
from .facts import architecture

TAG = "image"  # of the one image in a layout
# As podman, but not skopeo: of a reference with both, the digest counts.
_TAG_AND_DIGEST = re.compile(r"(docker://(?:.*/)?[^/:@]+):[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@[a-z0-9]+:[0-9a-f]+)")
_TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "dir", "containers-storage", "docker-daemon")


class Images:
    """The cache below one state directory. The constructor does no I/O."""

    def __init__(self, state_dir: str) -> None:
        self._root = f"{state_dir}/images"

    def layout(self, source: Source) -> str:
        """Return the location of an image in the cache in the notation of umoci."""
        return f"{self._path((source.image or {})['manifest'])}:{TAG}"

    def _path(self, manifest: str) -> str:
        return f"{self._root}/layouts/{image_document.file_name(manifest)}"

    def look(self, request: Request, deadline: Deadline, *, check: bool = False) -> Source:
        """Return the current image. Write nothing but the stamp of a file that has the same image as before, and with ``check`` not
        even that. Raises LongshoreError."""
        reference = check_reference(request.image or "")
        file, known = parse.image_file(reference), self._known(request)
        if check and file and not os.path.lexists(file) and not known:
            raise AbsentFile(f"The image {reference} does not exist.")
        if request.pull == "never":
            if known:
                return known
            raise InvalidOption(
                f"The image {reference} is not in the cache of this host, and pull: never does not fetch it."
            )
        stamp, always = _stamp(reference), request.pull == "always"
        if known and not always and (stamp is None or stamp == known.stamp != ()):
            return known
        with _credentials(request) as login:
            try:
                raw = self._inspect(request, login, deadline, "--raw")
            except ProgramFailed as exc:
                if not known or always or stamp:
                    raise
                return known._replace(
                    problem=exc.message
                )  # It is still what was asked for, also if its store is pruned.
            digest = "sha256:" + hashlib.sha256(raw.encode()).hexdigest()
            if known and (known.image or {})["digest"] == digest:
                if stamp and not check:
                    # Only the next task needs it, to be faster.
                    with contextlib.suppress(LongshoreError):
                        self._remember(request, dict(known.image or {}), stamp)
                return known
            config = image_document.parse_config(self._inspect(request, login, deadline, "--config", "--raw"))
        image_document.check_raw(raw, config)
        image = {"reference": reference, "platform": request.platform, "digest": digest}
        digests = image_document.chain_id(config.diff_ids)
        return Source("image", digests, config, image, cached=False, stamp=stamp or ())

    def _known(self, request: Request) -> Source | None:
        """Return an image of the cache with the stamp of its file, or None if it is missing or incomplete."""
        found = read_json(self._remembered(request)) or {}
        image, stamp = found.get("image"), found.get("stamp")
        if not isinstance(image, dict) or not all(
            image_document.is_digest(image.get(n)) for n in ("digest", "manifest")
        ):
            return None
        known = {"reference": request.image, "platform": request.platform, "digest": image["digest"]}
        try:
            if os.path.isdir(self._path(image["manifest"])):
                source = self._source({**known, "manifest": image["manifest"]})
                return source._replace(stamp=tuple(stamp) if isinstance(stamp, list) else ())
        except LongshoreError:
            # Damaged, or from a release without this check: look it up again.
            if request.pull == "never":
                raise
        return None

    def _remember(self, request: Request, image: dict[str, t.Any], stamp: tuple[int, ...]) -> None:
        make_directory(f"{self._root}/references", mode=0o700)
        write_text(self._remembered(request), json.dumps({"image": image, "stamp": stamp}))

    def _source(self, image: dict[str, t.Any]) -> Source:
        """Return an image of the cache. Read its small documents each time, and verify them with the digests in their names."""
        manifest = image_document.parse_manifest(self._blob(image["manifest"]))
        config = image_document.parse_config(self._blob(manifest.config))
        files = image_document.files_id(manifest, config)
        return Source("image", image_document.chain_id(config.diff_ids), config, image, files=files)

    def _remembered(self, request: Request) -> str:
        key = hashlib.sha256(f"{request.image} {request.platform or ''}".encode()).hexdigest()[:32]
        return f"{self._root}/references/{key}.json"

    def _inspect(self, request: Request, login: list[str], deadline: Deadline, *how: str) -> str:
        from . import tools

        argv = ["skopeo", *_platform(request), "inspect", *how, *login, _tls(request, ""), _plain(request.image or "")]
        if request.ca_cert_dir:
            argv[-1:-1] = ["--cert-dir", request.ca_cert_dir]
        return tools.call(argv, deadline, what=f"look up the image {request.image}").stdout

    def fetch(self, request: Request, source: Source, deadline: Deadline) -> Source:
        """Copy exactly the image that was looked up into the cache. Do not fetch existing layers again."""
        from . import tools

        image = dict(source.image or {})
        blobs = f"{self._root}/blobs/sha256"
        make_directory(blobs, mode=0o700)
        with tools.workspace(f"{self._root}/layouts") as space, _credentials(request) as login:
            layout = f"{space}/layout"
            make_directory(layout, mode=0o700)
            os.symlink(f"{self._root}/blobs", f"{layout}/blobs")
            argv = [
                "skopeo", *_platform(request), "copy", "--quiet", *login, _tls(request, "src-"),
                # umoci (0.4.7) does not read zstd. A layout cannot hold signatures; the policy of this host has checked them.
                "--dest-compress-format", "gzip", "--remove-signatures",
                pinned(image["reference"], image["digest"]), f"oci:{layout}:{TAG}",
            ]  # fmt: skip
            if request.ca_cert_dir:
                argv[-2:-2] = ["--src-cert-dir", request.ca_cert_dir]
            tools.call(argv, deadline, what=f"fetch the image {image['reference']}", place=self._root, temporary=space)
            image["manifest"] = image_document.parse_index(_read(f"{layout}/index.json"))
            fetched = self._source(image)
            tools.keep(layout, self._path(image["manifest"]))
        self._remember(request, image, source.stamp)
        return fetched

    def _blob(self, digest: str) -> bytes:
        """Return a document of the cache after a check of its digest."""
        data = _read(f"{self._root}/blobs/sha256/{image_document.file_name(digest)}")
        if len(data) <= image_document.MOST_BYTES and f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise LongshoreError(
                f"The cache {self._root} is damaged: the content of {digest} does not match its digest."
            )
        return data


def _read(path: str) -> bytes:
    """Return a file of the cache, at most one byte more than allowed."""
    try:
        with open(path, "rb") as stream:
            return stream.read(image_document.MOST_BYTES + 1)
    except OSError as exc:
        raise LongshoreError(f"The cache is damaged: {path} cannot be read: {reason_of(exc)}.") from exc


def check_reference(reference: str) -> str:
    transport, colon, rest = reference.partition(":")
    if not colon or transport not in _TRANSPORTS or not rest or "\0" in reference:
        hint = f"Write docker://docker.io/library/busybox:1, or use one of {', '.join(_TRANSPORTS[1:])} as prefix."
        raise InvalidOption(f"{reference!r} is not an image reference in the notation of skopeo.", hint=hint)
    return reference


def _plain(reference: str) -> str:
    found = _TAG_AND_DIGEST.fullmatch(reference)
    return found[1] + found[2] if found else reference


def _stamp(reference: str) -> tuple[int, ...] | None:
    """Return what changes when the file of an image is replaced. None where nothing tells more than the cache: for a registry, and for
    a file that is gone. Empty for a store of images, which has to be asked."""
    path = parse.image_file(reference)
    if path is None:
        return None if reference.startswith("docker:") else ()
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):  # Reading another one may never end.
        raise InvalidOption(f"{path} of the image {reference} is not a regular file.")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def pinned(reference: str, digest: str) -> str:
    """Return a reference to exactly this content, if the transport supports it: a tag may change at any moment."""
    if not reference.startswith("docker://"):
        return reference
    name = reference.partition("@")[0]
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{digest}"


def other_platform(source: Source, request: Request) -> str | None:
    """Return the platform of an image if it differs from the requested one."""
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
    """Yield the option with credentials for skopeo. The password is in no command line and in no file: skopeo reads it from
    memory of this process."""
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
