# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as people write them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import parse, seccomp

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("/a:/b", ["rbind", "rprivate", "nosuid", "nodev"]),
        ("/a:/b:ro", ["rbind", "ro", "rro", "rprivate", "nosuid", "nodev"]),
        ("/a:/b:bind,rslave,suid,dev,exec", ["bind", "rslave"]),
        ({"source": "/a", "destination": "/b"}, ["rbind", "rprivate", "nosuid", "nodev"]),
    ],
)
def test_mounts(value: t.Any, options: list[str]) -> None:
    assert parse.mount(value) == {"destination": "/b", "type": "bind", "source": "/a", "options": options}


@pytest.mark.parametrize(
    "value",
    [
        "", "/a", "/a:/b:ro:rw", "a:/b", "/a:b", "/a:/", "/a:/..", 5, None, {}, {"destination": "/b"}, {"source": 3, "destination": "/b"},
        {"source": "/a", "destination": "/b", "options": "ro"}, {"source": "/a", "destination": "/b", "options": [1]},
        {"source": "/a", "destination": "/b", "target": "/c"}, "/a:/b:z",
        {"source": "/a", "destination": "/b", "options": False}, {"source": "/a", "destination": "/b", "options": 0},
        {"source": "/a", "destination": "/b", "options": ""}, {"source": "/a", "destination": "/b", "options": {}},
        {"source": "/a", "destination": "/b", "type": False}, {"source": "/a", "destination": "/b", "type": 0},
        {"source": "/a", "destination": "/b", "type": ""}, {"source": "/a", "destination": "/b", "type": []},
    ],
)  # fmt: skip
def test_what_is_no_mount(value: t.Any) -> None:
    with pytest.raises(InvalidOption):
        parse.mount(value)


def test_what_is_absent_from_a_mount() -> None:
    given = {"source": "/a", "destination": "/b"}
    assert parse.mount({**given, "type": None, "options": None}) == parse.mount(given) == parse.mount("/a:/b")
    assert parse.mount({**given, "options": []}) == parse.mount(given)


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("nofile=10", ("RLIMIT_NOFILE", 10, 10)),
        ("nofile:10:20", ("RLIMIT_NOFILE", 10, 20)),
        ("RLIMIT_CORE=0:-1", ("RLIMIT_CORE", 0, parse.UNLIMITED)),
        ("nproc=-1", ("RLIMIT_NPROC", parse.UNLIMITED, parse.UNLIMITED)),
        (" nofile=5\n", ("RLIMIT_NOFILE", 5, 5)),
        ("core=unlimited", ("RLIMIT_CORE", parse.UNLIMITED, parse.UNLIMITED)),
        ("memlock:1024:infinity", ("RLIMIT_MEMLOCK", 1024, parse.UNLIMITED)),
        ("STACK=0:Unlimited", ("RLIMIT_STACK", 0, parse.UNLIMITED)),
    ],
)
def test_ulimits(value: str, limit: tuple[str, int, int]) -> None:
    assert parse.ulimit(value) == dict(zip(("type", "soft", "hard"), limit))


@pytest.mark.parametrize(
    "value", ["nofile=1:100000000000000000000", "nofile=18446744073709551616", "core=99999999999999999999:-1"]
)
def test_limits_that_no_kernel_can_count(value: str) -> None:
    with pytest.raises(InvalidOption, match="is too large for the kernel"):
        parse.ulimit(value)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("nofiles=1", "Did you mean nofile?"), ("rlimit_nprocs=1", "Did you mean nproc?"), ("mem_lock=-1", "Did you mean memlock?"),
        ("nofile", "NAME=SOFT:HARD"), ("nofile=", "NAME=SOFT:HARD"), ("nofile=many", "NAME=SOFT:HARD"), ("nofile=1:2:3", "NAME=SOFT:HARD"),
        ("nofile=-2", "NAME=SOFT:HARD"), ("nofile=1.5", "NAME=SOFT:HARD"), ("host", "NAME=SOFT:HARD"), ("nofile = 5", "NAME=SOFT:HARD"),
        ("nofile=\u0665", "NAME=SOFT:HARD"), ("nofile=1k", "NAME=SOFT:HARD"),
    ],
)  # fmt: skip
def test_what_is_no_ulimit(value: str, hint: str) -> None:
    with pytest.raises(InvalidOption, match=r"The ulimit .* is not valid") as caught:
        parse.ulimit(value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("value", ["nofile=2:1", "nofile=-1:5", "core=unlimited:0"])
def test_a_soft_limit_is_below_the_hard_one(value: str) -> None:
    with pytest.raises(InvalidOption, match="has a soft limit above its hard limit"):
        parse.ulimit(value)


@pytest.mark.parametrize(
    "value",
    ["/dev/a:rwx", "/dev/a:RW", "/dev/a:rr", "/dev/a:/dev/b:rwmr", "/dev/a:", "/dev/a:/dev/b:", "/dev/a: r", "/dev/a:ro"],
)  # fmt: skip
def test_what_is_no_access_to_a_device(value: str) -> None:
    with pytest.raises(InvalidOption, match=r"The device .* cannot have the access") as caught:
        parse.device(value)
    assert "w (write)" in caught.value.hint


@pytest.mark.parametrize(
    "value", ["", "dev/a", "dev/a:rw", "/dev/a\0:rw", "/dev/a:/b:/c:rw", "/dev/a:/dev/b:r:w", "vendor.com/gpu=0"]
)
def test_what_is_no_device(value: str) -> None:
    with pytest.raises(InvalidOption, match=r"The device .* is not valid|cannot have the access"):
        parse.device(value)


@pytest.mark.parametrize(
    ("value", "device"),
    [
        ("/dev/a", ("/dev/a", "/dev/a", "rwm")),
        ("/dev/a:r", ("/dev/a", "/dev/a", "r")),
        ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        ("/dev/a:/dev/b:rw", ("/dev/a", "/dev/b", "rw")),
    ],
)
def test_devices(value: str, device: tuple[str, str, str]) -> None:
    assert parse.device(value) == device


def test_mappings() -> None:
    maps = parse.id_maps({"uidmap": ["0:1000:1", "1:100000:10"]}, "gidmap")
    assert [parse.mapped(number, maps) for number in (0, 1, 10, 11)] == [1000, 100000, 100009, None]


@pytest.mark.parametrize(
    "value",
    ["", "0:1", "0:1:0", "0:1:1:1", "-1:0:1", "0:1:4294967295", "4294967295:0:1", "0:0:99999999999", "\u0660:0:1", "0 :1:1", "0:1:1\n"],
)  # fmt: skip
def test_what_is_no_mapping(value: str) -> None:
    with pytest.raises(InvalidOption, match=r"The mapping .* in userns is not valid"):
        parse.id_maps({"uidmap": [value]}, "uidmap")
    assert parse.id_maps({"uidmap": ["0:0:4294967295"]}, "uidmap")[0].size == 2**32 - 1


@pytest.mark.parametrize("value", [True, None, 1.5, ["a"], {"a": 1}, "nul\0"])
def test_an_environment_is_text(value: t.Any) -> None:
    with pytest.raises(InvalidOption, match="the value of NAME must be text") as caught:
        parse.environment({"NAME": value})
    assert str(value) not in str(caught.value) or value is None


@pytest.mark.parametrize("value", [True, False, None, 1.5, 0.0, ["a"], {"a": 1}, "nul\0", b"x"])
@pytest.mark.parametrize("option", ["sysctls", "annotations"])
def test_what_the_kernel_reads_is_text(option: str, value: t.Any) -> None:
    with pytest.raises(InvalidOption, match=f"{option}: the value of net.a must be text"):
        parse.texts(option, {"net.a": value})
    assert parse.texts(option, {"net.a": 1, "b": "yes", "c": -3, "d": ""}) == {
        "net.a": "1",
        "b": "yes",
        "c": "-3",
        "d": "",
    }


@pytest.mark.parametrize("name", [True, None, 5, "", "a\0b", ("a",)])
def test_a_name_is_text(name: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"annotations: .* cannot be a name"):
        parse.texts("annotations", {name: "x"})


def test_a_line_of_an_env_file_is_never_shown() -> None:
    with pytest.raises(InvalidOption, match="line 2: this is not NAME=VALUE") as caught:
        parse.env_file("A=1\nmy secret", "/x.env")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [{}, {"defaultAction": 3}, {"defaultAction": "x", "syscalls": "read"}, {"defaultAction": "x", "syscalls": [{}]}],
)
def test_what_is_no_seccomp_profile(document: t.Any) -> None:
    with pytest.raises(InvalidOption):
        seccomp.resolve(document, (), "amd64")


def test_a_profile_of_a_config_stays_what_it_is() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}],
    }  # fmt: skip
    assert seccomp.resolve(profile, ("CAP_KILL",), "amd64") == profile


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"A=1\nB=2", [("A", "1"), ("B", "2")]), (b"A=1\r\nB=2\r\n", [("A", "1"), ("B", "2")]), (b"A=1\r\r\n", [("A", "1\r")]),
        (b"A=1\r", [("A", "1")]),
        # No other character ends a line, nor is any but a blank and a tab left out before a name.
        *[(b"A=x" + end + b"B=y\n", [("A", f"x{end.decode()}B=y")]) for end in (
            b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9",
        )],
        (b"\n \t\n  # a comment of Andr\xe9\n#\0\n\t A= 1 \t\n", [("A", " 1 \t")]), ("A=\u00a01\u3000".encode(), [("A", "\u00a01\u3000")]),
        ("\u00a0A=1".encode(), [("\u00a0A", "1")]), (b"\x0cA=1", [("\x0cA", "1")]), (b"export A=1", [("export A", "1")]),
        (b"\xef\xbb\xbfA=1", [("\ufeffA", "1")]), (b"A==\nB=", [("A", "="), ("B", "")]), ("Ä=ß".encode(), [("Ä", "ß")]),
        (b"", []),
    ],
)  # fmt: skip
def test_lines_of_an_env_file_are_those_of_podman(data: bytes, found: list[tuple[str, str]]) -> None:
    assert parse.env_file(data.decode("utf-8", "surrogateescape"), "/x.env") == found


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"A=1\nB=x\0y", "/x.env, line 2: the variable B has a NUL, which no program can get."),
        (b"A\0B=1", "/x.env, line 1: the name of a variable has a NUL, which no program can get."),
        (b"# fine\n\nNAME=Andr\xe9\n", "/x.env, line 3: the variable NAME is not UTF-8, which a config.json cannot hold."),
        (b"N\xe9=1\n", "/x.env, line 1: the name of a variable is not UTF-8, which a config.json cannot hold."),
        (b"A=\xed\xb2\xa0", "/x.env, line 1: the variable A is not UTF-8, which a config.json cannot hold."),
        (b"=1", "/x.env, line 1: this is not NAME=VALUE."), (b"A", "/x.env, line 1: this is not NAME=VALUE."),
        (b"A =1", "/x.env, line 1: this is not NAME=VALUE."), ("\u00a0".encode(), "/x.env, line 1: this is not NAME=VALUE."),
        (b"A=1\n\xff\xfeA\0", "/x.env, line 2: this is not NAME=VALUE."),
    ],
)  # fmt: skip
def test_what_a_variable_cannot_be_is_named_without_its_value(data: bytes, says: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse.env_file(data.decode("utf-8", "surrogateescape"), "/x.env")
    assert caught.value.message == says
