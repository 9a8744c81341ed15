# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a good archive without compression make others that ask for more; print their paths as JSON.

Every digest in them is right. Arguments: the good archive, a directory outside.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import typing as t

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
MANIFEST, SPEC, LOG = "longshore.json", "spec.dump", "ctr.log"


def main() -> None:
    good, outside = sys.argv[1:]
    touch = {"path": "/bin/touch", "args": ["touch", f"{outside}/escaped"]}
    command = ["/bin/touch", f"{outside}/escaped"]
    # What is merged into the definition of the manifest, and into the config.
    more: dict[str, tuple[dict[str, t.Any], dict[str, t.Any]]] = {
        "exit_command": ({"exit_command": command}, {}),
        "runtime": ({"runtime": f"{outside}/evil-runtime"}, {}),
        "conmon": ({"conmon": f"{outside}/evil-runtime"}, {}),
        "runtime_args": ({"runtime_args": [f"--log={outside}/escaped"]}, {}),
        "conmon_env": ({"conmon_env": {"LD_PRELOAD": f"{outside}/evil.so"}}, {}),
        "log_path": ({"log_path": f"{outside}/escaped"}, {}),
        "conmon_pidfile": ({"conmon_pidfile": f"{outside}/escaped"}, {}),
        "listen": ({"listen": [f"unix:{outside}/escaped"]}, {}),
        **{f"hook-{kind}": ({}, {"hooks": {kind: [touch]}}) for kind in HOOKS},
        "mount": ({}, {"mounts": [{"destination": "/mnt", "type": "bind", "source": outside, "options": ["rbind"]}]}),
        "capabilities": ({}, {"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}}),
        "device": ({}, {"linux": {"devices": [{"path": "/dev/mem", "type": "c", "major": 1, "minor": 1}]}}),
        "criu": ({}, {"annotations": {"org.criu.config": f"{outside}/criu.conf"}}),
        "systemd": ({}, {"annotations": {"org.systemd.property.Wants": "['canary.service']"}}),
        "namespace": ({}, {"linux": {"namespaces": [{"type": "network", "path": "/proc/1/ns/net"}]}}),
        "unmasked": ({}, {"linux": {"maskedPaths": [], "readonlyPaths": []}}),
    }  # fmt: skip
    made = []
    for name, (definition, spec) in more.items():
        change(good, f"{good}.{name}", definition, spec)
        made.append(f"{good}.{name}")
    print(json.dumps(made))


def change(good: str, path: str, definition: dict[str, t.Any], spec: dict[str, t.Any]) -> None:
    with tarfile.open(good) as source:
        found = {header.name: (header, source.extractfile(header)) for header in source}
        texts = {name: stream.read() for name, (_header, stream) in found.items() if stream is not None}
    manifest = json.loads(texts[MANIFEST])
    texts[SPEC] = json.dumps(merged(json.loads(texts[SPEC]), spec)).encode()
    manifest["definition"] = {**manifest["definition"], **definition}
    manifest["members"][SPEC] = [len(texts[SPEC]), hashlib.sha256(texts[SPEC]).hexdigest()]
    lines = [f"{name} {size} {digest}\n" for name, (size, digest) in sorted(manifest["members"].items()) if name != LOG]
    manifest["digest"] = "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
    texts[MANIFEST] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as target:
        for name, (header, _stream) in found.items():
            header.size = len(texts.get(name, b""))
            target.addfile(header, io.BytesIO(texts[name]) if name in texts else None)


def merged(old: t.Any, new: t.Any) -> t.Any:
    """Objects key by key, lists one after the other; an empty list takes the place of the old one."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    return [*old, *new] if isinstance(old, list) and isinstance(new, list) and new else new


main()
