# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images for the tests, made of busybox: an OCI layout, written by hand so that an image can hold what no builder makes.

Arguments: the directory of the layout, the path of a static busybox.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import io
import json
import os
import platform
import struct
import sys
import tarfile
import typing as t

APPLETS = (
    "sh", "cat", "echo", "env", "id", "ls", "grep", "hostname", "mkdir", "mount", "nc", "pwd", "rm", "sleep", "stat", "test",
    "touch", "true", "tty", "umask", "wget", "readlink", "df", "dd",
)  # fmt: skip
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER = "arm64" if MACHINE != "arm64" else "amd64"
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nmore:x:1001:1000::/:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1000:\nwheel:x:10:app\nextra:x:20:app,more\n"


class Entry(t.NamedTuple):
    """One member of a layer."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    owner: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)


def directory(name: str, mode: int = 0o755, owner: int = 0) -> Entry:
    return Entry(name, b"", tarfile.DIRTYPE, mode, owner)


def symlink(name: str, to: str) -> Entry:
    return Entry(name, b"", tarfile.SYMTYPE, 0o777, 0, to)


def tar(entries: t.Iterable[Entry]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.type, info.mode, info.linkname = len(entry.data), entry.type, entry.mode, entry.link
            info.uid = info.gid = entry.owner
            info.devmajor, info.devminor = entry.device
            archive.addfile(info, io.BytesIO(entry.data))
    return stream.getvalue()


@functools.cache
def compressed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def diff_ids(layers: t.Sequence[bytes]) -> list[str]:
    return [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]


class Layout:
    def __init__(self, path: str) -> None:
        self.path = path
        self.index: list[dict[str, t.Any]] = []
        os.makedirs(f"{path}/blobs/sha256")

    def blob(self, data: bytes, kind: str) -> dict[str, t.Any]:
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{self.path}/blobs/sha256/{digest}", "wb") as stream:
            stream.write(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, value: t.Any, kind: str) -> dict[str, t.Any]:
        return self.blob(json.dumps(value, sort_keys=True).encode(), kind)

    def image(self, layers: t.Sequence[t.Sequence[Entry]], machine: str = MACHINE, **config: t.Any) -> dict[str, t.Any]:
        return self.packed([tar(layer) for layer in layers], machine, **config)

    def packed(
        self, layers: t.Sequence[bytes], machine: str = MACHINE, claims: dict[str, t.Any] | None = None, there: int | None = None,
        **config: t.Any,
    ) -> dict[str, t.Any]:  # fmt: skip
        """``claims`` takes the place of what the configuration says outside of config; of the layers only ``there`` are."""
        blob = {
            "architecture": machine, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids(layers)}, **(claims or {}),
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.document(blob, "config.v1+json"),
            "layers": [self.blob(compressed(data), "layer.v1.tar+gzip") for data in layers[:there]],
        }
        return self.document(manifest, "manifest.v1+json")

    def tag(self, name: str, descriptor: dict[str, t.Any]) -> None:
        self.index.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})

    def close(self) -> None:
        for name, value in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": self.index}),
        ):
            with open(f"{self.path}/{name}", "w", encoding="utf-8") as stream:
                json.dump(value, stream)


def make(path: str, busybox: bytes) -> None:
    layout = Layout(path)
    base = [
        directory("bin"), Entry("bin/busybox", busybox, mode=0o755), *(symlink(f"bin/{name}", "busybox") for name in APPLETS),
        directory("etc"), Entry("etc/passwd", PASSWD.encode()), Entry("etc/group", GROUP.encode()),
        directory("tmp", 0o1777), directory("root", 0o700), directory("home"), directory("home/app", 0o755, 1000),
    ]  # fmt: skip
    serve = ["/bin/sh", "-c", "trap 'exit 0' TERM; cat /etc/version; sleep 86400 & wait"]
    for number in ("1", "2"):
        layers = [base, [Entry("etc/version", f"version {number}\n".encode())]]
        layout.tag(f"web-{number}", layout.image(layers, Cmd=serve, Env=["PATH=/bin", "FROM_IMAGE=yes"]))
    # Files and directories that upper layers take away, replace, or hide all of.
    gone = [
        base,
        [
            directory("a"),
            Entry("a/kept", b"1"),
            Entry("a/gone", b"1"),
            directory("b"),
            Entry("b/old", b"1"),
            Entry("c", b"1"),
        ],
        [
            Entry("a/.wh.gone"),
            Entry("b/.wh..wh..opq"),
            Entry("b/new", b"2"),
            Entry(".wh.c"),
            directory("c"),
            Entry("c/d", b"2"),
        ],
    ]
    layout.tag("whiteouts", layout.image(gone, Cmd=["/bin/sh"]))
    layout.tag(
        "app",
        layout.image(
            [base, [directory("data", 0o700, 1000), Entry("data/seed", b"seed\n", owner=1000), directory("work")]],
            User="app", WorkingDir="/work", Entrypoint=["/bin/sh", "-c"], Cmd=["id; pwd; exit 3"], StopSignal="SIGINT",
            Volumes={"/data": {}, "/new/volume": {}}, ExposedPorts={"80/tcp": {}}, Labels={"org.example.label": "yes"},
            Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 5000000000, "Retries": 2},
        ),
    )  # fmt: skip
    platforms = [
        {**layout.image([base, [Entry("etc/arch", machine.encode())]], machine, Cmd=serve), "platform": {"os": "linux", "architecture": machine}}
        for machine in (MACHINE, OTHER)
    ]  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": platforms}
    layout.tag("platforms", layout.document(index, "index.v1+json"))
    elsewhere = {**index, "manifests": [{**platforms[1], "platform": {"os": "linux", "architecture": "s390x"}}]}
    layout.tag("elsewhere", layout.document(elsewhere, "index.v1+json"))
    layout.tag("foreign", layout.image([base], OTHER, Cmd=["/bin/true"]))
    layout.tag("empty", layout.image([base]))
    outside = f"{os.path.dirname(os.path.abspath(path))}/outside"
    evil = [
        Entry("../../../escaped-up", b"evil"), Entry("/escaped-absolute", b"evil"),
        symlink("way-out", outside), Entry("way-out/escaped-link", b"evil"),
        symlink("up", "../../../../../../../../.."), Entry(f"up{outside}/escaped-relative", b"evil"),
    ]  # fmt: skip
    layout.tag("evil", layout.image([base, evil], Cmd=["/bin/sh"]))
    hard = [Entry("hard", b"", tarfile.LNKTYPE, link=f"{outside}/secret")]
    layout.tag("hard", layout.image([base, hard], Cmd=["/bin/sh"]))
    devices = [
        Entry("disk", b"", tarfile.BLKTYPE, 0o666, device=(8, 0)), Entry("memory", b"", tarfile.CHRTYPE, 0o666, device=(1, 1)),
        Entry("null", b"", tarfile.CHRTYPE, 0o666, device=(1, 3)),
        Entry("pipe", b"", tarfile.FIFOTYPE), Entry("bin/suid", b"#!/bin/sh\n", mode=0o4755),
    ]  # fmt: skip
    layout.tag("devices", layout.image([base, devices], Cmd=["/bin/sh"]))
    passwd = [symlink("etc/passwd", f"{outside}/secret"), Entry("etc/group", b"", tarfile.FIFOTYPE)]
    layout.tag("passwd", layout.image([base, passwd], Cmd=["/bin/sh"], User="secret"))
    hostile(layout, base)
    broken = layout.image([base, [Entry("etc/broken", b"1")]], Cmd=["/bin/sh"])
    layout.tag("broken", broken)
    layout.close()
    # What a disk or a network made of a layer: the size is right, the content is not.
    with open(f"{path}/blobs/sha256/{broken['digest'][7:]}", encoding="utf-8") as stream:
        layer = json.load(stream)["layers"][1]
    with open(f"{path}/blobs/sha256/{layer['digest'][7:]}", "wb") as raw:
        raw.write(b"x" * layer["size"])


# What a diff_id must never be: the path of a directory of the host.
PATHS = {
    "up": "..",
    "far-up": "../../../..",
    "absolute": "/etc",
    "aside": "../images",
    "upper": f"sha256:{'A' * 64}",
    "long": "sha512:" + "0" * 128,
}
# By name, what an image says of the wrong type or beyond all bounds: of itself, and in its config.
ODD: dict[str, tuple[dict[str, t.Any], dict[str, t.Any]]] = {
    "architecture": ({"architecture": []}, {}), "os": ({"os": 5}, {}), "config-list": ({"config": []}, {}),
    "rootfs-list": ({"rootfs": []}, {}), "rootfs-null": ({"rootfs": None}, {}), "diff-ids-text": ({"rootfs": {"type": "layers", "diff_ids": "x"}}, {}),
    "user": ({}, {"User": 1000}), "env": ({}, {"Env": [1]}), "env-object": ({}, {"Env": {"A": "b"}}), "env-name": ({}, {"Env": ["=x"]}),
    "nul": ({}, {"Env": ["A=\0"]}), "cmd": ({}, {"Cmd": 5}), "cmd-text": ({}, {"Cmd": "sleep 1"}), "entrypoint": ({}, {"Entrypoint": "/bin/sh"}),
    "labels": ({}, {"Labels": []}), "labels-text": ({}, {"Labels": "a"}), "label": ({}, {"Labels": {"a": 5}}),
    "ports": ({}, {"ExposedPorts": 5}), "port": ({}, {"ExposedPorts": {"80/tcp": 5}}), "volumes": ({}, {"Volumes": ["/data"]}),
    "workdir": ({}, {"WorkingDir": []}), "signal": ({}, {"StopSignal": 15}), "no-signal": ({}, {"StopSignal": "SIGFOO"}),
    "healthcheck": ({}, {"Healthcheck": []}), "interval": ({}, {"Healthcheck": {"Interval": "1s"}}),
    "many": ({}, {"Env": ["A=b"] * 20000}), "other-case": ({"ROOTFS": {"type": "layers", "diff_ids": []}}, {}),
    "descriptor": ({}, {"WorkingDir": "/proc/self/fd/7"}), "descriptor-link": ({}, {"WorkingDir": "/fd/7"}),
    "volume-link": ({}, {"Volumes": {"/kernel": {}}}), "volume-link-below": ({}, {"Volumes": {"/to/kernel/sys": {}}}),
    "volume-circle": ({}, {"Volumes": {"/circle": {}}}), "volume-root": ({}, {"Volumes": {"/top": {}}}),
}  # fmt: skip
# By machine, its number in ELF and a program: exit(-vmsplice(-1, 0, 0, 0)), which no seccomp profile of podman lets through.
PROBES = {
    "amd64": (62, "b816010000bfffffffff31f631d24531d20f05f7d889c7b83c0000000f05"),
    "arm64": (183, "00008092010080d2020080d2030080d2680980d2010000d4e00300cba80b80d2010000d4"),
}  # fmt: skip
# One instruction of BPF that allows every system call: what crun takes for the seccomp profile.
ALLOW = base64.b64encode(b"\x06\0\0\0\0\0\xff\x7f").decode()
# What runtimes, systemd and CRIU obey where they find it in an annotation. The units are canaries of the tests.
ORDERS = {
    "run.oci.seccomp_bpf_data": ALLOW, "run.oci.keep_original_groups": "1", "org.criu.config": "/volumes/data/criu.conf",
    "org.systemd.property.Wants": "['longshore-canary-started.service']", "org.systemd.property.TasksMax": "uint64 7777",
    "org.systemd.property.Conflicts": "['longshore-canary-stopped.service']",
    "org.opencontainers.image.title": "of an image",
}  # fmt: skip


def probe() -> bytes:
    """A program whose exit code is the errno of a system call: 9 where that got to the kernel."""
    number, code = PROBES.get(MACHINE, PROBES["amd64"])
    program, start = bytes.fromhex(code), 0x400000
    size = 120 + len(program)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, number, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000) + program


def hostile(layout: Layout, base: t.Sequence[Entry]) -> None:
    """Images that mean harm by what they say, and not by what is in their layers."""
    ground, update, other = (
        tar(entries) for entries in (base, [Entry("etc/auth", b"required\n")], [Entry("etc/other", b"")])
    )
    show = ["/bin/sh", "-c", "cat /etc/auth"]
    for name, path in PATHS.items():
        claims = {"rootfs": {"type": "layers", "diff_ids": [path]}}
        layout.tag(f"path-{name}", layout.packed([ground], claims=claims, Cmd=["/bin/sh", "-c", "cat /etc/shadow"]))
    layout.tag("update", layout.packed([ground, update], Cmd=show))
    missing = layout.packed([ground, update], there=1, Cmd=show)
    layout.tag("update-missing", missing)
    # An index does not say how many layers its images have.
    index = {"schemaVersion": 2, "manifests": [{**missing, "platform": {"os": "linux", "architecture": MACHINE}}]}
    layout.tag("update-missing-index", layout.document(index, "index.v1+json"))
    claims = {"rootfs": {"type": "layers", "diff_ids": diff_ids([ground])}}
    layout.tag("update-unnamed", layout.packed([ground, update], claims=claims, Cmd=show))
    # The files of another, which it has not got.
    claims = {"rootfs": {"type": "layers", "diff_ids": diff_ids([ground, update])}}
    layout.tag(
        "update-claimed",
        layout.packed([ground, other], claims=claims, Cmd=["/bin/sh", "-c", "echo mine; cat /etc/auth"]),
    )
    program = tar([Entry("probe", probe(), mode=0o755)])
    layout.tag("orders", layout.packed([ground, program], Cmd=["/probe"], Labels=ORDERS, User="1000"))
    places = ["/proc", "//sys/fs/cgroup", "/x/../dev/shm", "/proc/self/attr", "/etc/hosts", "/", "/data"]
    say = "grep -c . /proc/meminfo /etc/hosts; grep -E ' (/proc|/sys/fs/cgroup|/dev/shm|/data) ' /proc/self/mounts | cut -d' ' -f2,3"
    layout.tag("volumes", layout.packed([ground], Volumes=dict.fromkeys(places), Cmd=["/bin/sh", "-c", say]))
    links = [
        symlink("kernel", "proc"), symlink("to", "/over"), symlink("over", "."), symlink("circle", "circle"), symlink("top", "/"),
        symlink("fd", "/proc/self/fd"),
    ]  # fmt: skip
    tricks(layout, base)
    for name, (claims, config) in ODD.items():
        layout.tag(
            f"odd-{name}", layout.packed([ground, tar(links)], claims=claims, **{"Cmd": ["/bin/true"], **config})
        )


def tricks(layout: Layout, base: t.Sequence[Entry]) -> None:
    """Layers that try to write, read or remove outside of the root file system when they are unpacked."""
    outside = f"{os.path.dirname(os.path.abspath(layout.path))}/outside"
    layers = {
        "dot-link": [[symlink(".", outside), Entry("escaped-dot", b"evil")]],
        "link-then-through": [[symlink("way", outside)], [Entry("way/escaped-layer", b"evil")]],
        "link-up": [[symlink("a", "../.."), symlink("b", "a/../..")], [Entry("b/escaped-up", b"evil")]],
        "hard-link-up": [[Entry("hard", type=tarfile.LNKTYPE, link="../../../../../../../../etc/shadow")]],
        "hard-link-absolute": [[Entry("hard", type=tarfile.LNKTYPE, link="/etc/shadow")]],
        "whiteout-through": [[symlink("way", outside)], [Entry("way/.wh.secret")]],
        "opaque-through": [[symlink("way", outside)], [Entry("way/.wh..wh..opq")]],
        "whiteout-up": [[Entry(".wh...")]],
        "whiteout-path": [[directory("a")], [Entry("a/.wh.."), Entry("../.wh.secret"), Entry("a/../../.wh.secret")]],
        "etc-link": [[symlink("etc", "/proc/1/root/etc")]],
        "passwd-link": [[directory("etc"), symlink("etc/passwd", "/proc/1/root/etc/passwd")]],
        "passwd-kernel": [[directory("etc"), symlink("etc/passwd", "/proc/kmsg")]],
    }  # fmt: skip
    for name, more in layers.items():
        below = [] if name in ("etc-link", "passwd-link", "passwd-kernel") else [base]
        user = "secret" if "passwd" in name or "etc" in name else "0"
        layout.tag(f"trick-{name}", layout.image([*below, *more], Cmd=["/bin/sh"], User=user))


if __name__ == "__main__":
    with open(sys.argv[2], "rb") as program:
        make(sys.argv[1], program.read())
