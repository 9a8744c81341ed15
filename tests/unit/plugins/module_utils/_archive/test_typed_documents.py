# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import copy
import json
import random
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import rights, typed_documents
from ansible_collections.longshore.oci.plugins.module_utils._archive.default_config import within
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Container, from_podman
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition

pytestmark = pytest.mark.pure

SPEC: dict[str, t.Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "/srv/web/rootfs", "readonly": True},
    "process": {
        "terminal": False, "args": ["sleep", "1"], "env": ["A=1"], "cwd": "/", "user": {"uid": 0, "gid": 0, "additionalGids": [5]},
        "capabilities": {"bounding": ["CAP_KILL"]}, "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}],
        "noNewPrivileges": True, "oomScoreAdj": -999, "apparmorProfile": "x", "selinuxLabel": "a:b:c:s0",
    },
    "hostname": "web",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
    "annotations": {"a": "b"},
    "hooks": {"poststop": [{"path": "/bin/true", "args": ["true"], "env": [], "timeout": 1}]},
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": -1}],
            "memory": {"limit": -1, "disableOOMKiller": False}, "cpu": {"cpus": "0-1", "shares": 3}, "pids": {"limit": 10},
        },
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]},
        "sysctl": {"net.ipv4.ip_forward": "1"}, "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
        "cgroupsPath": "machine.slice:longshore:web",
    },
}  # fmt: skip
MANIFEST: dict[str, t.Any] = {
    "format": 1, "name": "web", "created_at": "2026-06-01T12:00:00.123456Z", "criu": {"name": "criu", "path": "/x", "version": "4.1"},
    "options": {"tcp_established": True, "manage_cgroups_mode": "ignore", "pre_dump_rounds": 3}, "kernel": "6.1",
    "runtime": {"name": "crun", "path": "/usr/bin/crun", "version": "1.21"}, "architecture": "x86_64",
    "definition": {"bundle": "/srv/web", "log_driver": "k8s-file", "log_size_max": 10, "stdin": False, "sdnotify": "ignore"},
    "config_digest": "sha256:0", "stop_signal": 15, "stop_timeout": 10.5, "started_at": "2026-06-01T12:00:00+00:00",
    "rootfs": "complete", "annotated": True, "digest": "sha256:1", "size": 10, "members": {"spec.dump": [1, "ab"]},
    "links": {"checkpoint/parent": "../pre-checkpoint"}, "statistics": {"pages_written": 1},
}  # fmt: skip
CONTAINER = {
    "name": "web",
    "runtime": "/usr/bin/runc",
    "checkpointedTime": "2026-06-01T12:00:00Z",
    "stopSignal": 15,
    "stopTimeout": 10,
}
READERS: dict[str, tuple[t.Any, dict[str, t.Any]]] = {
    "spec.dump": (typed_documents.spec, SPEC),
    "longshore.json": (typed_documents.manifest, MANIFEST),
    "config.dump": (typed_documents.container, CONTAINER),
}
DAMAGED = typed_documents.damaged_archive("/x.tar")


def _read(name: str, value: t.Any) -> t.Any:
    return READERS[name][0](json.dumps(value).encode(), DAMAGED)


def test_a_good_config_is_as_it_was() -> None:
    found = _read("spec.dump", {**SPEC, "unknown": [1]})
    found["linux"]["seccomp"]["defaultErrnoRet"] = 38  # It is of no use here.
    assert found == SPEC


def test_a_good_manifest_is_as_it_was() -> None:
    found = _read("longshore.json", {**MANIFEST, "unknown": [1]})
    written = json.loads(json.dumps(found.to_json()))
    # Of the definition, what a container has of which nothing else is said.
    assert written.pop("definition") == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in Definition(**MANIFEST["definition"])._asdict().items()
        if name != "conmon_env"
    }
    assert written == {name: value for name, value in MANIFEST.items() if name != "definition"}
    assert _read("longshore.json", json.loads(json.dumps(found.to_json())))._replace(left_out=()) == found


def test_a_log_driver_of_a_later_release_is_left_to_this_host() -> None:
    found = _read("longshore.json", {**MANIFEST, "definition": {"bundle": "/b", "log_driver": "json-file"}})
    assert found.definition == Definition("/b")


def test_a_good_description_of_podman() -> None:
    moment = "2026-06-01T12:00:00Z"
    assert _read("config.dump", CONTAINER) == Container("web", "/usr/bin/runc", moment, None, 15, 10)
    assert _read("config.dump", {}) == Container()


def _leaves(value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _leaves(item, (*path, key))


ODD = [5, -1, 1 << 70, 1.5, 1e30, True, "text", "a\0b", "\ud800", [], {}, [1], [[]], {"a": 1}, [None], "x" * 200_000]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.impure
def test_any_value_of_another_type_is_refused_or_harmless(name: str) -> None:
    """Each place of each document with each odd value: one sentence, or a document that all of its users can take."""
    value = READERS[name][1]
    refused = long = 0
    for path in list(_leaves(value))[1:]:
        for odd in ODD:
            changed = copy.deepcopy(value)
            place: t.Any = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
            try:
                found = _read(name, changed)
            except InvalidOption as exc:
                refused += exc.message.startswith("/x.tar is not an archive of a checkpoint, or it is damaged: ")
                long += len(exc.message) > 400
                continue
            if name == "spec.dump":
                rights.excess(found, SPEC)
                rights.excess(SPEC, found)
                rights.differences(found, SPEC)
                rights.excess(found, within(found, "/r", generated=lambda mount: False))
            elif name == "config.dump":
                from_podman(found, SPEC)
    assert refused > 30
    assert long == 0


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("longshore.json", "stop_timeout", float("nan")), ("longshore.json", "stop_timeout", 1e12), ("longshore.json", "stop_timeout", -1),
        ("longshore.json", "stop_signal", 0), ("longshore.json", "stop_signal", 65), ("longshore.json", "stop_signal", "TERM"),
        ("longshore.json", "definition", "web"), ("longshore.json", "definition", {"bundle": 5}), ("longshore.json", "options", []),
        ("longshore.json", "options", {"manage_cgroups_mode": "--x"}), ("longshore.json", "runtime", "crun"), ("longshore.json", "format", "1"),
        ("longshore.json", "created_at", "../../x"), ("longshore.json", "started_at", 5), ("longshore.json", "members", {"a": [1]}),
        ("spec.dump", "mounts", [5]), ("spec.dump", "mounts", [{}]), ("spec.dump", "mounts", [{"destination": "proc"}]),
        ("spec.dump", "linux", {"namespaces": [{}]}), ("spec.dump", "linux", []), ("spec.dump", "root", None), ("spec.dump", "process", None),
        ("spec.dump", "annotations", {"a": 1}), ("spec.dump", "hooks", {"poststop": {"path": "/x"}}), ("config.dump", "name", ["web"]),
    ],
)  # fmt: skip
def test_a_wrong_type(name: str, field: str, value: t.Any) -> None:
    with pytest.raises(InvalidOption, match="or it is damaged"):
        _read(name, {**READERS[name][1], field: value})


@pytest.mark.parametrize("value", [None, 5, "x", [], True])
@pytest.mark.parametrize("name", READERS)
def test_a_document_is_an_object(name: str, value: t.Any) -> None:
    with pytest.raises(InvalidOption, match="or it is damaged"):
        _read(name, value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e999}',
        b"9" * 5000, b"1." + b"9" * 5000, b"\xff\xfe", b"\0", b" " * (17 << 20),
    ],
)  # fmt: skip
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(InvalidOption, match="or it is damaged"):
        typed_documents.parse(text, "spec.dump", DAMAGED)


def test_what_another_host_does_not_take_over() -> None:
    asked = {
        **MANIFEST,
        "definition": {
            "bundle": "/b",
            "exit_command": ["/bin/sh"],
            "reserve_ports": [],
            "runtime_args": ["--x"],
            "listen": [5],
        },
    }
    found = _read("longshore.json", asked)
    assert found.definition == Definition("/b")
    assert found.left_out == ("exit_command", "listen", "runtime_args")


def test_deleted_files() -> None:
    name = b"a\xff".decode("utf-8", "surrogateescape")
    assert typed_documents.deleted_files(json.dumps(["a/b", name]).encode(), "/x.tar") == ["a/b", name]
    for bad in (b"{}", b"[1]", b"[[]]", b'["a\\u0000"]', b'["\\ud800"]', b"5"):
        with pytest.raises(InvalidOption, match="or it is damaged"):
            typed_documents.deleted_files(bad, "/x.tar")


def test_noise_is_refused_in_one_sentence() -> None:
    random.seed(13)
    text = json.dumps(SPEC).encode()
    for _round in range(500):
        data = bytearray(text)
        for _change in range(random.randint(1, 8)):
            data[random.randrange(len(data))] = random.randrange(256)
        with contextlib.suppress(InvalidOption):
            typed_documents.spec(bytes(data), DAMAGED)


STORED: dict[str, t.Any] = json.loads(
    json.dumps({**MANIFEST, "definition": Definition("/srv/web")._asdict(), "export": "/srv/web.tar"})
)


def test_a_stored_manifest() -> None:
    found = typed_documents.stored_manifest(STORED, "longshore.json", "/state/1")
    assert found.definition == Definition("/srv/web")
    assert (found.export, found.from_archive, found.left_out) == ("/srv/web.tar", False, ())
    again = typed_documents.stored_manifest(json.loads(json.dumps(found.to_json())), "longshore.json", "/state/1")
    assert again == found


def test_a_stored_manifest_has_all_fields_of_a_definition() -> None:
    """With a value that no field takes, each is refused; but for the secrets, which are not stored."""
    for name in Definition._fields:
        value = {**STORED, "definition": {"bundle": "/srv/web", name: {"a": 1}}}
        if name == "conmon_env":
            typed_documents.stored_manifest(value, "longshore.json", "/state/1")
            continue
        with pytest.raises(InvalidOption, match=f"a wrong value for definition.{name} "):
            typed_documents.stored_manifest(value, "longshore.json", "/state/1")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("stop_timeout", "ten", 'a wrong value for stop_timeout ("ten")'), ("options", {"pre_dump": 1}, "for options.pre_dump (1)"),
        ("members", {"a": [1]}, "for members.a ([1])"), ("paused", "no", 'for paused ("no")'), ("name", None, "no format or no name"),
    ],
)  # fmt: skip
def test_a_damaged_one_is_named(field: str, value: t.Any, says: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        typed_documents.stored_manifest({**STORED, field: value}, "pending.json", "/state/1")
    assert refused.value.message.startswith("The checkpoint in /state/1 is damaged: pending.json has ")
    assert says in refused.value.message
