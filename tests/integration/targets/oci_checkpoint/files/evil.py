# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a good archive without compression make others, each of which asks for one thing more, with digests that are right.

Arguments: the archive, and a path that nothing may ever make. Prints a list as JSON: path of the archive, what a refusal says
(nothing: the container is restored, and the thing is not done).
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import sys
import tarfile
import typing as t

GOOD, CANARY = sys.argv[1:3]
COMMAND = ["/bin/sh", "-c", f"id >{CANARY}; touch {CANARY}"]
HOOK = {"path": "/bin/sh", "args": ["sh", *COMMAND[1:]]}
HOST = {"destination": "/host", "type": "bind", "source": "/etc", "options": ["rbind", "rw"]}


def definition(**values: t.Any) -> t.Callable[[t.Any, t.Any], None]:
    return lambda manifest, spec: manifest["definition"].update(values)


def linux(**values: t.Any) -> t.Callable[[t.Any, t.Any], None]:
    return lambda manifest, spec: spec["linux"].update(values)


def annotated(**values: str) -> t.Callable[[t.Any, t.Any], None]:
    return lambda manifest, spec: spec.setdefault("annotations", {}).update(
        {k.replace("__", "."): v for k, v in values.items()}
    )


def hooks(kind: str) -> t.Callable[[t.Any, t.Any], None]:
    return lambda manifest, spec: spec.update(hooks={kind: [HOOK]})


def capabilities(manifest: t.Any, spec: t.Any) -> None:
    for names in spec["process"]["capabilities"].values():
        names.append("CAP_SYS_ADMIN")


def no_namespace(kind: str) -> t.Callable[[t.Any, t.Any], None]:
    def change(manifest: t.Any, spec: t.Any) -> None:
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != kind]

    return change


def joined(manifest: t.Any, spec: t.Any) -> None:
    for each in spec["linux"]["namespaces"]:
        if each["type"] == "network":
            each["path"] = "/proc/1/ns/net"


MORE = "asks for more than the bundle allows: .*"
CHANGES: dict[str, tuple[t.Callable[[t.Any, t.Any], t.Any], str]] = {
    "exit_command": (definition(exit_command=COMMAND), ""),
    "runtime_args": (definition(runtime_args=["--log", CANARY]), ""),
    "runtime": (definition(runtime="/var/tmp/evil-runtime"), ""),
    "runtime_name": (lambda manifest, spec: manifest["runtime"].update(path="/var/tmp/evil-runtime"), ""),
    "conmon": (definition(conmon="/var/tmp/evil-runtime"), ""),
    "conmon_env": (definition(conmon_env={"LD_PRELOAD": "/var/tmp/evil.so"}), ""),
    "listen": (definition(listen=[f"unix:{CANARY}"]), ""),
    "reserve_ports": (definition(reserve_ports=["22"]), ""),
    "network": (definition(network_helper="pasta", network_options=["--trace"], publish=["8080:80"]), ""),
    "cgroup_parent": (definition(cgroup_parent="system.slice"), ""),
    "log_path": (definition(log_path=CANARY), ""),
    "conmon_pidfile": (definition(conmon_pidfile=CANARY), ""),
    "service": (definition(service=True, restart_policy="always"), ""),
    "bundle": (definition(bundle="/"), ""),
    "criu_config": (annotated(org__criu__config="/var/tmp/evil.conf"), ""),
    "crun": (annotated(run__oci__handler="wasm", run__oci__seccomp_bpf_data="AAAA"), ""),
    "systemd": (annotated(org__systemd__property__Wants="['evil.service']"), ""),
    "createRuntime": (hooks("createRuntime"), MORE + "hook createRuntime /bin/sh"),
    "prestart": (hooks("prestart"), MORE + "hook prestart /bin/sh"),
    "poststart": (hooks("poststart"), MORE + "hook poststart /bin/sh"),
    "poststop": (hooks("poststop"), MORE + "hook poststop /bin/sh"),
    "mount": (lambda manifest, spec: spec["mounts"].append(HOST), MORE + "a mount of /etc at /host"),
    "device": (
        linux(devices=[{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]), MORE + "device /dev/sda",
    ),
    "all_devices": (linux(resources={"devices": [{"allow": True, "access": "rwm"}]}), MORE + "access to all devices"),
    "capabilities": (capabilities, MORE + "capability CAP_SYS_ADMIN"),
    "seccomp": (lambda manifest, spec: spec["linux"].pop("seccomp"), MORE + "no seccomp"),
    "masked": (linux(maskedPaths=[]), MORE + "/proc/keys not masked"),
    "read_only": (linux(readonlyPaths=[]), MORE + "/proc/sys not read-only"),
    "host_pid": (no_namespace("pid"), MORE + "the pid namespace of the host"),
    "joined": (joined, MORE + "the network namespace /proc/1/ns/net"),
    "privileges": (lambda manifest, spec: spec["process"].update(noNewPrivileges=False), MORE + "new privileges"),
    "sysctl": (linux(sysctl={"kernel.core_pattern": f"|{CANARY}"}), MORE + "sysctl kernel.core_pattern"),
    "apparmor": (lambda manifest, spec: spec["process"].update(rlimits=[]), MORE + "no RLIMIT_NOFILE"),
    "deep": (lambda manifest, spec: b"[" * 100_000, "or it is damaged"),
    "types": (lambda manifest, spec: spec.update(mounts=["/etc"]), "or it is damaged"),
    "nan": (lambda manifest, spec: manifest.update(stop_timeout=float("nan")), "or it is damaged"),
}  # fmt: skip


def main() -> None:
    with tarfile.open(GOOD) as tar:
        members = [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]
    texts = {member.name: data for member, data in members}
    made = []
    for name, (change, error) in CHANGES.items():
        manifest, spec = (copy.deepcopy(json.loads(texts[each])) for each in ("longshore.json", "spec.dump"))
        other = change(manifest, spec)
        text = other if isinstance(other, bytes) else json.dumps(spec).encode()
        manifest["members"]["spec.dump"] = [len(text), hashlib.sha256(text).hexdigest()]
        changed = {"spec.dump": text, "longshore.json": json.dumps(manifest).encode()}
        path = f"{GOOD}.evil-{name}"
        with tarfile.open(path, "w") as tar:
            for member, data in members:
                header = copy.copy(member)
                data = changed.get(member.name, data)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data) if member.isreg() else None)
        os.chmod(path, 0o600)
        made.append({"path": path, "name": name, "error": error})
    print(json.dumps(made))


if __name__ == "__main__":
    main()
