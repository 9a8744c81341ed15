# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""References, and what a cache that is there says. What skopeo fetches: test_bundles.py."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle import image
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Request, Source

pytestmark = pytest.mark.pure

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    "text",
    [
        "docker://docker.io/library/busybox:1", "oci:/srv/layout:web", "oci-archive:/srv/a.tar", "docker-archive:/a", "dir:/a",
        "containers-storage:localhost/a", "docker-daemon:a:1",
    ],
)  # fmt: skip
def test_references(text: str) -> None:
    assert image.check_reference(text) == text


@pytest.mark.parametrize("text", ["", "busybox", "busybox:1", "http://x", "docker:", "oci:", "docker://a\0b"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidOption, match="is not an image reference") as refused:
        image.check_reference(text)
    assert "docker://docker.io/library/busybox:1" in refused.value.hint


@pytest.mark.parametrize(
    ("reference", "pinned"),
    [
        ("docker://r.example/a:1", f"docker://r.example/a@{DIGEST}"), ("docker://r.example/a", f"docker://r.example/a@{DIGEST}"),
        ("docker://r.example:5000/a/b:1", f"docker://r.example:5000/a/b@{DIGEST}"),
        ("docker://r.example:5000/a/b", f"docker://r.example:5000/a/b@{DIGEST}"),
        (f"docker://r.example/a:1@sha256:{'b' * 64}", f"docker://r.example/a@{DIGEST}"),
        ("oci:/srv/layout:web", "oci:/srv/layout:web"),
    ],
)  # fmt: skip
def test_a_tag_is_pinned(reference: str, pinned: str) -> None:
    assert image.pinned(reference, DIGEST) == pinned


@pytest.mark.parametrize(
    ("have", "wanted", "other"),
    [
        (("linux", "arm64"), "linux/arm64", None), (("linux", "amd64"), "linux/arm64", "linux/amd64"),
        (("", ""), "linux/arm64", None), (("windows", "arm64"), "linux/arm64", "windows/arm64"),
        (("linux", "arm"), "linux/arm/v7", None),
    ],
)  # fmt: skip
def test_another_platform_is_named(have: tuple[str, str], wanted: str, other: str | None) -> None:
    source = Source("image", DIGEST, ImageConfig(os=have[0], architecture=have[1]))
    assert image.other_platform(source, Request("/srv/web", platform=wanted)) == other


class TestCache:
    """One image, as fetch() leaves it."""

    @pytest.fixture(autouse=True)
    def _cache(self, tmp_path: pathlib.Path) -> None:
        self.root = tmp_path / "images"
        (self.root / "blobs/sha256").mkdir(parents=True)
        config = self._blob({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}})
        kind = "application/vnd.oci.image.config.v1+json"
        document = {"schemaVersion": 2, "config": {"mediaType": kind, "digest": config}, "layers": []}
        self.manifest = self._blob(document)
        self.images = image.Images(str(tmp_path))
        os.makedirs(self.images.layout(Source("image", DIGEST, image={"manifest": self.manifest})).rpartition(":")[0])
        self.request = Request("/srv/web", image="oci:/srv/layout:web", pull="never")
        self._remember({"digest": DIGEST, "manifest": self.manifest})

    def _blob(self, document: object) -> str:
        data = json.dumps(document).encode()
        name = hashlib.sha256(data).hexdigest()
        (self.root / "blobs/sha256" / name).write_bytes(data)
        return f"sha256:{name}"

    def _remember(self, found: object) -> None:
        (self.root / "references").mkdir(exist_ok=True)
        key = hashlib.sha256(b"oci:/srv/layout:web ").hexdigest()[:32]
        (self.root / "references" / f"{key}.json").write_text(json.dumps({"image": found}))

    def test_what_is_there_is_taken(self) -> None:
        found = self.images.look(self.request, Deadline(5))
        assert (found.kind, found.cached, found.config.os) == ("image", True, "linux")
        known = {"reference": "oci:/srv/layout:web", "platform": None, "digest": DIGEST, "manifest": self.manifest}
        assert found.image == known

    @pytest.mark.parametrize("found", [None, [], {}, {"digest": DIGEST}, {"digest": DIGEST, "manifest": "../../etc"}])
    def test_what_does_not_say_all_is_not(self, found: object) -> None:
        self._remember(found)
        with pytest.raises(InvalidOption, match="is not in the cache of this host, and pull: never"):
            self.images.look(self.request, Deadline(5))

    def test_a_document_that_is_not_what_its_name_says(self) -> None:
        (self.root / "blobs/sha256" / self.manifest[7:]).write_text("{}")
        with pytest.raises(LongshoreError, match="is damaged"):
            self.images.look(self.request, Deadline(5))
