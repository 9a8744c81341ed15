# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that fail, in a sentence, and the places they work in."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import stat
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import program
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    Conflict,
    LongshoreError,
    MissingPrerequisite,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, tools
from ansible_collections.longshore.oci.tests.unit import programs


def _fail(said: str, **more: t.Any) -> ProgramFailed:
    """What becomes of a program that says this, and fails."""
    argv = ["sh", "-c", 'printf "%s" "$1" >&2; exit 3', "sh", said]
    with pytest.raises(ProgramFailed) as failed:
        tools.call(argv, Deadline(30), what="do it", **more)
    assert (failed.value.details["rc"], failed.value.details["stderr"]) == (3, said[-2000:])
    return failed.value


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ('time="x" level=fatal msg="writing blob: no space left on device"', "there is no space left on the device"),
        ("Disk quota exceeded", "there is no space left on the device"),
        ("x509: certificate signed by unknown authority", "its certificate is not trusted, or it does not speak TLS"),
        (
            "unauthorized: authentication required",
            "the registry does not accept the username and password, or needs them",
        ),
        ("denied: requested access to the resource is denied", "the registry denies access to it"),
        ("manifest unknown: manifest unknown", "there is no such image"),
        ("no image found in image index for architecture s390x", "there is no image for this platform"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "the registry cannot be reached"),
        ("received unexpected HTTP status code 503", "the registry cannot be reached"),
        ("invalid reference format", "the reference is not valid"),
        ("open /a/index.json: no such file or directory", "there is no such file"),
    ],
)
def test_what_it_means(said: str, meaning: str) -> None:
    assert _fail(said).message.startswith(f"Cannot do it: {meaning}. sh says: ")


def test_the_hint_names_the_place() -> None:
    """Where its file system is: the directory itself may be gone with the task."""
    assert _fail("no space left on device", place="/proc/self").hint == "Free space in /proc."
    assert _fail("no space left on device", place="/proc/no/such").hint == "Free space in /proc."
    assert _fail("no space left on device", place="/no/such").hint == "Free space in /."
    assert _fail("no space left on device").hint == ""


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("", "sh says: exit code 3."), ("one\ntwo.\n\n", "sh says: two."),
        ('time="x" level=info msg="fine"\ntime="x" level=fatal msg="it \\"broke\\""\n', 'sh says: it "broke".'),
        ("the cause\ntar: Error is not recoverable: exiting now\n", "sh says: the cause."),
        # tar as a path in PATH, as Ansible runs it on some hosts.
        ("/usr/bin/tar: x: Cannot mknod: Operation not permitted\n/usr/bin/tar: Exiting with failure status due to previous errors\n",
         "sh says: /usr/bin/tar: x: Cannot mknod: Operation not permitted."),
        ("bin/tar: This does not look like a tar archive\nbin/tar: Error is not recoverable: exiting now",
         "sh says: bin/tar: This does not look like a tar archive."),
        ("tar (child): zstd: Cannot exec: No such file or directory\ntar (child): Error is not recoverable: exiting now\n"
         "/bin/tar: Child returned status 2\n/bin/tar: Error is not recoverable: exiting now\n",
         "sh says: tar (child): zstd: Cannot exec: No such file or directory."),
        ("mount: /r: special device o does not exist.\n       dmesg(1) may have more information after failed mount system call.\n",
         "sh says: mount: /r: special device o does not exist."),
        ("panic: runtime error: index out of range [1] with length 1\n\ngoroutine 1 [running]:\nmain.main()\n\tmain.go:172 +0x2c\n",
         "sh says: panic: runtime error: index out of range [1] with length 1."),
        # The cause is at the end, the file at the beginning.
        (f"cp: cannot stat '{'n' * 4000}': File name too long", f"sh says: cp: cannot stat '{'n' * 283} ... {'n' * 279}': File name too long."),
    ],
)  # fmt: skip
def test_what_is_quoted(said: str, quoted: str) -> None:
    assert _fail(said).message == f"Cannot do it. {quoted}"


NODE = "tar: dev/sda: Cannot mknod: Operation not permitted\n"
CP = "cp: cannot create special file 'to/null': Operation not permitted\n"
WARNINGS = """\
tar: Removing leading `/' from member names
tar: Removing leading `/' from hard link targets
tar: setxattrat: Cannot set 'security.capability' extended attribute for file './ping': Operation not permitted
tar: ./future: time stamp 2030-01-01 00:00:00 is 97705962.551796854 s in the future
tar: ./old: implausibly old time stamp 1960-01-01 00:00:00
tar: Ignoring unknown extended header keyword 'LIBARCHIVE.xattr.a'
tar: A lone zero block at 7
"""
AFTER = "tar: Exiting with failure status due to previous errors\n"


@pytest.mark.parametrize(
    ("end", "said", "is_complete"),
    [
        ("exit 0", "tar: anything\n", True),
        ("exit 2", NODE + AFTER, True),
        ("exit 2", WARNINGS + NODE + AFTER, True),
        ("exit 1", CP + CP, True),
        ("exit 2", CP, False),
        ("kill -KILL $$", CP, False),
        ("exit 1", f"{CP}cp: cannot open 'no' for reading: Permission denied\n", False),
        ("exit 2", WARNINGS + AFTER, False),
        ("exit 2", f"{NODE}tar: a: implausibly old time stamp 1: Cannot open: No space left on device\n{AFTER}", False),
        ("exit 2", f"{NODE}tar: a in the future: Cannot open: No space left on device\n{AFTER}", False),
        ("exit 2", NODE + NODE.replace("sda", "a: Cannot open: b") + AFTER, True),
        ("kill -KILL $$", "tar:", False),
        ("kill -KILL $$", NODE, False),
        ("kill -TERM $$", NODE, False),
        ("exit 2", "tar:", False),
        ("exit 2", AFTER, False),
        ("exit 1", NODE, False),
        ("exit 2", NODE + "tar: Child returned status 1\ntar: Error is not recoverable: exiting now\n", False),
        ("exit 2", NODE + "tar: Child died with signal 9\ntar: Error is not recoverable: exiting now\n", False),
        ("exit 2", NODE + "tar: Unexpected EOF in archive\ntar: Error is not recoverable: exiting now\n", False),
        ("exit 2", NODE + "tar: b: Cannot open: No space left on device\n" + AFTER, False),
        ("exit 2", f"tar: a{NODE[8:-1]}: Cannot open: Permission denied\n{AFTER}", False),
    ],
)
def test_an_error_that_is_ignored(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, end: str, said: str, is_complete: bool
) -> None:
    programs.script(tmp_path / said.partition(":")[0], f"printf '%s' \"$1\" >&2; {end}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    argv = [said.partition(":")[0], said]
    with contextlib.nullcontext() if is_complete else pytest.raises(ProgramFailed):
        tools.call(argv, Deadline(30), what="do it", ignored=rootfs._NO_NODE)


@pytest.mark.parametrize("which", ["tar", "gzip"])
def test_a_tar_of_a_user_that_is_killed(tmp_path: pathlib.Path, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as no success, whatever it has said before."""
    (tmp_path / "tree").mkdir()
    os.mknod(tmp_path / "tree/a", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "tree/b").write_bytes(os.urandom(2**20))
    subprocess.run(["tar", "-czf", tmp_path / "x.tar.gz", "-C", tmp_path / "tree", "a", "b"], check=True)
    # The program ends itself in the middle.
    (tmp_path / "bin").mkdir()
    killed = {"gzip": "/bin/gzip -dc | head -c 500000; kill -KILL $$", "tar": '/bin/tar "$@"; kill -KILL $$'}[which]
    programs.script(tmp_path / "bin" / which, f"{killed}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(program, "SEARCH_PATH", f"{tmp_path}/bin:{program.SEARCH_PATH}")
    (tmp_path / "to").mkdir()
    os.chown(tmp_path / "to", 65534, 65534)
    for path in (tmp_path, *list(tmp_path.parents)[:-1]):
        path.chmod(path.stat().st_mode | 0o011)
    argv = ["tar", "--extract", "--file", f"{tmp_path}/x.tar.gz", "--directory", f"{tmp_path}/to"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with pytest.raises(ProgramFailed) as failed:
        tools.call(argv, Deadline(30), what="do it", ignored=rootfs._NO_NODE, prefix=user)
    assert "a: Cannot mknod: Operation not permitted" in failed.value.details["stderr"]


def test_proxies_are_inherited_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "no_proxy", "SECRET", "TMPDIR"):
        monkeypatch.setenv(name, "given")
    done = tools.call(["env"], Deadline(30), what="do it", temporary="/srv/space")
    lines = set(done.stdout.splitlines())
    assert {"HTTPS_PROXY=given", "no_proxy=given", "TMPDIR=/srv/space"} <= lines
    assert "SECRET=given" not in lines


def test_a_program_that_is_missing() -> None:
    with pytest.raises(MissingPrerequisite, match="no-such-program is not on this host"):
        tools.call(["no-such-program"], Deadline(30), what="do it")


class TestWorkspace:
    @pytest.mark.pure
    def test_it_is_gone_afterwards(self, tmp_path: pathlib.Path) -> None:
        with tools.workspace(f"{tmp_path}/parent") as space:
            assert os.listdir(tmp_path / "parent") == [os.path.basename(space)]
            assert os.stat(space).st_mode & 0o777 == 0o700
            os.makedirs(f"{space}/deep/er")
        assert os.listdir(tmp_path / "parent") == []

    @pytest.mark.pure
    def test_also_after_an_error_which_is_said(self, tmp_path: pathlib.Path) -> None:
        with (
            pytest.raises(LongshoreError, match=f"Cannot work in {tmp_path}: No such file"),
            tools.workspace(str(tmp_path)) as space,
        ):
            os.rmdir(f"{space}/nowhere")
        assert os.listdir(tmp_path) == []

    @pytest.mark.pure
    def test_the_one_of_a_task_at_work_stays(self, tmp_path: pathlib.Path) -> None:
        with tools.workspace(str(tmp_path)) as space, tools.workspace(str(tmp_path)) as other:
            tools.sweep(str(tmp_path))
            assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, (space, other)))

    def test_the_programs_of_one_that_ended_are_ended(
        self, tmp_path: pathlib.Path, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = ".tmp-999999999-1-abcdef"
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", f"{tmp_path}/{name}")
        worker = spawn()
        monkeypatch.setenv("TMPDIR", f"{tmp_path}/{name}0")
        other = spawn()
        tools.sweep(str(tmp_path))
        assert worker.wait(10) == -9
        assert other.poll() is None
        assert os.listdir(tmp_path) == []


@pytest.mark.pure
class TestKeep:
    def test_it_is_renamed(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "made/etc").mkdir(parents=True)
        tools.keep(f"{tmp_path}/made", f"{tmp_path}/there")
        assert os.listdir(tmp_path) == ["there"]

    def test_what_another_task_made_is_as_good(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "made/mine").mkdir(parents=True)
        (tmp_path / "there/theirs").mkdir(parents=True)
        tools.keep(f"{tmp_path}/made", f"{tmp_path}/there")
        assert os.listdir(tmp_path / "there") == ["theirs"]

    def test_any_other_failure_is_one(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "made").mkdir()
        with pytest.raises(FileNotFoundError):
            tools.keep(f"{tmp_path}/made", f"{tmp_path}/nowhere/there")


@pytest.mark.pure
class TestTakeOver:
    def test_one_of_this_user_gets_the_mode(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "file").touch()
        tmp_path.chmod(0o755)
        tools.take_over(str(tmp_path), -1, 0o700)
        assert tmp_path.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("full", [False, True])
    def test_one_that_was_open_to_all_has_to_be_empty(self, tmp_path: pathlib.Path, full: bool) -> None:
        path = tmp_path / "open"
        path.mkdir()
        path.chmod(0o777)
        if full:
            (path / "theirs").touch()
            with pytest.raises(Conflict, match=f"Another user also works in {path}"):
                tools.take_over(str(path), -1, 0o700)
        else:
            tools.take_over(str(path), -1, 0o700)
        assert path.stat().st_mode & 0o777 == (0o777 if full else 0o700)


SKOPEO = "Error parsing image name"
HOST = "docker://localhost:5000/geoffrey/certificate-unauthorized"


def _skopeo(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, reference: str, said: str) -> ProgramFailed:
    """What becomes of a skopeo that says this of a reference."""
    line = f'time="x" level=fatal msg={json.dumps(said)}\n'
    (tmp_path / "said").write_text(line)
    programs.script(tmp_path / "skopeo", f"cat {tmp_path}/said >&2; exit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ProgramFailed) as failed:
        tools.call(["skopeo", "inspect", "--raw", reference], Deadline(30), what="look it up")
    return failed.value


@pytest.mark.parametrize(
    ("reference", "said", "meaning"),
    [
        # As skopeo 1.9.3 and 1.18.0 say it.
        (f"{HOST}:1", f'{SKOPEO} "{HOST}:1": getting username and password: reading JSON file "bad.json": unmarshaling JSON at "bad.json": '
         "invalid character 'o' in literal null (expecting 'u')", "its credentials cannot be read"),
        (f"{HOST}:1", f'{SKOPEO} "{HOST}:1": getting username and password: error getting credentials - err: exec: '
         '"docker-credential-nohelper": executable file not found in $PATH, out: ``', "its credentials cannot be read"),
        (f"{HOST}:1", f'{SKOPEO} "{HOST}:1": pinging container registry localhost:5000: Get "https://localhost:5000/v2/": dial tcp '
         "127.0.0.1:5000: connect: connection refused", "the registry cannot be reached"),
        (f"{HOST}:1", f'{SKOPEO} "{HOST}:1": reading manifest 1 in localhost:5000/geoffrey/certificate-unauthorized: manifest unknown',
         "there is no such image"),
        (f"{HOST}:1", f'{SKOPEO} "{HOST}:1": something that no one knows', ""),
        (f"{HOST}@sha256:{'0' * 64}", f"initializing source {HOST}@sha256:{'0' * 64}: reading manifest sha256:{'0' * 64} in "
         "localhost:5000/geoffrey/certificate-unauthorized: received unexpected HTTP status: 503 Service Unavailable", "the registry cannot be reached"),
        ("containers-storage:localhost/none", f'{SKOPEO} "containers-storage:localhost/none": reference "[vfs@/var/lib/containers/storage'
         '+/run/containers/storage]localhost/none:latest" does not resolve to an image ID', "there is no such image"),
        ("containers-storage:localhost/none", f'{SKOPEO} "containers-storage:localhost/none": reference "[overlay@/a+/b]localhost/none:latest" '
         "does not resolve to an image ID: identifier is not an image", "there is no such image"),
        ("oci:/l", f'{SKOPEO} "oci:/l": more than one image in oci, choose an image', "it has more than one image"),
        ("oci:/l:zz", f'{SKOPEO} "oci:/l:zz": no descriptor found for reference "zz"', "there is no such image"),
        ("oci:/none:zz", f'{SKOPEO} "oci:/none:zz": open /none/index.json: no such file or directory', "there is no such file"),
        ("dir:/none", "Error retrieving manifest for image: open /none/manifest.json: no such file or directory", "there is no such file"),
        ("docker-archive:/a", f'{SKOPEO} "docker-archive:/a": loading tar component manifest.json: unexpected EOF', "it is not an archive of an image"),
        ("oci-archive:/a", f'{SKOPEO} "oci-archive:/a": creating temp directory: untarring file "/var/tmp/oci1": unexpected EOF',
         "it is not an archive of an image"),
        ("docker-daemon:a:1", f'{SKOPEO} "docker-daemon:a:1": loading image from docker engine: Cannot connect to the Docker daemon at '
         "unix:///var/run/docker.sock. Is the docker daemon running?", "the Docker daemon cannot be reached"),
        *((f"{kind}:{path}", f'loading "{kind}:{path}": open {said}: no such file or directory', "there is no such file") for kind, path, said in (
            ("docker-archive", "/srv/unauthorized/x.tar", "/srv/unauthorized/x.tar"),
            ("docker-archive", "/srv/unauthorized/x.tar:app:1", "/srv/unauthorized/x.tar"),
            ("oci-archive", "/srv/x509: a/x.tar", "/srv/x509: a/x.tar"),
            ("oci", "/srv/tls: /manifest unknown:app", "/srv/tls: /manifest unknown/index.json"),
            ("dir", "/srv/authentication required/getting credentials", "/srv/authentication required/getting credentials/manifest.json"),
            ("docker-archive", "/srv/unauthorized/deep/x.tar", "/srv/unauthorized"),
            ("containers-storage", "[vfs@/srv/unauthorized+/run/x509:]app", "/srv/unauthorized/vfs"),
        )),
        ("docker-archive:/t", f'{SKOPEO} "docker-archive:/t": archive/tar: invalid tar header', "it is not an archive of an image"),
        (f"{HOST}:b c", f'{SKOPEO} "{HOST}:b c": invalid reference format', "the reference is not valid"),
        ("docker://a/A:1", f'{SKOPEO} "docker://a/A:1": invalid reference format: repository name must be lowercase', "the reference is not valid"),
    ],
)  # fmt: skip
def test_a_reference_says_nothing_of_the_cause(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, reference: str, said: str, meaning: str
) -> None:
    found = _skopeo(tmp_path, monkeypatch, reference, said).message
    assert found.startswith(
        f"Cannot look it up: {meaning}. skopeo says: " if meaning else "Cannot look it up. skopeo says: "
    )


def test_names_of_files_say_nothing_of_a_registry(tmp_path: pathlib.Path) -> None:
    for name in ("unauthorized", "x509: ", "no such host", "EOF"):
        with pytest.raises(ProgramFailed) as failed:
            tools.call(["cp", f"{tmp_path}/{name}", f"{tmp_path}/b"], Deadline(30), what="copy it")
        assert failed.value.message.startswith("Cannot copy it. cp says: ")
        assert f"cannot stat '{tmp_path}/{name}'" in failed.value.message
