# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images for the tests, made of busybox: an OCI layout, written by hand so that an image can hold what no builder makes.

Arguments: the directory of the layout, the path of a static busybox.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
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
        packed = [tar(layer) for layer in layers]
        blob = {
            "architecture": machine, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in packed]},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.document(blob, "config.v1+json"),
            "layers": [self.blob(gzip.compress(data, mtime=0), "layer.v1.tar+gzip") for data in packed],
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
    broken = layout.image([base, [Entry("etc/broken", b"1")]], Cmd=["/bin/sh"])
    layout.tag("broken", broken)
    layout.close()
    # What a disk or a network made of a layer: the size is right, the content is not.
    with open(f"{path}/blobs/sha256/{broken['digest'][7:]}", encoding="utf-8") as stream:
        layer = json.load(stream)["layers"][1]
    with open(f"{path}/blobs/sha256/{layer['digest'][7:]}", "wb") as raw:
        raw.write(b"x" * layer["size"])


if __name__ == "__main__":
    with open(sys.argv[2], "rb") as program:
        make(sys.argv[1], program.read())
