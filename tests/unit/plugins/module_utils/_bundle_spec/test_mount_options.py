# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every word of a mount is known or refused, and what it becomes for the runtimes."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import parse

pytestmark = pytest.mark.pure


def bind(words: str) -> list[str]:
    """The options of a bind mount, without those that every one has."""
    found: list[str] = parse.mount(f"/a:/b:{words}")["options"]
    return [word for word in found if word not in ("rbind", "rprivate", "nosuid", "nodev")]


def typed(kind: str, *options: str) -> list[str]:
    found: list[str] = parse.mount({"type": kind, "destination": "/b", "options": list(options)})["options"]
    return found


# The hint names the nearest word, where there is one.
@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("RO", "ro"), (" ro", "ro"), ("ro ", "ro"), ("\tro", "ro"), ("Ro", "ro"), ("r0", ""), ("read-only", "readonly"), ("rro ", "rro"),
        ("ro=yes", "ro"), ("readonly=", "readonly"), ("rw=on", "rw"), ("ro=TrUe", "ro"),
        ("foo=bar", ""), ("ro;noexec", ""), ("no-exec", "noexec"), ("NOEXEC", "noexec"), ("nosiud", "nosuid"), ("noexe", "noexec"),
        ("rslav", "rslave"), ("RSHARED", "rshared"), ("bind-propagation=rslav", "rslave"), ("bind-recursive=no", ""), ("", ""),
        ("_netdev", ""), ("user", ""), ("nofail", ""), ("lazytime", ""), ("nosymfollow", ""), ("acl", ""),
    ],
)  # fmt: skip
def test_no_word_of_a_bind_mount_passes_that_is_not_known(word: str, near: str) -> None:
    with pytest.raises(InvalidOption, match=r"The mount option .* at /b is not known") as caught:
        bind(word)
    assert repr(word.replace("bind-propagation=", "")) in caught.value.message
    assert not near or caught.value.hint == f"Did you mean {near}?"
    with pytest.raises(InvalidOption):
        parse.mount({"source": "/a", "destination": "/b", "options": ["noexec", word]})


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("z", "relabels"), ("Z", "relabels"), ("U", "relabels"), ("relabel=shared", "relabels"), ("chown", "relabels"), ("O", "no temporary overlays"),
        ("idmap", "runc before 1.2"), ("idmap=uids=0-1-1", "runc before 1.2"), ("ridmap", "runc before 1.2"), ("copy", "named volumes"),
        ("subpath=x", "named volumes"), ("volume-opt=a=b", "named volumes"), ("nocreate", "named volumes"), ("remount", "not for a new mount"),
        ("size=1m", "no effect on a bind mount"), ("sync", "no effect on a bind mount"), ("mode=0700", "no effect on a bind mount"),
        ("uid=0", "no effect on a bind mount"), ("tmpcopyup", "no effect on a bind mount"), ("noswap", "no effect on a bind mount"),
        ("mand", "no effect on a bind mount"), ("dirsync", "no effect on a bind mount"),
    ],
)  # fmt: skip
def test_words_that_a_bind_mount_cannot_have(word: str, why: str) -> None:
    with pytest.raises(InvalidOption, match=r"The mount option .* at /b ") as caught:
        bind(f"noexec,{word}")
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("words", "options"),
    [
        # Read-only is all that is below, unless nothing is.
        ("ro", ["ro", "rro"]), ("readonly", ["ro", "rro"]), ("ro=true", ["ro", "rro"]), ("readonly=1", ["ro", "rro"]), ("rw=false", ["ro", "rro"]),
        ("readwrite=F", ["ro", "rro"]), ("ro=false", ["rw"]), ("readonly=false", ["rw"]), ("rw=true", ["rw"]), ("readwrite", ["rw"]),
        ("rw=false,bind", ["ro", "bind"]), ("rbind,ro", ["ro", "rro"]), ("rro", ["rro"]), ("ro,rro", ["rro"]), ("rw", ["rw"]),
        ("bind,ro", ["bind", "ro"]), ("bind-nonrecursive,ro", ["bind", "ro"]), ("ro,bind-recursive=disabled", ["ro", "bind"]),
        ("ro,bind-recursive=enabled", ["ro", "rro"]), ("ro,bind-recursive=writable", ["ro"]), ("ro,bind-recursive=readonly", ["rro"]),
        # Those of docker and podman without a meaning here.
        ("ro,cached", ["ro", "rro"]), ("delegated", []), ("consistent", []), ("consistency=cached", []), ("nocopy", []),
        ("noexec", ["noexec"]), ("exec", []), ("noatime", ["noatime"]), ("relatime,nodiratime", ["relatime", "nodiratime"]), ("defaults", ["defaults"]),
        ("rnoexec,rnosuid,rnodev", ["rnoexec", "rnosuid", "rnodev"]), ("strictatime", ["strictatime"]), ("rrelatime", ["rrelatime"]),
    ],
)  # fmt: skip
def test_words_that_a_bind_mount_can_have(words: str, options: list[str]) -> None:
    assert bind(words) == options


@pytest.mark.parametrize(
    "word", ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"]
)
def test_propagation(word: str) -> None:
    for words in (word, f"bind-propagation={word}"):
        assert parse.mount(f"/a:/b:{words}")["options"] == ["rbind", word, "nosuid", "nodev"]
    assert typed("tmpfs", word) == [word]


@pytest.mark.parametrize(
    "word",
    [
        "suid",
        "dev",
        "exec",
        "ro",
        "rro",
        "rw",
        "bind",
        "rbind",
        "",
        "RSLAVE",
        "nosuid",
        "defaults",
        "bind-propagation=rslave",
        "rslave,ro ",
    ],
)
def test_only_a_propagation_is_one(word: str) -> None:
    with pytest.raises(InvalidOption, match=r"The mount option .* at /b is not known") as caught:
        parse.mount({"source": "/a", "destination": "/b", "options": [f"bind-propagation={word}"]})
    assert "rslave" in caught.value.hint or word in ("rw", "rbind", "ro", "rro")


@pytest.mark.parametrize(
    "words",
    [
        "ro,rw", "rw,ro", "rro,rw", "ro,rrw", "noexec,exec", "rnoexec,exec", "suid,nosuid", "dev,rnodev", "bind,rbind", "bind,bind-recursive=enabled",
        "rro,bind-recursive=writable", "bind-recursive=writable,rro", "bind-recursive=readonly,bind-recursive=writable",
        "ro,bind-recursive=disabled,bind-recursive=writable", "bind-recursive=disabled,bind-recursive=readonly",
        "bind-recursive=enabled,bind-recursive=writable", "bind-recursive=enabled,bind-recursive=readonly", "bind-recursive=disabled,rro",
        "shared,rshared", "private,rslave", "atime,noatime", "relatime,norelatime", "ro,readonly", "ro,ro", "noexec,noexec",
        "noatime,relatime", "strictatime,noatime", "relatime,strictatime", "rnoatime,rstrictatime", "rrelatime,noatime", "rrelatime,rstrictatime",
        "noatime,ratime", "strictatime,rnostrictatime",
    ],
)  # fmt: skip
def test_words_that_exclude_each_other(words: str) -> None:
    with pytest.raises(InvalidOption, match=r"The mount at /b cannot have (both )?[\w=-]+ (and [\w=-]+|twice)\."):
        bind(words)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("size=64m", ["size=64m"]), ("size=50%,mode=1777", ["size=50%", "mode=1777"]), ("size=64M", ["size=64M"]), ("rw,size=787448k", ["rw", "size=787448k"]),
        ("nr_inodes=1k,nr_blocks=10", ["nr_inodes=1k", "nr_blocks=10"]), ("uid=1000,gid=10", ["uid=1000", "gid=10"]),
        ("mpol=prefer:1,noswap", ["mpol=prefer:1", "noswap"]), ("huge=advise", ["huge=advise"]), ("ro,noatime", ["ro", "noatime"]), ("mode=0", ["mode=0"]),
        ("sync,dirsync,nomand", ["sync", "dirsync", "nomand"]), ("inode64", ["inode64"]), ("exec,suid,dev", []),
    ],
)  # fmt: skip
def test_words_of_a_tmpfs(words: str, options: list[str]) -> None:
    found = parse.tmpfs(f"/b:{words}")["options"]
    opposite = {"noexec": "exec", "nosuid": "suid", "nodev": "dev"}
    defaults = [word for word in ("nosuid", "nodev", "noexec") if opposite[word] not in words.split(",")]
    assert found == [*options, *defaults, "tmpcopyup"]
    assert typed("tmpfs", *words.split(",")) == words.split(",")


def test_a_tmpfs_does_not_have_to_copy() -> None:
    assert parse.tmpfs("/b:notmpcopyup")["options"] == ["nosuid", "nodev", "noexec"]
    assert typed("tmpfs", "notmpcopyup", "size=1m") == ["size=1m"]
    assert parse.tmpfs("/b")["options"] == ["nosuid", "nodev", "noexec", "tmpcopyup"]


@pytest.mark.parametrize(
    "words",
    [
        "size=16e", "size=16384p", "size=8e", "size=18446744073709551616", "size=9223372036854775808", "size=064m", "size=00", "nr_inodes=010",
        "nr_blocks=9e", "nr_inodes=18446744073709551615", "uid=4294967295", "gid=4294967295", "uid=9999999999", "size=0x10", "size=1000%", "uid=010", "gid=00",
    ],
)  # fmt: skip
def test_numbers_that_the_kernel_reads_as_others(words: str) -> None:
    with pytest.raises(InvalidOption, match="has a value that is not valid"):
        parse.tmpfs(f"/b:{words}")


@pytest.mark.parametrize("word", ["size", "mode", "uid", "nr_inodes", "huge", "mpol"])
def test_a_word_without_its_value(word: str) -> None:
    with pytest.raises(InvalidOption, match=f"'{word}' at /b needs a value") as caught:
        parse.tmpfs(f"/b:{word}")
    assert caught.value.hint.startswith(f"Write {word}=")


def test_numbers_that_the_kernel_holds() -> None:
    for word in (
        "size=7e",
        "size=8191P",
        "size=0",
        "size=9223372036854775807",
        "uid=4294967294",
        "gid=0",
        "nr_inodes=0",
        "nr_inodes=1M",
        "size=100%",
    ):
        assert word in parse.tmpfs(f"/b:{word}")["options"]


def test_defaults_says_nothing() -> None:
    """As in fstab(5). runc gives it to the kernel, which refuses it for a new file system."""
    for words in ("defaults", "defaults,size=1m", "size=1m,defaults"):
        assert parse.tmpfs(f"/b:{words}") == parse.tmpfs("/b:size=1m" if "size" in words else "/b")
    for kind in ("tmpfs", "proc", "sysfs", "devpts", "mqueue", "ext4", "overlay"):
        assert typed(kind, "defaults", "ro") == ["ro"]
        assert typed(kind, "defaults") == []


@pytest.mark.parametrize(
    "words",
    [
        "", "SIZE=1m", "size", "size=", "size=64mb", "size=1.5g", "size=-1", "size= 1m", "siez=1m", "size=1m,size=2m", "size=1m,size=1m", "mode=999",
        "mode=u+w", "uid=app", "gid=-1", "bind", "rbind", "z", "RO", " ro", "ro,rw", "tmpcopyup,notmpcopyup", "tmpcopup", "huge=sometimes", "foo",
        "nr_inodes=10%", "noexec;nosuid", "inode32,inode64",
    ],
)  # fmt: skip
def test_words_that_a_tmpfs_cannot_have(words: str) -> None:
    with pytest.raises(InvalidOption, match="/b"):
        parse.tmpfs(f"/b:{words}")
    with pytest.raises(InvalidOption, match="/b"):
        typed("tmpfs", *words.split(","))


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("siez=1m", "size"), ("SIZE=1m", "size"), ("sizes=1m", "size"), ("Mode=0700", "mode"), ("nr_inode=1k", "nr_inodes"), ("NOEXEC", "noexec"),
        (" ro", "ro"), ("tmpcopup", "tmpcopyup"), ("usr=1", ""), ("guid=5", "uid"),
    ],
)  # fmt: skip
def test_the_nearest_word_of_a_tmpfs(word: str, near: str) -> None:
    with pytest.raises(InvalidOption, match="is not known") as caught:
        parse.tmpfs(f"/b:{word}")
    assert near == "" or caught.value.hint in (f"Did you mean {near}?", "Did you mean gid?")


@pytest.mark.parametrize(
    "words", ["noatime,norelatime", "atime,relatime", "nodiratime,relatime", "noatime,nodiratime", "strictatime,norelatime", "rnoatime,noatime"]
)  # fmt: skip
def test_words_that_go_together(words: str) -> None:
    assert bind(words) == words.split(",")
    assert typed("tmpfs", *words.split(",")) == words.split(",")


# The kernel, or a runtime, ignores what they do not know.
@pytest.mark.parametrize(
    ("kind", "word", "hint"),
    [
        ("ramfs", "size=64m", "A tmpfs has it."), ("ramfs", "uid=5", "A tmpfs has it."), ("ramfs", "mode=rwx", "Write mode=1777."), ("ramfs", "foo", ""),
        ("ramfs", "foo=bar", ""), ("ramfs", "NOEXEC", "Did you mean noexec?"), ("ramfs", "ro,size=1m", "A tmpfs has it."), ("ramfs", "z", "Use chcon, chown."),
        ("cgroup", "ReadOnly", "Did you mean readonly?"), ("cgroup", "memory", ""), ("cgroup", "nsdelegate", ""),
        ("cgroup", "read-only", "Did you mean readonly?"),
        ("cgroup2", "nsdelegated", "Did you mean nsdelegate?"), ("cgroup2", "name=systemd", ""), ("cgroup2", "Ro", "Did you mean ro?"),
        ("mqueue", "ReadOnly", "Did you mean readonly?"), ("mqueue", "RO", "Did you mean ro?"), ("mqueue", "mode=0755", "A tmpfs has it."),
        ("mqueue", "readonly=yes", ""),
        ("debugfs", "size=1m", "A tmpfs has it."), ("tracefs", "gid=root", "Write gid=1000."), ("bpf", "delegate_cmd=any", "Did you mean delegate_cmds?"),
        ("pstore", "kmsg_byte=1", "Did you mean kmsg_bytes?"), ("devpts", "readOnly", "Did you mean readonly?"),
    ],
)  # fmt: skip
def test_words_that_nobody_would_refuse(kind: str, word: str, hint: str) -> None:
    with pytest.raises(InvalidOption, match=r"The mount option .* at /b ") as caught:
        typed(kind, word)
    assert not hint or caught.value.hint == hint


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ramfs", ["mode=0700", "noexec"]), ("cgroup", ["ro", "nosuid", "relatime"]), ("cgroup2", ["nsdelegate", "ro"]), ("mqueue", ["ro", "nodev"]),
        ("debugfs", ["uid=0", "gid=4", "mode=0750"]), ("tracefs", ["gid=4"]), ("bpf", ["mode=0700", "delegate_cmds=any"]), ("pstore", ["kmsg_bytes=8000"]),
    ],
)  # fmt: skip
def test_words_of_file_systems_that_ignore_others(kind: str, words: list[str]) -> None:
    assert typed(kind, *words) == typed(kind, ",".join(words)) == words


@pytest.mark.parametrize(
    "kind", ["proc", "sysfs", "mqueue", "cgroup", "cgroup2", "ramfs", "devpts", "overlay", "ext4", "nfs", "fuse.sshfs"]
)
@pytest.mark.parametrize("word", ["readonly", "ro=true", "readonly=1", "rw=false", "readwrite=0"])
def test_read_only_is_so_for_each_type(kind: str, word: str) -> None:
    assert typed(kind, word) == ["ro"]
    assert typed(kind, "readwrite") == ["rw"]
    for other in ("ReadOnly", " readonly", "READWRITE"):
        with pytest.raises(InvalidOption, match="/b"):
            typed(kind, other)


def test_a_list_may_have_commas() -> None:
    assert typed("tmpfs", "ro,noexec", "size=1m") == ["ro", "noexec", "size=1m"]
    assert "rro" in parse.mount({"source": "/a", "destination": "/b", "options": ["noexec,ro"]})["options"]


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "none", "overlay", "proc", "ext4", "nfs"])
@pytest.mark.parametrize("source", [5, 0, True, False, 1.5, ["/a"], [], {"a": "b"}, {}, "/a\0b", b"/a"])
def test_a_source_is_text(kind: str, source: t.Any) -> None:
    with pytest.raises(InvalidOption, match="The source of the mount at /b must be text"):
        parse.mount({"type": kind, "source": source, "destination": "/b"})


@pytest.mark.parametrize(("source", "made"), [(None, "tmpfs"), ("", "tmpfs"), ("scratch", "scratch"), ("a b", "a b")])
def test_a_new_file_system_may_have_any_name(source: str | None, made: str) -> None:
    assert parse.mount({"type": "tmpfs", "source": source, "destination": "/b"})["source"] == made


@pytest.mark.parametrize("kind", ["bind", "none", "ext4", "overlay", "sysfs", "devpts", "proc", "cgroup2"])
@pytest.mark.parametrize("mode", ["bind", "rbind"])
def test_the_options_decide_what_is_a_bind_mount(kind: str, mode: str) -> None:
    def made(*words: str, source: str = "/a") -> dict[str, t.Any]:
        return parse.mount({"type": kind, "source": source, "destination": "/b", "options": list(words)})

    assert (
        made(mode, "ro") == made(f"{mode},ro") == parse.mount(f"/a:/b:{mode},ro")
    )  # With nosuid, nodev, and rro for rbind.
    assert made(mode, "readonly", "cached", "bind-propagation=rslave") == parse.mount(f"/a:/b:{mode},ro,rslave")
    for words in (
        ("foo=bar",),
        ("ro", "foo=bar"),
        ("RO",),
        ("uid=0",),
        ("ro", "rw"),
        ("z",),
        ("O",),
        ("data=ordered",),
    ):
        with pytest.raises(InvalidOption, match=r"The mount .*at /b"):
            made(mode, *words)
    with pytest.raises(InvalidOption, match="needs an absolute path of the host"):
        made(mode, source="data")


def test_the_type_none_is_that_of_a_bind_mount() -> None:
    mount = {"type": "none", "source": "/a", "destination": "/b", "options": ["ro"]}
    assert parse.mount(mount) == parse.mount("/a:/b:ro")
    with pytest.raises(InvalidOption, match="is not known"):
        parse.mount(mount | {"options": ["Bind"]})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("overlay", ["lowerdir=/l1:/l 2", "upperdir=/u", "workdir=/w", "metacopy=on", "volatile"]), ("proc", ["hidepid=2", "ro"]),
        ("devpts", ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]), ("ext4", ["ro", "data=ordered", "nobarrier"]), ("sysfs", ["ro"]),
        ("nfs", ["vers=4.2", "addr=10.0.0.1"]), ("devtmpfs", []), ("mqueue", []), ("fuse.sshfs", ["allow_other"]),
    ],
)  # fmt: skip
def test_other_types(kind: str, words: list[str]) -> None:
    assert typed(kind, *words) == words


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("overlay", ["RO"]), ("ext4", [" ro"]), ("proc", ["ro", "rw"]), ("overlay", ["upperdir=/u", "upperdir=/x"]), ("devpts", ["ptmxmode=rw"]),
        ("xfs", ["a b"]), ("nfs", ["NoExec"]), ("overlay", ["lowerdir=/a\0b"]),
        ("Bind", []), ("tmpf", []), ("overlayfs", []), ("volume", []), ("image", []), ("npipe", []), ("a b", []), (True, []), (["bind"], []), ("tmpfs\0", []),
    ],
)  # fmt: skip
def test_what_no_type_has(kind: t.Any, words: list[str]) -> None:
    with pytest.raises(InvalidOption, match="/b"):
        typed(kind, *words)


@pytest.mark.parametrize(
    "words", ["bind-recursive=writable", "noexec,bind-recursive=writable", "rw,bind-recursive=writable"]
)
def test_a_mount_that_is_writable_anyway(words: str) -> None:
    """Docker refuses it too."""
    with pytest.raises(InvalidOption, match="bind-recursive=writable at /b needs ro"):
        bind(words)


@pytest.mark.parametrize("words", ["ro,rw=true", "ro=true,ro=false", "readonly,rw", "rw=false,readwrite"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_switches_that_exclude_each_other(words: str, kind: str) -> None:
    with pytest.raises(InvalidOption, match=r"cannot have both r[ow] and r[ow]"):
        parse.mount({"type": kind, "source": "/a", "destination": "/b", "options": words.split(",")})


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("tmpfs-size=64m", "size=64m"), ("tmpfs-mode=1770", "mode=1770"), ("readonly", "ro"), ("ro=true", "ro"), ("rw=0", "ro"), ("rw=1", "rw"),
    ],
)  # fmt: skip
def test_words_of_podman_for_a_tmpfs(words: str, option: str) -> None:
    assert option in parse.tmpfs(f"/b:{words}")["options"]
    assert typed("tmpfs", words) == [option]


@pytest.mark.parametrize(
    "word", ["tmpfs-size", "tmpfs-size=16e", "tmpfs-mode=rwx", "tmpfs-uid=1", "size=1m,tmpfs-size=2m"]
)
def test_words_that_podman_does_not_have_either(word: str) -> None:
    with pytest.raises(InvalidOption):
        parse.tmpfs(f"/b:{word}")
    with pytest.raises(InvalidOption):
        bind(word)


def test_a_tmpfs_has_no_word_of_a_volume() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse.tmpfs("/b:nocopyup")
    assert caught.value.hint == "Did you mean notmpcopyup?"
