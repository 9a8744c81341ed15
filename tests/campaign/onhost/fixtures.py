# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Bundles and images for the trials, made of busybox by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
import typing as t

# The exit status of the container when it is asked to end.
EXIT_CODE = 7
# Each life leaves a line in the volume, so a container that was recreated instead of restored is noticed.
_PROGRAM = f"echo life >>/data/lives; trap 'exit {EXIT_CODE}' TERM; while :; do sleep 1000 & wait $!; done"
_APPLETS = ("sh", "sleep", "cat", "echo", "true", "touch", "rm", "ls")
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _mounts(volume: str) -> list[dict[str, t.Any]]:
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if os.geteuid() == 0:
        terminals.append("gid=5")
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": terminals},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
        {"destination": "/data", "type": "bind", "source": volume, "options": ["rbind", "rprivate"]},
    ]


def config(volume: str, *, environment: str = "", read_only: bool = False) -> dict[str, t.Any]:
    """A config.json, without root's rights on a host that is itself a container."""
    kinds = ["pid", "network", "ipc", "uts", "mount"]
    linux: dict[str, t.Any] = {}
    if os.geteuid() != 0:
        kinds.append("user")
        for name, number in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
            linux[name] = [{"containerID": 0, "hostID": number, "size": 1}]
    sets = dict.fromkeys(("bounding", "effective", "permitted", "ambient"), _CAPABILITIES)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", _PROGRAM],
            "env": ["PATH=/bin", f"CAMPAIGN={environment}"],
            "cwd": "/",
            "capabilities": sets,
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": read_only},
        "hostname": "campaign",
        "mounts": _mounts(volume),
        "linux": {**linux, "namespaces": [{"type": kind} for kind in kinds]},
    }


def make_rootfs(path: str, busybox: str, *, files: int = 24) -> None:
    """A root file system: busybox, a few directories and some files, each with a content of its own."""
    for name in ("bin", "data", "proc", "dev", "sys", "tmp", "etc", "run", "deep/er/still"):
        os.makedirs(f"{path}/{name}")
    try:
        os.link(busybox, f"{path}/bin/busybox")
    except OSError:
        shutil.copy2(busybox, f"{path}/bin/busybox")
    for name in _APPLETS:
        os.symlink("busybox", f"{path}/bin/{name}")
    for number in range(files):
        with open(f"{path}/{('etc', 'deep', 'deep/er', 'deep/er/still')[number % 4]}/file{number}", "w") as stream:
            stream.write(f"content {number}\n" * (number + 1))


def make_bundle(path: str, volume: str, busybox: str, *, environment: str = "", read_only: bool = False) -> None:
    os.makedirs(path, mode=0o755)
    make_rootfs(f"{path}/rootfs", busybox)
    with open(f"{path}/config.json", "w", encoding="utf-8") as stream:
        json.dump(config(volume, environment=environment, read_only=read_only), stream)


def make_volume(path: str) -> None:
    os.makedirs(f"{path}/inner")
    for name in ("kept", "inner/kept"):
        with open(f"{path}/{name}", "w", encoding="utf-8") as stream:
            stream.write(f"what is kept in {name}\n")


def _layer(files: t.Mapping[str, bytes], directories: t.Sequence[str], links: t.Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in directories:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(info)
    return stream.getvalue()


def make_layout(path: str, busybox: str, *, files: int = 800) -> None:
    """An OCI layout with two images, v1 and v2: a common layer, and one that differs. Each declares a volume."""
    os.makedirs(f"{path}/blobs/sha256")

    def blob(data: bytes, kind: str) -> dict[str, t.Any]:
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{path}/blobs/sha256/{digest}", "wb") as stream:
            stream.write(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    with open(busybox, "rb") as stream:
        program = stream.read()
    directories = ["bin", "etc", "data", "tmp", "many", *(f"many/d{number}" for number in range(10))]
    many = {f"many/d{number % 10}/f{number}": f"{number}\n".encode() * 50 for number in range(files)}
    base = _layer({"bin/busybox": program, **many}, directories, {f"bin/{name}": "busybox" for name in _APPLETS})
    index = []
    for version in ("v1", "v2"):
        more = {f"etc/{version}-{number}": f"{version} {number}\n".encode() for number in range(20)}
        layers = [base, _layer({"data/first": b"of the image\n", **more}, [], {})]
        document = {
            "architecture": _MACHINE,
            "os": "linux",
            "config": {"Cmd": ["/bin/sleep", "1000"], "Env": ["PATH=/bin"], "Volumes": {"/data": {}}},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(json.dumps(document).encode(), "config.v1+json"),
            "layers": [blob(gzip.compress(layer, 1, mtime=0), "layer.v1.tar+gzip") for layer in layers],
        }
        descriptor = blob(json.dumps(manifest).encode(), "manifest.v1+json")
        index.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": version}})
    for name, value in (
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("index.json", {"schemaVersion": 2, "manifests": index}),
    ):
        with open(f"{path}/{name}", "w", encoding="utf-8") as text:
            json.dump(value, text)


def make_slow(directory: str, program: str, verb: str, seconds: float) -> str:
    """A runtime in front of another, of the same name, that is slow at one verb, or with ``criu`` whose CRIU is slow to start.

    It has no child that could outlive it.
    """
    os.makedirs(directory)
    os.mkfifo(f"{directory}/fifo", 0o600)
    wait = f"read -rt {seconds} <>{directory}/fifo"
    path = f"{directory}/{os.path.basename(program)}"
    if verb == "criu":
        _write_script(path, f'PATH={directory}:$PATH exec {program} "$@"')
        _write_script(f"{directory}/criu", f'{wait}\nPATH=${{PATH#*:}} exec criu "$@"')
    else:
        _write_script(path, f'case " $* " in *" {verb} "*) {wait};; esac\nexec {program} "$@"')
    return path


def _write_script(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(f"#!/bin/bash\n{text}\n")
    os.chmod(path, 0o755)
