# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image says about itself, right and wrong."""

from __future__ import annotations

import copy
import hashlib
import json
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import image_document
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import (
    Healthcheck,
    ImageConfig,
    Manifest,
)

pytestmark = pytest.mark.pure

ONE, TWO, THREE = (f"sha256:{hashlib.sha256(word.encode()).hexdigest()}" for word in ("one", "two", "three"))
CONFIG: dict[str, t.Any] = {
    "architecture": "arm", "os": "linux", "variant": "v7", "author": "me", "created": "2026-01-01T00:00:00Z",
    "history": [{"created_by": "x", "empty_layer": True}], "docker_version": "20", "container_config": {"Cmd": None},
    "rootfs": {"type": "layers", "diff_ids": [ONE, TWO]},
    "config": {
        "User": "app:wheel", "ExposedPorts": {"80/tcp": {}, "53/UDP": {}, "8000-8010": {}, "1/sctp": None},
        "Env": ["PATH=/bin", "EMPTY=", "A=b=c", "DOTS.and-dashes=x"], "Entrypoint": ["/entry"], "Cmd": ["a", ""],
        "Volumes": {"/data/": {}, "relative": {}}, "WorkingDir": "work/../here", "Labels": {"a": "b", "empty": None},
        "StopSignal": "SIGINT", "ArgsEscaped": True, "OnBuild": None, "Shell": ["/bin/sh"], "Hostname": "x",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Retries": 3},
    },
}  # fmt: skip
MANIFEST: dict[str, t.Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": THREE, "size": 5},
    "layers": [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": ONE, "size": 1, "annotations": {}},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": TWO, "size": 2},
    ],
    "annotations": {"a": "b"},
}
LEFT_OUT = object()
# What is not a digest, and would be a path or another one.
NO_DIGESTS = [
    "", ".", "..", "../x", "../../../..", "/etc", "sha256:", "sha256:..", ONE[7:], f"{ONE}x", ONE[:-1], f"{ONE}\n", f" {ONE}",
    ONE.upper(), f"sha256:{ONE[7:].upper()}", f"SHA256:{ONE[7:]}", f"sha512:{'0' * 128}", f"md5:{'0' * 32}", f"x:{ONE}",
    f"sha256:{'0' * 63}/", f"sha256:{'0' * 61}/..", "sha256:" + "\u0660" * 64, f"sha256:{'g' * 64}", "sha256:\0" + "0" * 63,
]  # fmt: skip
OTHER_TYPES = [5, 1.5, True, "text", [], ["a"], {}, {"a": "b"}]


def changed(document: dict[str, t.Any], path: str, value: t.Any) -> str:
    """The document as JSON with one value replaced."""
    made = copy.deepcopy(document)
    at: t.Any = made
    *parents, last = (int(word) if word.isdigit() else word for word in path.split("."))
    for word in parents:
        at = at[word]
    if value is LEFT_OUT:
        del at[last]
    else:
        at[last] = value
    return json.dumps(made)


def test_a_configuration() -> None:
    assert image_document.parse_config(json.dumps(CONFIG).encode()) == ImageConfig(
        diff_ids=(ONE, TWO), architecture="arm", os="linux", variant="v7", author="me", created="2026-01-01T00:00:00Z",
        user="app:wheel", ports=("1/sctp", "53/UDP", "80/tcp", "8000-8010"),
        env=(("PATH", "/bin"), ("EMPTY", ""), ("A", "b=c"), ("DOTS.and-dashes", "x")), entrypoint=("/entry",), cmd=("a", ""),
        volumes=("/data", "/relative"), workdir="/here", labels={"a": "b", "empty": ""}, stop_signal="SIGINT",
        healthcheck=Healthcheck(("CMD", "true"), interval=30000000000, retries=3),
    )  # fmt: skip


def test_what_docker_and_podman_run() -> None:
    config = {"Env": ["A=1", "B", ""], "Entrypoint": [""], "Cmd": ["true"]}
    found = image_document.parse_config(json.dumps({**CONFIG, "config": config}))
    assert (found.env, found.entrypoint, found.cmd) == ((("A", "1"),), (), ("true",))


@pytest.mark.parametrize("config", [LEFT_OUT, None, {}, dict.fromkeys(CONFIG["config"])])
def test_null_is_absent(config: t.Any) -> None:
    text = changed({**CONFIG, "architecture": None, "author": None}, "config", config)
    found = image_document.parse_config(text)
    assert found == ImageConfig(diff_ids=(ONE, TWO), os="linux", variant="v7", created="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(("field", "kind"), [
    ("architecture", str), ("os", str), ("variant", str), ("author", str), ("created", str), ("rootfs", dict), ("config", dict),
    ("rootfs.type", str), ("rootfs.diff_ids", list), ("rootfs.diff_ids.0", str), ("config.User", str), ("config.Env", list),
    ("config.Env.0", str), ("config.Entrypoint", list), ("config.Entrypoint.0", str), ("config.Cmd", list), ("config.Cmd.1", str),
    ("config.ExposedPorts", dict), ("config.ExposedPorts.80/tcp", dict), ("config.Volumes", dict), ("config.Volumes./data/", dict),
    ("config.WorkingDir", str), ("config.Labels", dict), ("config.Labels.a", str), ("config.StopSignal", str),
    ("config.Healthcheck", dict), ("config.Healthcheck.Test", list), ("config.Healthcheck.Test.0", str),
    ("config.Healthcheck.Interval", int), ("config.Healthcheck.Retries", int),
])  # fmt: skip
def test_a_configuration_of_other_types(field: str, kind: type) -> None:
    for value in OTHER_TYPES:
        if not isinstance(value, kind) or isinstance(value, bool):
            with pytest.raises(InvalidOption, match=r"The image is not valid: .*must be"):
                image_document.parse_config(changed(CONFIG, field, value))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("rootfs", LEFT_OUT, "is not an image of a container"),
        ("rootfs", {}, "rootfs.type must be 'layers'"),
        ("rootfs.type", "zfs", "rootfs.type must be 'layers'"),
        ("rootfs.diff_ids", [ONE] * 1001, "rootfs.diff_ids has more than 1000 entries"),
        ("config.Env", ["=A"], r"config.Env\[0\] is not NAME=VALUE"),
        ("config.Env", ["A=\0"], r"config.Env\[0\] is longer than 2097151 bytes, or holds a NUL"),
        ("config.Env", ["A=" + "x" * 2097152], r"config.Env\[0\] is longer"),
        ("config.Env", ["A=1"] * 10001, "config.Env has more than 10000 entries"),
        ("config.Env", [None], r"config.Env\[0\] must be text"),
        ("config.Cmd", ["a\0b"], r"config.Cmd\[0\] .*NUL"),
        ("config.Entrypoint", ["\u20ac" + "x" * 2097150], r"config.Entrypoint\[0\] is longer"),
        ("config.Entrypoint", ["\ud800"], r"config.Entrypoint\[0\] .*half of a character"),
        ("config.Entrypoint", "/bin/sh", "config.Entrypoint must be a list of texts"),
        ("config.User", 1000, "config.User must be text"),
        ("config.User", "a\0", "config.User is longer than 512 bytes, or holds a NUL"),
        ("config.User", "9" * 5000, "config.User is longer"),
        ("config.WorkingDir", "/a\0b", "config.WorkingDir .*NUL"),
        ("config.WorkingDir", "/" + "a/" * 3000, "config.WorkingDir is longer"),
        ("config.WorkingDir", "/" + "a" * 256, "config.WorkingDir .*is not a path"),
        ("config.Volumes", {"/a\0": {}}, "config.Volumes .*NUL"),
        ("config.Volumes", {"/\ud800": {}}, "config.Volumes .*half of a character"),
        ("architecture", "amd64\n", "architecture .* is not the name of one"),
        ("os", "../linux", "os '../linux' is not the name of one"),
        ("variant", "v" * 65, "variant .* is not the name of one"),
        ("config.Volumes", {"/a\nb": {}}, r"config.Volumes has '/a\\nb', which is not a path"),
        ("config.WorkingDir", "/\x1b[2J", r"config.WorkingDir has '/\\x1b\[2J', which is not a path"),
        ("config.Volumes", {"/a\x7f": {}}, r"config.Volumes has '/a\\x7f', which is not a path"),
        ("config.Volumes", {"/a\x85b": {}}, r"config.Volumes has '/a\\x85b', which is not a path"),
        ("config.WorkingDir", "/a\tb", r"config.WorkingDir has '/a\\tb', which is not a path"),
        ("config.Volumes", {"": {}}, "config.Volumes has '', which is not a path"),
        ("config.Volumes", {"/" + "a" * 256: {}}, "config.Volumes .*is not a path"),
        ("config.Volumes", {"/" + "a/" * 3000: {}}, "config.Volumes .*is not a path"),
        ("config.Volumes", {f"/{number}": {} for number in range(257)}, "config.Volumes has more than 256 entries"),
        ("config.Volumes", {"/a": "b"}, "config.Volumes must be an object of empty objects"),
        ("config.StopSignal", "x" * 33, "config.StopSignal is longer"),
        ("config.Healthcheck", {"Interval": -(2**63) - 1}, "config.Healthcheck.Interval is out of range"),
        ("rootfs.diff_ids", [f"{ONE}\u00a0"], "must be sha256:"),
        ("config.Healthcheck", {"Retries": 2**63}, "config.Healthcheck.Retries is out of range"),
        ("config.Healthcheck", {"Timeout": 1.5}, "config.Healthcheck.Timeout must be a whole number"),
        ("config.cmd", ["other"], "config has 'cmd' twice, in different spellings"),
        ("ROOTFS", {"type": "layers", "diff_ids": []}, "has 'ROOTFS' twice, in different spellings"),
        ("rootf\u017f", {}, "twice, in different spellings"),
        ("rootfs.Diff_IDs", [ONE], "rootfs has 'Diff_IDs' twice"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_valid(field: str, value: t.Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=f"The image is not valid: .*{says}"):
        image_document.parse_config(changed(CONFIG, field, value))


@pytest.mark.parametrize(
    "place", ["/my\u00a0data", "/\u3000", "/a\u200bb", "/\u202edata", "/a\u2028b", "/\ue000", "/\ufeffa", "/ a b "]
)
def test_a_path_may_have_any_characters_but_control_characters(place: str) -> None:
    """docker and podman run such images."""
    text = json.dumps({**CONFIG, "config": {"Volumes": {place: {}}, "WorkingDir": place}})
    found = image_document.parse_config(text)
    assert (found.volumes, found.workdir) == ((place,), place)


@pytest.mark.parametrize("value", ["x" * 4097, "\u20ac" * 1366, "a\0b", "\ud800"])
def test_a_remark_that_does_not_fit_is_left_out(value: str) -> None:
    document = {**CONFIG, "author": value, "created": value, "config": {"Labels": {"a": "b"}}}
    found = image_document.parse_config(json.dumps(document))
    assert (found.author, found.created, found.labels) == ("", "", {"a": "b"})
    assert image_document.parse_config(json.dumps({**CONFIG, "author": "x" * 4096})).author == "x" * 4096


def test_a_label_that_does_not_fit_is_left_out() -> None:
    labels = {
        "a": "b",
        "c\0": "d",
        "e": "f\0",
        "\ud800": "g",
        "h": "\udfff",
        "i" * 70000: "j",
        "k": "l" * 70000,
        "m": None,
    }
    found = image_document.parse_config(json.dumps({**CONFIG, "config": {"Labels": labels}}))
    assert found.labels == {"a": "b", "k": "l" * 70000, "m": ""}


@pytest.mark.parametrize("name", ["Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"])
def test_a_negative_number_of_a_health_check_is_the_default(name: str) -> None:
    for number in (-1, -(2**63)):
        text = json.dumps({**CONFIG, "config": {"Healthcheck": {"Test": ["CMD", "true"], name: number}}})
        assert image_document.parse_config(text).healthcheck == Healthcheck(("CMD", "true"))


def test_names_match_as_in_go() -> None:
    text = json.dumps(
        {"RootFS": {"Type": "layers", "DIFF_IDS": [ONE]}, "Config": {"cmd": ["a"], "wor\u212aingdir": "/x"}}
    )
    found = image_document.parse_config(text)
    assert (found.diff_ids, found.cmd, found.workdir) == ((ONE,), ("a",), "/x")


@pytest.mark.parametrize("digest", NO_DIGESTS)
def test_what_is_no_digest_is_nowhere_taken_for_one(digest: str) -> None:
    assert not image_document.is_digest(digest)
    with pytest.raises(InvalidOption, match="is not a sha256 digest"):
        image_document.file_name(digest)
    wrong = r"must be sha256: and 64 hexadecimal digits|longer than \d+ bytes, or holds a NUL"
    with pytest.raises(InvalidOption, match=rf"The image is not valid: rootfs.diff_ids\[1\] (is )?({wrong})"):
        image_document.parse_config(changed(CONFIG, "rootfs.diff_ids.1", digest))
    for field in ("config", "layers.0"):
        with pytest.raises(InvalidOption, match=f"The image is not valid: .*digest (is )?({wrong})"):
            image_document.parse_manifest(changed(MANIFEST, f"{field}.digest", digest))


def test_a_manifest() -> None:
    assert image_document.parse_manifest(json.dumps(MANIFEST)) == Manifest(THREE, (ONE, TWO))
    assert image_document.parse_manifest(changed(MANIFEST, "mediaType", LEFT_OUT)) == Manifest(THREE, (ONE, TWO))
    assert image_document.parse_manifest(changed(MANIFEST, "layers", None)) == Manifest(THREE, ())
    assert image_document.parse_index(json.dumps({"schemaVersion": 2, "manifests": [MANIFEST["config"]]})) == THREE


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("schemaVersion", 1, "is not an OCI image manifest"),
        ("schemaVersion", True, "schemaVersion must be a whole number"),
        ("mediaType", "application/vnd.oci.image.index.v1+json", "is not an OCI image manifest"),
        ("mediaType", [], "mediaType must be text"),
        ("manifests", [], "has manifests, so it is not clear what it is"),
        ("fsLayers", [{}], "has fsLayers, so it is not clear"),
        ("config", LEFT_OUT, "config.mediaType '' is not that of"),
        ("config", [], "config must be an object"),
        ("config.mediaType", "application/vnd.cncf.helm.config.v1+json", "helm.* is not that of a container's image"),
        ("config.size", -1, "config.size is out of range"),
        ("config.size", "5", "config.size must be a whole number"),
        ("config.digest", None, "config.digest must be sha256"),
        ("config.digest", [], "config.digest must be text"),
        ("layers", {}, "layers must be a list"),
        ("layers", [[]], r"layers\[0\] must be an object"),
        ("layers", [{}] * 1001, "layers has more than 1000 entries"),
        ("layers.1.mediaType", "text/plain", r"layers\[1\].mediaType 'text/plain' is not that of a layer"),
        ("layers.0.size", 2**64, r"layers\[0\].size is out of range"),
        ("Layers", [], "has 'Layers' twice, in different spellings"),
        ("layer\u017f", [], "twice, in different spellings"),
        ("layers.0.Digest", TWO, r"layers\[0\] has 'Digest' twice"),
    ],
)
def test_a_manifest_that_is_not_valid(field: str, value: t.Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=f"The image is not valid: .*{says}"):
        image_document.parse_manifest(changed(MANIFEST, field, value))


@pytest.mark.parametrize(
    "parse", [image_document.parse_config, image_document.parse_manifest, image_document.parse_index]
)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"), ("{", "is not JSON"), ("[]", "must be an object"), ("null", "must be an object"), ("5", "must be an"),
        ('"x"', "must be an object"), ("[" * 100000, "nested too deeply"), ('{"a":' * 100000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "a number is out of range"), ('{"a": -' + "9" * 5000 + "}", "a number is out of range"),
        ('{"a": NaN}', "a number is out of range"), ('{"a": -Infinity}', "a number is out of range"),
        ('{"a": 1, "a": 2}', "a name is there twice"), ('{"a": {"b": 1, "b": 1}}', "a name is there twice"),
        ('{"a": "' + "x" * image_document.MOST_BYTES + '"}', "has more than 4 MiB"), ("\ufeff{}", "is not JSON"),
    ],
    ids=range(16),
)  # fmt: skip
def test_a_document_that_is_not_valid(parse: t.Callable[[str | bytes], t.Any], text: str, says: str) -> None:
    for value in (text, text.encode()):
        with pytest.raises(InvalidOption, match=f"The image is not valid: its .*{says}"):
            parse(value)


@pytest.mark.parametrize("data", [b"\xff", b'{"a": "\xff"}', json.dumps(CONFIG).encode("utf-16")])
def test_a_document_is_utf_8(data: bytes) -> None:
    with pytest.raises(InvalidOption, match="The image is not valid: its configuration is not JSON"):
        image_document.parse_config(data)


def test_files_have_a_name_of_their_own_for_other_layers_or_contents() -> None:
    image = ImageConfig(diff_ids=(ONE, TWO))
    honest = image_document.files_id(Manifest(THREE, (ONE, TWO)), image)
    assert image_document.is_digest(honest)
    others = [
        image_document.files_id(Manifest(THREE, (TWO, ONE)), image),
        image_document.files_id(Manifest(THREE, (ONE, THREE)), image),
        image_document.files_id(Manifest(THREE, (ONE, TWO)), ImageConfig(diff_ids=(TWO, ONE))),
        image_document.files_id(Manifest(THREE, (ONE,)), ImageConfig(diff_ids=(ONE,))),
        image_document.files_id(Manifest(THREE, ()), ImageConfig()),
        image_document.chain_id(image.diff_ids),
    ]
    assert len({honest, *others}) == 7
    assert image_document.files_id(Manifest(TWO, (ONE, TWO)), image) == honest


@pytest.mark.parametrize(
    ("layers", "diff_ids"), [((ONE,), (ONE, TWO)), ((ONE, TWO), (ONE,)), ((), (ONE,)), ((ONE,), ())]
)
def test_every_layer_has_a_content(layers: tuple[str, ...], diff_ids: tuple[str, ...]) -> None:
    says = f"The image is not valid: it has {len(layers)} layers, and {len(diff_ids)} diff_ids"
    with pytest.raises(InvalidOption, match=says):
        image_document.files_id(Manifest(THREE, layers), ImageConfig(diff_ids=diff_ids))
    raw = json.dumps({"schemaVersion": 2, "layers": [{"digest": layer} for layer in layers]})
    with pytest.raises(InvalidOption, match=says):
        image_document.check_raw(raw, ImageConfig(diff_ids=diff_ids))
    image_document.check_raw(json.dumps({"manifests": []}), ImageConfig(diff_ids=diff_ids))


def test_the_name_of_all_contents_together_is_that_of_the_image_spec() -> None:
    both = f"sha256:{hashlib.sha256(f'{ONE} {TWO}'.encode()).hexdigest()}"
    assert image_document.chain_id([ONE]) == ONE
    assert image_document.chain_id([ONE, TWO]) == both
    assert image_document.is_digest(image_document.chain_id([]))


@pytest.mark.parametrize(
    "text",
    [
        "http",
        "80/http",
        "",
        "$PORT/tcp",
        "${PORT}",
        "65536",
        "1-65536/tcp",
        "9" * 5000,
        "\u0661",
        "80/tcp\n",
        "/tcp",
        "80/",
        " 80",
    ],
)
def test_what_is_no_port_is_left_out(text: str) -> None:
    """docker runs such an image."""
    for given, expected in (((text, "80/tcp", "8000-8010"), ("80/tcp", "8000-8010")), ((text,), ())):
        document = changed(CONFIG, "config.ExposedPorts", {key: {} for key in given})
        assert image_document.parse_config(document.encode()).ports == expected
