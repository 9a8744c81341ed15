# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make images that repeat known attacks, as an OCI layout.

Arguments: the file images.py of setup_images, the directory of the layout, the path of a static busybox, the name of a unit
of the host, the number of a process of the host, a directory outside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import runpy
import struct
import sys
import typing as t

# One instruction of classic BPF: return SECCOMP_RET_ALLOW. crun loads it in the place of the profile.
ALLOW = base64.b64encode(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)).decode()
BIN = ("sh", "cat", "echo", "ls", "mount", "sleep", "grep", "true", "dd", "readlink", "stat", "mkdir")


def main() -> None:
    images_py, path, busybox, unit, pid, outside = sys.argv[1:]
    tools = runpy.run_path(images_py)
    entry, directory, symlink = tools["Entry"], tools["directory"], tools["symlink"]
    layout = tools["Layout"](path)
    with open(busybox, "rb") as stream:
        program = stream.read()
    base = [
        directory("bin"), entry("bin/busybox", program, mode=0o755), *(symlink(f"bin/{name}", "busybox") for name in BIN),
        directory("etc"), directory("tmp", 0o1777),
    ]  # fmt: skip

    def plain(tag: str, more: t.Sequence[t.Any] = (), **config: t.Any) -> None:
        layers = [base, list(more)] if more else [base]
        layout.tag(tag, layout.image(layers, **{"Cmd": ["/bin/sleep", "1000"], "Env": ["PATH=/bin"], **config}))

    def claiming(tag: str, layers: t.Sequence[t.Any], diff_ids: t.Sequence[str], **config: t.Any) -> None:
        """An image whose configuration says something else of its layers than is true."""
        packed = [tools["tar"](layer) for layer in layers]
        config_blob = {
            "architecture": tools["MACHINE"], "os": "linux", "config": {"Cmd": ["/bin/sleep", "1000"], **config},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": layout.document(config_blob, "config.v1+json"),
            "layers": [layout.blob(data, "layer.v1.tar") for data in packed],
        }  # fmt: skip
        layout.tag(tag, layout.document(manifest, "manifest.v1+json"))

    plain("victim", Env=["PATH=/bin"])
    # A digest that is a path (CVE-2014-9358).
    for number, digest in enumerate(("../../../..", "..", outside, ".", "", "sha256:..", "SHA256:" + "0" * 64)):
        claiming(f"path-{number}", [base], [digest])
    # Labels that a runtime, systemd or CRIU acts upon (CVE-2024-3154).
    plain(
        "labels",
        Labels={
            "run.oci.seccomp_bpf_data": ALLOW, "run.oci.keep_original_groups": "1", "run.oci.handler": "wasm",
            "org.systemd.property.Wants": f"['{unit}']", "org.systemd.property.TasksMax": "uint64 18446744073709551615",
            "org.systemd.property.PIDs": f"[uint32 {pid}]", "org.criu.config": f"{outside}/criu.conf",
            "org.opencontainers.image.stopSignal": "no signal at all",
        },
    )  # fmt: skip
    # An update layer that somebody else's image takes away.
    honest = [base, [entry("etc/auth", b"auth=required\n")]]
    digests = [f"sha256:{hashlib.sha256(tools['tar'](layer)).hexdigest()}" for layer in honest]
    claiming("fewer", honest[:1], digests)
    claiming("honest", honest, digests)
    # Mounts over what the runtime has to mount (CVE-2019-16884).
    for tag, place in {
        "proc": "/proc",
        "sysctl": "/proc/sys",
        "self": "/proc/self",
        "sys": "/sys",
        "dev": "/dev",
        "odd": "//proc/./",
    }.items():
        plain(f"volume-{tag}", Volumes={place: {}})
    # A hook that is run with the environment of the image (CVE-2025-23266).
    plain("preload", Env=["PATH=/bin", "LD_PRELOAD=./no-such-library.so", "LD_LIBRARY_PATH=."])
    # A volume at a link that leads out (CVE-2021-30465, CVE-2025-52881).
    plain("volume-link", [symlink("data", f"../../../../../../../..{outside}")], Volumes={"/data": {}})
    # A working directory that is a descriptor of the runtime (CVE-2024-21626).
    for number in (3, 5, 7, 8, 9):
        plain(f"cwd-{number}", WorkingDir=f"/proc/self/fd/{number}")
    # A program that is the runtime itself (CVE-2019-5736).
    plain("self-exe", [entry("bin/self", b"#!/proc/self/exe\n", mode=0o755)])
    # Devices that are links to what the runtime must not be led to (CVE-2025-31133, CVE-2025-52565).
    plain(
        "dev-links",
        [
            directory("dev"),
            *(symlink(f"dev/{name}", "/proc/sys/kernel/core_pattern") for name in ("null", "console", "ptmx", "zero")),
        ],
    )
    # A layer that replaces its own root by a link (CVE-2021-29136).
    plain("root-link", [symlink(".", outside), entry("escaped", b"escaped")])
    plain("root-link-2", [symlink("./", outside), symlink("bin", outside), entry("bin/escaped", b"escaped")])
    layout.close()
    print(json.dumps([each["annotations"]["org.opencontainers.image.ref.name"] for each in layout.index]))


main()
