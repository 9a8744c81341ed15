# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of an image and options, held against the schema of the runtime-spec."""

from __future__ import annotations

import functools
import json
import os
import signal
import typing as t

import jsonschema  # type: ignore[import-untyped]
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT4

from ansible_collections.longshore.oci.plugins.module_utils._base import process
from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig, parse_config
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Facts, Options
from ansible_collections.longshore.oci.plugins.module_utils._config.default_capabilities import DEFAULT

pytestmark = pytest.mark.pure

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(HERE, "..", "..", "..", "fixtures", "runtime-spec")
PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {
            "names": ["bpf"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]},
        },
        {"names": ["cacheflush"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
    ],
}
FACTS = Facts("amd64", CAPABILITIES, cgroup2=True, uid=0, gid=0, seccomp=PROFILE, resolv_conf="/etc/resolv.conf")
ROOT = User()
IMAGE: dict[str, t.Any] = {
    "os": "linux",
    "architecture": "amd64",
    "config": {
        "Entrypoint": ["/entry"], "Cmd": ["one", "two"], "Env": ["PATH=/image", "A=image", "B=image"], "WorkingDir": "/work",
        "StopSignal": "SIGINT",
        "Labels": {"label": "yes", "org.opencontainers.image.title": "web"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}, "/gone/": {}},
    },
}  # fmt: skip


@functools.cache
def _validator() -> t.Any:
    documents = {}
    for name in ("config-schema", "config-linux", "defs", "defs-linux"):
        with open(os.path.join(SCHEMA, f"{name}.json"), encoding="utf-8") as stream:
            documents[f"{name}.json"] = json.load(stream)
    # What is not Linux's is not asked for here.
    kept = documents["config-schema.json"]["properties"]
    for other in ("freebsd", "solaris", "windows", "vm", "zos"):
        kept.pop(other, None)
    resources = ((name, DRAFT4.create_resource(document)) for name, document in documents.items())
    registry: Registry[t.Any] = Registry().with_resources(resources)
    return jsonschema.Draft4Validator(documents["config-schema.json"], registry=registry)


def parsed(image: dict[str, t.Any]) -> ImageConfig:
    return parse_config(json.dumps({"rootfs": {"type": "layers", "diff_ids": []}, **image}))


def make(
    image: dict[str, t.Any] | None = None, facts: Facts = FACTS, user: User = ROOT, **options: t.Any
) -> dict[str, t.Any]:
    """A config, which the schema has nothing against."""
    made = spec.make(parsed(IMAGE if image is None else image), Options(**options), facts, user, "/srv/web")
    assert made["ociVersion"]  # All else may be missing.
    assert [wrong for name, value in made.items() for wrong in _wrong(name, json.dumps(value))] == []
    return made


@functools.cache
def _wrong(name: str, value: str) -> list[str]:
    """Return what the schema finds in a part of a config. It takes longer than all else here, and many configs have the same parts."""
    part = {"ociVersion": "1.0.2", name: json.loads(value)}
    return [f"{list(error.path)}: {error.message}" for error in _validator().iter_errors(part)]


def test_the_schema_does_find_what_is_wrong() -> None:
    made = make()
    made["linux"]["namespaces"].append({"type": "time travel"})
    made["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE"}]
    wrong = [error.message for error in _validator().iter_errors(made)]
    assert (
        len([message for message in wrong if "time travel" in message or "is a required property" in message])
        == len(wrong)
        == 3
    )


def test_the_defaults() -> None:
    made = make()
    assert made["process"]["args"] == ["/entry", "one", "two"]
    assert made["process"]["cwd"] == "/work"
    assert made["process"]["user"] == {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [0]}
    assert made["process"]["capabilities"]["bounding"] == sorted(DEFAULT, key=CAPABILITIES.index)
    assert "inheritable" not in made["process"]["capabilities"]
    assert made["process"]["noNewPrivileges"] is False
    assert made["hostname"] == "web"
    assert [entry["type"] for entry in made["linux"]["namespaces"]] == [
        "pid",
        "network",
        "ipc",
        "uts",
        "mount",
        "cgroup",
    ]
    assert made["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 2048}}
    assert "/proc/kcore" in made["linux"]["maskedPaths"]
    assert "/proc/sys" in made["linux"]["readonlyPaths"]
    assert made["linux"]["seccomp"]["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [(rule["names"], rule["action"]) for rule in made["linux"]["seccomp"]["syscalls"]] == [
        (["read"], "SCMP_ACT_ALLOW"),
        (["bpf"], "SCMP_ACT_ERRNO"),
    ]
    assert made["annotations"] == {
        "org.opencontainers.image.title": "web",
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.exposedPorts": "80/tcp",
        "org.opencontainers.image.stopSignal": "SIGINT",
    }
    places = [mount["destination"] for mount in made["mounts"]]
    assert places.index("/dev") < places.index("/dev/pts")
    assert "/etc/resolv.conf" not in places
    by_place = {mount["destination"]: mount for mount in made["mounts"]}
    assert by_place["/etc/hosts"]["source"] == "/srv/web/etc/hosts"
    assert by_place["/data"]["source"].startswith("/srv/web/volumes/data-")
    assert by_place["/gone"]["type"] == "bind"
    assert by_place["/dev/shm"]["options"][-1] == "size=67108864"


@pytest.mark.parametrize(
    "label",
    [
        "run.oci.seccomp_bpf_data", "run.oci.hooks.stdout", "run.oci.keep_original_groups", "org.systemd.property.Wants",
        "org.systemd.property.PIDs", "org.criu.config", "module.wasm.image/variant", "io.podman.annotations.init", "bundle",
    ],
)  # fmt: skip
def test_no_label_steers_a_runtime_but_the_task_may(label: str) -> None:
    image = {"config": {"Cmd": ["/x"], "Labels": {label: "yes"}}}
    assert label not in make(image)["annotations"]
    assert make(image, annotations={label: "mine"})["annotations"][label] == "mine"


def test_a_label_that_is_no_signal_does_not_stop_a_container_from_being_made() -> None:
    image = {"config": {"Cmd": ["/x"], "StopSignal": "INT", "Labels": {"org.opencontainers.image.stopSignal": "FOO"}}}
    assert make(image)["annotations"]["org.opencontainers.image.stopSignal"] == "INT"


@pytest.mark.parametrize(
    ("options", "args"),
    [
        ({"argv": ("x",)}, ["/entry", "x"]),
        ({"argv": ()}, ["/entry"]),
        ({"entrypoint": ("e", "-v")}, ["e", "-v"]),
        ({"entrypoint": (), "argv": ("x", "y")}, ["x", "y"]),
        ({"entrypoint": ("e",), "argv": ("x",)}, ["e", "x"]),
    ],
)
def test_the_program(options: dict[str, t.Any], args: list[str]) -> None:
    assert make(**options)["process"]["args"] == args


def test_later_sources_of_the_environment_win() -> None:
    facts = FACTS._replace(env_files=(("/a", "# no\n\nB=file\nC=a b=c \n"), ("/b", "D='quoted'")))
    made = make(facts=facts, env={"C": "task", "N": 5}, tty=True)["process"]["env"]
    assert dict(word.split("=", 1) for word in made) == {
        "PATH": "/image", "container": "longshore", "HOME": "/", "TERM": "xterm", "HOSTNAME": "web", "A": "image",
        "B": "file", "C": "task", "D": "'quoted'", "N": "5",
    }  # fmt: skip


def test_another_user_has_only_the_capabilities_that_are_named() -> None:
    made = make(
        user=User(1000, 1000, (10,), "/home/app"), capabilities_add=("net_raw",), capabilities_drop=("CAP_KILL",)
    )
    capabilities = made["process"]["capabilities"]
    assert capabilities["effective"] == capabilities["ambient"] == ["CAP_NET_RAW"]
    assert "CAP_KILL" not in capabilities["bounding"]
    assert made["process"]["user"] == {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [1000, 10]}
    assert "HOME=/home/app" in made["process"]["env"]


@pytest.mark.parametrize(
    ("uid", "user", "options", "hint"),
    [
        (1000, User(1000, 1000), {"network": "host"}, 'A user other than root has only 0 there. Set user: "0".'),
        (1000, User(1, 0), {"network": "host"}, 'A user other than root has only 0 there. Set user: "0".'),
        (1000, User(0, 5), {"network": "host"}, 'A user other than root has only 0 there. Set user: "0".'),
        (0, User(70000, 0), {"userns": {"uidmap": ["0:100000:65536"]}}, "See userns."),
        (0, User(0, 70000), {"userns": {"uidmap": ["0:100000:65536"]}}, "See userns."),
    ],
)
def test_a_user_that_is_not_mapped(uid: int, user: User, options: dict[str, t.Any], hint: str) -> None:
    with pytest.raises(InvalidOption, match=r"The container's [ug]id \d+ is not mapped") as failed:
        make(user=user, facts=FACTS._replace(uid=uid, gid=uid), **options)
    assert failed.value.hint == hint


@pytest.mark.parametrize(
    ("uid", "user", "options", "groups"),
    [
        (0, User(), {}, [0]),
        (0, User(1000, 1000), {}, [1000]),
        (0, User(1000, 50, (10, 20)), {}, [50, 10, 20]),
        (0, User(0, 0, (1, 2, 70000)), {"userns": {"uidmap": ["0:100000:65536"]}}, [0, 1, 2]),
        (1000, User(), {"network": "host"}, None),  # No user but root can give any.
        (1000, User(0, 0, (1, 2)), {"network": "host"}, None),
    ],
)
def test_the_first_group_is_among_the_groups(
    uid: int, user: User, options: dict[str, t.Any], groups: list[int] | None
) -> None:
    """As in podman (CVE-2022-2989)."""
    made = make(user=user, facts=FACTS._replace(uid=uid, gid=uid), **options)
    assert made["process"]["user"].get("additionalGids") == groups


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"capabilities_drop": ("all",)}, set()),
        ({"capabilities_drop": ("ALL",), "capabilities_add": ("CHOWN",)}, {"CAP_CHOWN"}),
        ({"capabilities_add": ("all",), "capabilities_drop": ("SYS_ADMIN",)}, {*CAPABILITIES} - {"CAP_SYS_ADMIN"}),
    ],
)
def test_capabilities_of_root(options: dict[str, t.Any], expected: set[str]) -> None:
    assert set(make(**options)["process"]["capabilities"]["effective"]) == expected


def test_everything_at_once_is_valid() -> None:
    device = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}
    facts = FACTS._replace(devices=((device, "rw"),), namespaces={"network": "/run/netns/a", "ipc": "/proc/7/ns/ipc"})
    made = make(
        facts=facts, argv=("x",), tty=True, hostname="me.example",
        mounts=("/etc:/host:ro", {"source": "/srv", "destination": "/data", "options": ["rw", "rshared", "dev"]},
                {"type": "proc", "destination": "/other/proc"}),
        tmpfs=("/scratch:size=1m,exec",), image_volumes="tmpfs", memory="64m", memory_reservation="32m", memory_swap="128m",
        cpus=0.5, cpu_shares=512, cpuset_cpus="0", pids_limit=10, oom_score_adj=-5, read_only=True, no_new_privileges=True,
        apparmor_profile="mine", selinux_label="a:b:c:s0", ulimits=("nofile=1:2", "core:-1"),
        sysctls={"net.core.somaxconn": 10}, network="path:/run/netns/a", pid="host", ipc="container:x",
        userns={"uidmap": ["0:100000:65536"], "gidmap": ["0:200000:65536"]}, annotations={"a": 1},
        hooks={"poststop": [{"path": "/bin/true", "args": ["true"]}]}, cgroup_parent="my.slice", stop_signal="HUP",
        spec={"domainname": "example", "linux": {"maskedPaths": None, "sysctl": {"net.a": "1"}}},
    )  # fmt: skip
    linux = made["linux"]
    assert linux["cgroupsPath"] == "my.slice:longshore:web"
    assert {"type": "network", "path": "/run/netns/a"} in linux["namespaces"]
    assert {"type": "user"} in linux["namespaces"]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 200000, "size": 65536}]
    assert "maskedPaths" not in linux
    assert linux["sysctl"] == {"net.core.somaxconn": "10", "net.a": "1"}
    assert linux["resources"]["devices"][1] == {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    assert linux["resources"]["cpu"] == {"shares": 512, "cpus": "0", "period": 100000, "quota": 50000}
    assert linux["resources"]["memory"] == {"limit": 2**26, "reservation": 2**25, "swap": 2**27}
    by_place = {mount["destination"]: mount for mount in made["mounts"]}
    assert by_place["/host"]["options"] == ["rbind", "ro", "rro", "rprivate", "nosuid", "nodev"]
    assert by_place["/data"]["options"] == ["rbind", "rshared", "nosuid"]
    assert by_place["/dev/shm"]["type"] == "tmpfs"
    assert by_place["/scratch"]["options"] == ["size=1m", "nosuid", "nodev", "tmpcopyup"]
    # What the kernel does not mount for a user namespace that does not own the other one.
    assert by_place["/proc"]["source"] == "/proc"
    assert by_place["/sys"]["source"] == "/sys"
    assert by_place["/sys"]["options"][-3:] == ["noexec", "ro", "rro"]
    assert made["annotations"]["org.opencontainers.image.stopSignal"] == "SIGHUP"


def test_privileged() -> None:
    made = make(facts=FACTS._replace(seccomp=None), privileged=True, user=User(5, 5))
    assert "maskedPaths" not in made["linux"]
    assert "seccomp" not in made["linux"]
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert made["process"]["capabilities"]["effective"] == list(CAPABILITIES)
    assert "ro" not in next(mount for mount in made["mounts"] if mount["destination"] == "/sys")["options"]


def test_another_user_than_root_is_root_of_the_container() -> None:
    made = make(facts=FACTS._replace(uid=1000, gid=1001))
    assert made["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert made["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]
    assert not any("gid=5" in (mount.get("options") or []) for mount in made["mounts"])
    with pytest.raises(InvalidOption, match="uid 5 is not mapped"):
        make(facts=FACTS._replace(uid=1000, gid=1001), user=User(5, 0))


@pytest.mark.parametrize("image", [{}, {"config": None}, {"config": {"Entrypoint": None, "Cmd": None, "Env": None}}])
def test_an_image_may_say_nothing(image: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match="There is no program to run"):
        make(image)
    assert make(image, argv=("x",))["process"]["args"] == ["x"]


# Where the kernel speaks, and where this collection mounts files.
RESERVED = (
    "/", "//", "/.", "/x/..", "", "proc", "/proc", "/proc/", "//proc", "/./proc", "/x/../proc", "/proc/self/attr", "/proc/sys",
    "/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/dev/pts/", "../sys", "/etc/hosts", "/etc/hosts/x", "/etc//resolv.conf",
    "/etc/hostname",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["directory", "tmpfs"])
@pytest.mark.parametrize("place", RESERVED[:4] + RESERVED[5:])
def test_no_volume_of_an_image_is_where_the_kernel_speaks(place: str, kind: str) -> None:
    without = make({"config": {"Cmd": ["/x"]}})
    image = {"config": {"Cmd": ["/x"], "Volumes": {place: {}}}}
    assert make(image, image_volumes=kind)["mounts"] == without["mounts"]
    (wanted,) = spec.wanted_volumes(parsed(image), Options(image_volumes=kind))
    assert spec.is_reserved(wanted)
    assert spec.wanted_volumes(parsed(image), Options(image_volumes="ignore")) == []


@pytest.mark.parametrize("place", ["/process", "/system", "/device", "/srv/proc", "/etc", "/etc/hosts.d", "/run"])
def test_other_volumes_are_mounted(place: str) -> None:
    image = {"config": {"Cmd": ["/x"], "Volumes": {place: {}}}}
    by_place = {mount["destination"]: mount for mount in make(image)["mounts"]}
    assert by_place[place]["source"].startswith("/srv/web/volumes/")
    assert make(image, image_volumes="tmpfs", tmpfs=("/own",))["mounts"]


def test_the_task_may_mount_what_an_image_may_not() -> None:
    image = {"config": {"Cmd": ["/x"], "Volumes": {"/proc": {}}}}
    made = make(image, mounts=("/srv/proc:/proc",))
    assert [mount["source"] for mount in made["mounts"] if mount["destination"] == "/proc"] == ["/srv/proc"]
    assert spec.wanted_volumes(parsed(image), Options(mounts=("/srv/proc:/proc",))) == []


def test_a_volume_brings_no_options_of_its_own() -> None:
    place = "/data:suid,exec,mode=7777"
    image = {"config": {"Cmd": ["/x"], "Volumes": {place: {}}}}
    (mount,) = (entry for entry in make(image, image_volumes="tmpfs")["mounts"] if "data" in entry["destination"])
    assert (mount["destination"], mount["options"]) == (place, ["nosuid", "nodev", "tmpcopyup"])


def test_a_long_volume_has_a_name_that_a_file_system_takes() -> None:
    places = ["/" + "/".join(["a" * 200] * 19), "/" + "/".join(["a" * 200] * 18), "/" + "\u20ac" * 85, "/short"]
    names = spec.volumes(parsed({"config": {"Volumes": dict.fromkeys(places)}}), Options())
    assert sorted(names) == sorted(places)
    assert len(set(names.values())) == 4
    assert all(len(name.encode()) <= 255 for name in names.values())
    assert names["/short"].startswith("short-")


@pytest.mark.parametrize("signal", ["SIGFOO", "0", "-1", "9" * 30, "TERM x"])
def test_a_stop_signal_of_an_image_is_one(signal: str) -> None:
    image = {"config": {"Cmd": ["/x"], "StopSignal": signal}}
    with pytest.raises(InvalidOption, match=r"The image is not valid: config.StopSignal .* is not a signal"):
        make(image)
    assert make(image, stop_signal="INT")["annotations"]["org.opencontainers.image.stopSignal"] == "SIGINT"


def test_read_only_is_all_that_is_below() -> None:
    """But for a file, below which nothing is, and for a kernel that cannot do that."""

    def options(facts: Facts, *mounts: str, **more: t.Any) -> list[list[str]]:
        made = {mount["destination"]: mount["options"] for mount in make(facts=facts, mounts=mounts, **more)["mounts"]}
        return [made[mount.split(":")[1]] for mount in mounts]

    rest = ["rprivate", "nosuid", "nodev"]
    given = ("/a:/b:ro", "/f:/g:ro", "/f:/h:rro", "/c:/d:bind,ro", "/e:/i:ro,bind-recursive=writable")
    facts = FACTS._replace(files=frozenset({"/f"}))
    same = [["bind", "ro", *rest], ["rbind", "ro", *rest]]
    whole = ["rbind", "ro", "rro", *rest]
    assert options(facts, *given) == [whole, ["rbind", "ro", *rest], ["rbind", "ro", *rest], *same]
    old = facts._replace(recursive=False)
    assert options(old, *given) == [["rbind", "ro", *rest]] * 3 + same
    (sys,) = options(old, "/sys:/sys:ro", network="path:/n", userns={"uidmap": ["0:1:9"]})
    assert "rro" not in sys


@pytest.mark.parametrize(
    ("given", "below"),
    [
        (("/a:/d:ro", "/b:/d/sub"), True), (("/b:/d/sub", "/a:/d:ro"), True), (("/a:/d:ro", "/b:/d/sub/deep:ro"), True),
        (("/a:/d:ro,noexec", "/b:/dd/sub"), False), (("/a:/d:ro", "/b:/e"), False), (("/a:/d:bind,ro", "/b:/d/sub"), None),
        (("/a:/d:ro,bind-recursive=writable", "/b:/d/sub"), None),
        (("/a:/d:ro", {"type": "tmpfs", "destination": "/d/x"}), True), (("/a:/d/:readonly", {"type": "proc", "destination": "/d/x"}), True),
    ],
)  # fmt: skip
def test_ro_is_as_in_podman_where_another_mount_is_in_it(given: tuple[t.Any, ...], below: bool | None) -> None:
    """crun makes the mount read-only with all below at once, and then cannot create the mount point of the other one."""
    options = Options(argv=("x",), mounts=given, seccomp="unconfined")
    for facts in (FACTS, FACTS._replace(recursive=False)):
        made = make(facts=facts, mounts=given)
        found = next(mount["options"] for mount in made["mounts"] if mount["destination"] == "/d")
        assert "ro" in found
        assert ("rro" in found) is (below is False and facts.recursive)
        said = spec.writable_below(options, facts, made)
        expected = {None: 0, True: 1, False: 0 if facts.recursive else 1}[below]
        expected += 0 if facts.recursive or "/b:/d/sub/deep:ro" not in given else 1
        assert len(said) == expected
        assert all(("another mount is in it" if facts.recursive else "needs Linux 5.12") in text for text in said)
    asked = make(mounts=("/a:/d:rro", "/b:/d/sub"))["mounts"]
    assert next(mount["options"] for mount in asked if mount["destination"] == "/d")[:3] == ["rbind", "ro", "rro"]
    assert spec.writable_below(options._replace(mounts=("/a:/d:rro", "/b:/d/sub")), FACTS, {"mounts": asked}) == ()


def test_what_the_module_mounts_is_another_mount_too() -> None:
    """A file of the bundle in /etc, a tmpfs, a volume of the image, and what the kernel mounts."""
    image = {"config": {"Cmd": ["/x"], "Volumes": {"/v/data": {}}}}
    mounts = ("/a:/etc:ro", "/a:/dev:ro", "/a:/t:ro", "/a:/v:ro", "/a:/alone:ro")
    made = {mount["destination"]: mount["options"] for mount in make(image, mounts=mounts, tmpfs=("/t/x",))["mounts"]}
    assert [place for place in ("/etc", "/dev", "/t", "/v", "/alone") if "rro" in made[place]] == ["/alone"]


@pytest.mark.parametrize(
    ("words", "whole", "plain"),
    [
        ("rro", ["ro", "rro"], ["ro"]), ("ro,rro", ["ro", "rro"], ["ro"]), ("ro,bind-recursive=readonly", ["ro", "rro"], ["ro"]),
        ("rnoexec", ["noexec", "rnoexec"], ["noexec"]), ("ro,rnoexec", ["ro", "rro", "noexec", "rnoexec"], ["ro", "noexec"]),
        ("rnoatime,rnodiratime", ["noatime", "rnoatime", "nodiratime", "rnodiratime"], ["noatime", "nodiratime"]), ("rrw", ["rw", "rrw"], []),
        ("rstrictatime", ["strictatime", "rstrictatime"], ["strictatime"]), ("rexec", ["rexec"], []), ("bind,rro", ["ro", "rro"], ["ro"]),
    ],
)  # fmt: skip
def test_a_recursive_option_follows_its_plain_form(words: str, whole: list[str], plain: list[str]) -> None:
    """So a runtime that ignores the recursive one does not make the mount itself writable."""

    def options(facts: Facts) -> list[str]:
        (mount,) = (
            each for each in make(facts=facts, mounts=(f"/a:/b:{words}",))["mounts"] if each["destination"] == "/b"
        )
        assert {"nosuid", "nodev"} <= {*mount["options"]}
        return [word for word in mount["options"] if word not in ("bind", "rbind", "rprivate", "nosuid", "nodev")]

    assert options(FACTS) == whole
    assert options(FACTS._replace(files=frozenset({"/a"}))) == plain
    assert options(FACTS._replace(recursive=False)) == plain


@pytest.mark.parametrize("name", ["my_host", "a.", "-a", "a_b.example.", "x" * 64, "_", "b\u00fccher", "1.2.3.4", "A"])
def test_host_names(name: str) -> None:
    made = make(hostname=name)
    assert made["hostname"] == name
    assert f"HOSTNAME={name}" in made["process"]["env"]
    assert spec.files(Options(hostname=name), "/srv/web") == {
        "hostname": f"{name}\n", "hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 65, "it has 65 bytes, and the kernel takes at most 64"), ("\u00fc" * 33, "it has 66 bytes"), ("a b", "the character ' '"),
        ("a\nb", r"the character '\\n'"), ("a\tb", r"'\\t'"), ("a/b", "'/'"), ("a#b", "'#'"), ("\u2028", r"'\\u2028'"),
        ("a\u00a0b", r"'\\xa0'"), ("\x7f", r"'\\x7f'"), ("/" * 65, "the character '/'"),
    ],
)  # fmt: skip
def test_what_is_no_host_name(name: str, why: str) -> None:
    with pytest.raises(InvalidOption, match=f"cannot be a hostname: .*{why}"):
        make(hostname=name)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"argv": ()}, "argv is empty"), ({"argv": ("",)}, "argv is empty"), ({"argv": ("", "x")}, "argv is empty"),
        ({"entrypoint": ()}, "entrypoint is empty"), ({"entrypoint": ("",)}, "entrypoint is empty"), ({"entrypoint": (), "argv": ()}, "argv is empty"),
    ],
)  # fmt: skip
def test_no_program(options: dict[str, t.Any], why: str) -> None:
    with pytest.raises(InvalidOption, match=f"There is no program to run: {why}"):
        make({"config": {"Cmd": ["/x"]}}, **options)
    with pytest.raises(InvalidOption, match="There is no program to run: the image names none"):
        make({"config": {}})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"argv": ("x", "y" * 140000)}, "argument 2 of the program has 140000 bytes"), ({"env": {"A": "b" * 140000}}, "variable A has 140002 bytes"),
        ({"argv": (), "entrypoint": ("/" + "a" * 70000,)}, "name of the program"), ({"chdir": "/" + "a" * 70000}, "working directory"),
        ({"spec": {"process": {"args": ["/x", "y" * 140000]}}}, "argument 1"), ({"env": {f"A{n}": "b" * 100000 for n in range(30)}}, "together"),
    ],
)  # fmt: skip
def test_words_that_no_kernel_takes(options: dict[str, t.Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said) as caught:
        make(**options)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [True, False, None, 1.5, [1], "1\0"])
def test_what_yaml_makes_of_a_value_is_not_written_to_the_kernel(value: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"sysctls: the value of net\.ipv4\.ip_forward must be text"):
        make(sysctls={"net.ipv4.ip_forward": value})
    with pytest.raises(InvalidOption, match="annotations: the value of a must be text"):
        make(annotations={"a": value})


@pytest.mark.parametrize("signal", ["SIGRTMAX-1", "RTMIN+3", "37", ""])
def test_signals_that_images_have(signal: str) -> None:
    said = make({"config": {"Cmd": ["/x"], "StopSignal": signal}})["annotations"]
    assert said.get("org.opencontainers.image.stopSignal", "") == signal


def test_a_mount_takes_the_place_of_a_default_one() -> None:
    made = make(mounts=("/srv/hosts:/etc/hosts", "/dev/shm:/dev/shm"), tmpfs=("/data",))
    by_place = [mount["destination"] for mount in made["mounts"]]
    assert len(by_place) == len(set(by_place))
    sources = {mount["destination"]: mount["source"] for mount in made["mounts"]}
    assert (sources["/etc/hosts"], sources["/dev/shm"], sources["/data"]) == ("/srv/hosts", "/dev/shm", "tmpfs")


def test_merging_takes_away_and_replaces() -> None:
    before = {"a": {"b": 1, "c": 2}, "list": [1, 2], "text": "x"}
    other = {"a": {"b": None, "d": {"e": 3, "f": None}}, "list": [3], "text": {"now": "a dictionary"}}
    assert spec.merged(before, other) == {"a": {"c": 2, "d": {"e": 3}}, "list": [3], "text": {"now": "a dictionary"}}
    assert before["a"] == {"b": 1, "c": 2}


# Each row has spellings of the same. Sets of a template have another order at each run.
SPELLINGS: list[tuple[dict[str, t.Any], ...]] = [
    ({"mounts": ("/a:/a", "/b:/b")}, {"mounts": ("/b:/b", "/a:/a")}),
    ({"mounts": ("/a:/x/a/y", "/b:/x", "/c:/c", "/d:/x/a")}, {"mounts": ("/d:/x/a", "/c:/c", "/b:/x", "/a:/x/a/y")}),
    ({"tmpfs": ("/t", "/s:size=1m", "/run")}, {"tmpfs": ("/run", "/t", "/s:size=1m")}, {"tmpfs": ("/s:size=1m", "/run", "/t/")}),
    ({"mounts": ("/a:/a",)}, {"mounts": ("/a:/a:rw",)}, {"mounts": ("/a:/a:defaults",)}, {"mounts": ("/a:/a:rw,rbind",)}, {"mounts": ("/a:/a/:rprivate",)},
     {"mounts": ("/a/:/a",)}, {"mounts": ("//a/.:/a",)}, {"mounts": ("/a:/a:nodev,nosuid",)},
     {"mounts": ({"source": "/a", "destination": "/a", "type": "none"},)},
     {"mounts": ("/a:/a:bind-propagation=rprivate,readonly=false",)}, {"mounts": ("/a:/a:nocopy,cached",)}),
    ({"mounts": ("/a:/a:ro,noexec",)}, {"mounts": ("/a:/a:noexec,ro",)}, {"mounts": ("/a:/a:noexec,rbind,ro",)},
     {"mounts": ("/a:/a:noexec,readonly,rprivate",)},
     {"mounts": ({"source": "/a", "destination": "/a", "options": ["noexec", "ro"]},)}),
    ({"mounts": ("/a:/a:rro",)}, {"mounts": ("/a:/a:ro",)}, {"mounts": ("/a:/a:rro,ro",)}, {"mounts": ("/a:/a:bind-recursive=readonly",)}),
    ({"mounts": ("/a:/a:rshared,suid,noatime",)}, {"mounts": ("/a:/a:noatime,suid,rshared",)}, {"mounts": ("/a:/a:suid,rw,noatime,rshared",)}),
    ({"mounts": ("/a:/a:rnoexec,rnoatime",)}, {"mounts": ("/a:/a:rnoatime,rnoexec",)}, {"mounts": ("/a:/a:rnoatime,noexec,rnoexec,noatime",)}),
    ({"tmpfs": ("/t:size=1m,mode=1777,ro",)}, {"tmpfs": ("/t:ro,mode=1777,size=1m",)}, {"tmpfs": ("/t:mode=1777,tmpcopyup,ro,noexec,nosuid,size=1m",)}),
    ({"tmpfs": ("/t",)}, {"tmpfs": ("/t:rw",)}, {"tmpfs": ("/t:defaults",)}, {"tmpfs": ("/t:tmpcopyup,nodev",)}),
    ({"mounts": ({"type": "ext4", "source": "/dev/x", "destination": "/e", "options": ["data=ordered", "ro", "noexec", "nobarrier"]},)},
     {"mounts": ({"type": "ext4", "source": "/dev/x", "destination": "/e", "options": ["noexec", "readonly", "data=ordered", "nobarrier"]},)}),
    ({"stop_signal": "TERM"}, {"stop_signal": "SIGTERM"}, {"stop_signal": "15"}, {"stop_signal": "sigterm"}),
    ({"stop_signal": "RTMIN+3"}, {"stop_signal": "37"}, {"stop_signal": "SIGRTMIN+3"}, {"stop_signal": "RTMAX-27"}),
    ({"cpuset_cpus": "0,1"}, {"cpuset_cpus": "0-1"}, {"cpuset_cpus": "1,0"}),
    ({"memory": "512m"}, {"memory": "0.5g"}, {"memory": "536870912"}),
    ({"userns": {"uidmap": ["0:100000:1", "1:200000:5"]}}, {"userns": {"uidmap": ["1:200000:5", "0:100000:1"]}}),
    ({"capabilities_add": ("NET_ADMIN", "SYS_TIME")}, {"capabilities_add": ("cap_sys_time", "net_admin")}),
    ({"ulimits": ("nofile=5", "core=0")}, {"ulimits": ("core=0:0", "nofile:5")}),
    ({"network": "path:/n", "mounts": ("/a:/a",), "tmpfs": ("/b",)}, {"network": "path:/n", "tmpfs": ("/b",), "mounts": ("/a:/a:rw",)}),
]  # fmt: skip


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_spellings_of_the_same_are_one_config(spellings: tuple[dict[str, t.Any], ...]) -> None:
    made = [json.dumps(make(**options)) for options in spellings]
    assert made == made[:1] * len(made)


def test_each_signal_has_a_spelling() -> None:
    for number in range(1, signal.SIGRTMAX + 1):
        text = make(stop_signal=str(number))["annotations"]["org.opencontainers.image.stopSignal"]
        assert process.parse_signal(text) == number
        assert make(stop_signal=text) == make(stop_signal=str(number))


def test_what_has_a_meaning_stays() -> None:
    found = [
        make(mounts=mounts)["mounts"] for mounts in (
            ("/a:/a",), ("/a:/a:ro",), ("/a:/a:bind",), ("/a:/a:noexec",), ("/a:/a:rshared",), ("/a:/a:suid",), ("/a:/a:exec,rrw",), ("/b:/a",),
            ("/a/../b:/a",),
            ("/a:/x", "/b:/x"), ("/b:/x", "/a:/x"), ("/a:/a:strictatime",),
        )
    ]  # fmt: skip
    assert [number for number, each in enumerate(found) if found.index(each) != number] == []
    overlay = {"type": "overlay", "destination": "/o", "options": ["lowerdir=/b:/a", "upperdir=/u", "ro"]}
    (mount,) = (each for each in make(mounts=(overlay,))["mounts"] if each["destination"] == "/o")
    assert mount["options"] == ["lowerdir=/b:/a", "upperdir=/u", "ro"]


def test_mounts_are_in_the_order_of_podman() -> None:
    made = make(mounts=("/a:/z/y/x", "/b:/z", "/c:/b/c", "/d:/z/y", "/e:/a"), tmpfs=("/b", "/z/y/a"))["mounts"]
    places = [mount["destination"] for mount in made]
    assert places == sorted(places, key=lambda place: (place.count("/"), place))
    assert [place for place in places if place[:2] in ("/a", "/b", "/z")] == [
        "/a",
        "/b",
        "/z",
        "/b/c",
        "/z/y",
        "/z/y/a",
        "/z/y/x",
    ]
