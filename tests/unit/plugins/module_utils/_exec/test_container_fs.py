# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of a container is a directory here, with another around it that no path may reach."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import select
import subprocess
import sys
import threading
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo, trees
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._exec.container_fs import Rootfs
from ansible_collections.longshore.oci.tests.unit.fuse import dead

pytestmark = pytest.mark.pure


@pytest.fixture
def top(tmp_path: pathlib.Path, open_files: t.Callable[[], dict[str, str]]) -> t.Iterator[pathlib.Path]:
    """Afterwards nothing may be open that was not before."""
    root = tmp_path / "root"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    (root / "etc/.hidden").write_text("")
    (root / "etc/a.conf").write_text("")
    (tmp_path / "secret").write_text("outside")
    before = open_files()
    yield root
    assert open_files() == before


def _link(top: pathlib.Path, name: str, target: str) -> None:
    (top / name).symlink_to(target)


class TestRead:
    @pytest.mark.parametrize("path", ["/etc/passwd", "etc/passwd", "//etc/./deep/../passwd", "/../../etc/passwd"])
    def test_paths(self, top: pathlib.Path, path: str) -> None:
        assert Rootfs(str(top)).read_text(path) == "inside"

    @pytest.mark.impure
    @pytest.mark.parametrize(
        ("target", "text"),
        [
            ("/etc/passwd", "inside"),
            ("etc/passwd", "inside"),
            ("../../../../etc/passwd", "inside"),
            ("../secret", None),
            ("/../secret", None),
            ("etc/deep/../../../secret", None),
            ("/nowhere", None),
        ],
    )
    def test_links_stay_inside(self, top: pathlib.Path, target: str, text: str | None) -> None:
        _link(top, "link", target)
        _link(top, "to-link", "link")
        assert Rootfs(str(top)).read_text("/link") == Rootfs(str(top)).read_text("/to-link") == text

    @pytest.mark.impure
    def test_a_directory_that_is_a_link(self, top: pathlib.Path) -> None:
        _link(top, "usr", "/etc/../etc")
        assert Rootfs(str(top)).read_text("/usr/passwd") == "inside"

    @pytest.mark.impure
    def test_a_link_to_all_of_the_host(self, top: pathlib.Path) -> None:
        _link(top, "host", "/proc/1/root")
        assert Rootfs(str(top)).read_text("/host/etc/passwd") is None

    def test_a_loop(self, top: pathlib.Path) -> None:
        _link(top, "loop", "loop")
        assert Rootfs(str(top)).read_text("/loop") is None

    def test_what_is_no_file_is_not_waited_for(self, top: pathlib.Path) -> None:
        os.mkfifo(top / "fifo")
        rootfs = Rootfs(str(top))
        assert rootfs.read_text("/etc/passwd/x") is None
        for path in ("/fifo", "/etc"):
            with pytest.raises(LongshoreError, match=f"{path} in the container is not a regular file"):
                rootfs.read_text(path)

    def test_no_more_than_asked_for(self, top: pathlib.Path) -> None:
        assert Rootfs(str(top)).read_text("/etc/passwd", limit=6) == "inside"
        with pytest.raises(LongshoreError, match="/etc/passwd in the container is larger than 5 bytes"):
            Rootfs(str(top)).read_text("/etc/passwd", limit=5)

    def test_a_container_that_is_gone(self, top: pathlib.Path) -> None:
        assert Rootfs("/proc/0/root").read_text("/etc/passwd") is None

    @pytest.mark.impure  # A race.
    def test_a_directory_that_is_exchanged_for_a_link_all_the_time(self, top: pathlib.Path) -> None:
        """The race that a check before the use would lose."""
        (top / "real").mkdir()
        (top / "real/secret").write_text("inside")
        _link(top, "evil", str(top.parent))
        stop = threading.Event()

        def exchange() -> None:
            while not stop.is_set():
                os.rename(top / "real", top / "swing")
                os.rename(top / "swing", top / "real")
                os.rename(top / "evil", top / "swing")
                os.rename(top / "swing", top / "evil")

        thread = threading.Thread(target=exchange)
        thread.start()
        try:
            rootfs = Rootfs(str(top))
            assert {rootfs.read_text("/swing/secret") for _try in range(300)} <= {"inside", None}
        finally:
            stop.set()
            thread.join()


# Mounts a file system whose server never answers, in a mount namespace of its own.
FUSE = """
import ctypes, os, sys, time
server = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"none", sys.argv[1].encode(), b"fuse", 6, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
os.read(server, 65536)  # FUSE_INIT, and nothing more
print("mounted", flush=True)
time.sleep(60)
"""


class TestHostile:
    """Each is answered at once."""

    @pytest.fixture(autouse=True)
    def _at_once(self) -> t.Iterator[None]:
        before = time.monotonic()
        yield
        assert time.monotonic() - before < 8

    @pytest.mark.parametrize("kind", [fcntl.F_RDLCK, fcntl.F_WRLCK])
    def test_a_lease(self, top: pathlib.Path, kind: int) -> None:
        """Whoever opens the file would wait for up to 45 seconds. One for reading does not keep readers out."""
        with open(top / "etc/passwd", "rb" if kind == fcntl.F_RDLCK else "r+b") as stream:
            fcntl.fcntl(stream, fcntl.F_SETLEASE, kind)
            fcntl.fcntl(stream, fcntl.F_SETSIG, 28)  # SIGWINCH, which nobody hears; SIGIO would end this process
            if kind == fcntl.F_RDLCK:
                assert Rootfs(str(top)).read_text("/etc/passwd") == "inside"
            else:
                with pytest.raises(LongshoreError, match="read /etc/passwd in the container: a process has a lease"):
                    Rootfs(str(top)).read_text("/etc/passwd")
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    @pytest.mark.impure
    @pytest.mark.parametrize("name", ["kmsg", "1/environ", "self/mountinfo", "sys/kernel/hostname"])
    def test_a_file_of_the_kernel(self, top: pathlib.Path, name: str) -> None:
        (top / "proc").mkdir()
        _link(top, "file", f"/proc/{name}")
        subprocess.run(["mount", "-t", "proc", "proc", str(top / "proc")], check=True)
        try:
            with pytest.raises(LongshoreError, match=r"/file in the container is a file of the kernel \(proc\)"):
                Rootfs(str(top)).read_text("/file")
            assert Rootfs(str(top)).exists(f"/proc/{name}")
        finally:
            subprocess.run(["umount", str(top / "proc")], check=True)

    @pytest.mark.impure
    @pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs FUSE")
    @pytest.mark.parametrize("path", ["/", "/.", "/etc/passwd", "/etc/../etc/passwd", "/*/passwd", "/e*/p*", "/link"])
    def test_a_file_system_that_never_answers(self, top: pathlib.Path, path: str) -> None:
        _link(top, "link", "etc/passwd")
        argv = ["unshare", "--mount", sys.executable, "-c", FUSE, str(top if path in ("/", "/.") else top / "etc")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
            try:
                assert child.stdout is not None
                assert select.select([child.stdout], [], [], 20)[0]
                assert child.stdout.readline() == b"mounted\n"
                rootfs, path = Rootfs(f"/proc/{child.pid}/root"), f"{top}{path}"
                looks: list[t.Callable[[str], t.Any]] = (
                    [rootfs.exists] if "*" in path else [rootfs.exists, rootfs.read_text]
                )
                if path.endswith(("/", "/link")):
                    assert rootfs.exists(path)  # No more than a name is needed for that.
                    looks.pop(0)
                for look in looks:
                    with pytest.raises(LongshoreError, match=r"on a file system of its own \(fuse\)"):
                        look(path)
            finally:
                child.kill()

    @pytest.mark.impure
    def test_links_that_lead_through_many_directories(self, top: pathlib.Path) -> None:
        for number in range(39):
            _link(top, f"link{number}", f"{'etc/../' * 100}link{number + 1}")
        _link(top, "link39", "etc/passwd")
        assert Rootfs(str(top)).read_text("/link1") == "inside"


class TestExists:
    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("/etc/passwd", True),
            ("/etc/deep/", True),
            ("/etc/nothing", False),
            ("/etc/passwd/nothing", False),
            ("/nothing/at/all", False),
            ("/", True),
            ("/..", True),
            ("/etc/..", True),
            ("/nothing/..", False),
            ("/../secret", False),
            ("/etc/*.conf", True),
            ("/*/pass??", True),
            ("/etc/[a-b].conf", True),
            ("/etc/*.ini", False),
            ("/*/nothing", False),
            ("/etc/passwd/*", False),
            ("/nothing/*", False),
            ("/etc/*idden", False),
            ("/etc/.*", True),
        ],
    )
    def test_patterns(self, top: pathlib.Path, pattern: str, found: bool) -> None:
        assert Rootfs(str(top)).exists(pattern) is found

    @pytest.mark.impure
    def test_a_broken_link_is_there(self, top: pathlib.Path) -> None:
        _link(top, "broken", "/nowhere")
        assert Rootfs(str(top)).exists("/broken") is True
        assert Rootfs(str(top)).exists("/broken/x") is False

    def test_what_may_not_be_looked_at(self, top: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(*_arguments: t.Any, **_more: t.Any) -> t.Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "fstat", deny)
        with pytest.raises(LongshoreError, match="Cannot read /etc/passwd in the container: Permission denied"):
            Rootfs(str(top)).exists("/etc/passwd")
        monkeypatch.undo()


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs FUSE")
@pytest.mark.impure
@pytest.mark.parametrize("at", ["etc", "srv"])
def test_a_file_system_of_the_host_that_does_not_answer(tmp_path: pathlib.Path, at: str) -> None:
    """The host has the same one mounted, such as NFS, but its server is gone. Others below the root are read."""
    (tmp_path / "root/lib").mkdir(parents=True)
    (tmp_path / "root/lib/file").write_text("x")
    (tmp_path / "root" / ("srv" if at == "etc" else "etc")).symlink_to(at)
    with dead(tmp_path / "root" / at):
        for path in ("/etc/passwd", "/srv/x", "/lib/../etc/group"):
            with pytest.raises(LongshoreError, match=r"is on a file system of its own \(fuse.dead\)"):
                Rootfs(f"{tmp_path}/root").read_text(path)
        assert Rootfs(f"{tmp_path}/root").read_text("/lib/file") == "x"


@pytest.mark.parametrize("kind", ["nfs4", "virtiofs", "fuse.sshfs"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_root_of_another_machine_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_known: bool
) -> None:
    """All of the container is there. A root that the host does not have is of the container itself."""
    (tmp_path / "file").write_text("x")
    found = mountinfo.read()
    device = {each.id: each.device for each in found}
    descriptor = os.open(tmp_path, os.O_PATH)
    here = device[trees.mount_of(descriptor)]
    os.close(descriptor)
    theirs = [each._replace(kind=kind) if each.device == here else each for each in found]
    tables = iter([theirs])
    rest = theirs if is_known else [each for each in theirs if each.device != here]
    monkeypatch.setattr(mountinfo, "read", lambda *_table: next(tables, rest))
    with contextlib.nullcontext() if is_known else pytest.raises(LongshoreError, match="of its own"):
        assert Rootfs(str(tmp_path)).read_text("/file") == "x"
