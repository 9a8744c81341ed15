# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of bundles as they occur on hosts: any umask, archives that are replaced, other compressions, used directories."""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib.util
import json
import os
import pathlib
import socket
import stat
import subprocess
import sys
import tarfile
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    InvalidOption,
    LongshoreError,
)
from ansible_collections.longshore.oci.plugins.module_utils._bundle import confinement
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import (
    Action,
    BundleRecord,
    Options,
    Request,
)
from ansible_collections.longshore.oci.tests.unit import programs
from ansible_collections.longshore.oci.tests.unit.fuse import dead

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = os.path.join(HERE, "..", "..", "..", "..", "integration", "targets", "setup_images", "files", "images.py")
UNPACK = (Action.ROOTFS, Action.CONFIG)
ALL = (Action.PULL, *UNPACK)


@functools.cache
def _images() -> t.Any:
    found = importlib.util.spec_from_file_location("images_of_sources", IMAGES)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["images_of_sources"] = module
    found.loader.exec_module(module)
    return module


def layout(path: pathlib.Path, files: t.Mapping[str, str], tag: str = "web", **config: t.Any) -> str:
    """Make an OCI layout with one image, and return its reference. Its layer has no entries of directories."""
    made = _images().Layout(str(path))
    entries = [_images().Entry(name, text.encode()) for name, text in files.items()]
    made.tag(tag, made.image([entries], **{"Cmd": ["/x"], **config}))
    made.close()
    return f"oci:{path}:{tag}"


@pytest.fixture
def bundles(tmp_path: pathlib.Path) -> Bundles:
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    return Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def request(tmp_path: pathlib.Path, image: str | None = None, rootfs: object = None, **options: t.Any) -> Request:
    given = Options(**{"argv": ("/x",), "seccomp": f"{tmp_path}/profile.json", **options})
    return Request(f"{tmp_path}/web", image=image, rootfs=None if rootfs is None else str(rootfs), options=given)


def root_of(tmp_path: pathlib.Path, record: BundleRecord) -> pathlib.Path:
    return tmp_path / "web" / record.root


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextlib.contextmanager
def umask(value: int) -> t.Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("value", [0o077, 0o027, 0o000, 0o777])
@pytest.mark.parametrize("kind", ["image", "tar", "directory"])
def test_the_umask_of_the_host_reaches_no_file(tmp_path: pathlib.Path, bundles: Bundles, kind: str, value: int) -> None:
    """Directories without an entry of their own are open to all, as with podman, and so is the root."""
    files = {"usr/bin/x": "x", "data/seed": "1"}
    if kind == "image":
        wanted = request(tmp_path, layout(tmp_path / "layout", files, Volumes={"/data": {}, "/new/volume": {}}))
    else:
        (tmp_path / "tree.tar").write_bytes(_images().tar([_images().Entry(n, d.encode()) for n, d in files.items()]))
        wanted = request(tmp_path, rootfs=tmp_path / "tree.tar")
    if kind == "directory":
        (tmp_path / "tree").mkdir(mode=0o755)
        subprocess.run(["tar", "xf", tmp_path / "tree.tar", "-C", tmp_path / "tree"], check=True)
        wanted = request(tmp_path, rootfs=tmp_path / "tree")
    with umask(value):
        record = bundles.converge(wanted).record
    root = root_of(tmp_path, record)
    assert {str(path): mode(path) for path in (root, root / "usr", root / "usr/bin", root / "data")} == {
        str(path): 0o755 for path in (root, root / "usr", root / "usr/bin", root / "data")
    }
    assert mode(root / "usr/bin/x") == 0o644
    if kind == "image":
        for volume in (tmp_path / "web/volumes").iterdir():
            assert mode(volume) == 0o755
    assert {mode(path) for path in (tmp_path / "web", tmp_path / "state/roots") if path.exists()} == {0o700}
    assert bundles.converge(wanted).actions == ()


def test_a_volume_of_a_change_that_failed_is_gone(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """The next image has other files for it. Volumes that were there stay."""
    first = layout(tmp_path / "layout", {"old/seed": "1", "data/seed": "1"}, Volumes={"/old": {}})
    second = layout(tmp_path / "second", {"old/seed": "2", "data/seed": "2"}, Volumes={"/old": {}, "/data": {}})
    bundles.converge(request(tmp_path, first))
    (old,) = (tmp_path / "web/volumes").iterdir()
    (tmp_path / "web/etc/hosts").unlink()
    (tmp_path / "web/etc/hosts").mkdir()
    with pytest.raises(LongshoreError, match="hosts"):
        bundles.converge(request(tmp_path, second))
    assert list((tmp_path / "web/volumes").iterdir()) == [old]
    assert (old / "seed").read_text() == "1"


def test_files_that_an_earlier_release_unpacked_are_not_used(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """It had the umask of the host. An existing bundle is not made again."""
    wanted = request(tmp_path, layout(tmp_path / "layout", {"etc/version": "1"}))
    bundles.converge(wanted)
    (new,) = (tmp_path / "state/roots").iterdir()
    old = new.rename(tmp_path / "state/roots" / new.name.partition(".")[0])
    old.chmod(0o700)
    assert bundles.converge(wanted).actions == ()
    record = bundles.converge(request(tmp_path, wanted.image, hostname="other")).record
    assert mode(root_of(tmp_path, record)) == 0o755


def test_an_overlay_of_an_earlier_release_stays_over_its_files(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """Its changes may not fit over others. A new one is over files with the right modes, and so after a reboot."""
    wanted = request(tmp_path, layout(tmp_path / "layout", {"etc/version": "1"}))._replace(rootfs_mode="overlay")
    root = root_of(tmp_path, bundles.converge(wanted).record)
    try:
        (root / "mine").touch()
        subprocess.run(["umount", root], check=True)
        (new,) = (tmp_path / "state/roots").iterdir()
        old = new.rename(tmp_path / "state/roots" / new.name.partition(".")[0])
        record = tmp_path / "web/longshore.json"
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "lower"}))
        for _reboot in range(2):
            assert bundles.converge(wanted).actions == (Action.MOUNT,)
            assert (root / "mine").exists()
            assert f"lowerdir={old},".encode() in pathlib.Path("/proc/self/mountinfo").read_bytes()
            assert not new.exists()
            subprocess.run(["umount", root], check=True)
        other = root_of(
            tmp_path, bundles.converge(wanted._replace(options=wanted.options._replace(hostname="b"))).record
        )
        assert f"lowerdir={new},".encode() in pathlib.Path("/proc/self/mountinfo").read_bytes()
        subprocess.run(["umount", other], check=True)
    finally:
        bundles.converge(wanted._replace(absent=True))


def skopeo(*words: str) -> None:
    subprocess.run(["skopeo", "copy", "--quiet", *words], check=True, capture_output=True)


@pytest.fixture(
    params=["docker-archive", "oci-archive", "dir", "oci", "containers-storage", "docker-archive without tag"]
)
def local(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """A reference to an image of this host, which has no image yet."""
    kind, _space, bare = request.param.partition(" ")
    if kind == "containers-storage":
        return f"{kind}:[vfs@{tmp_path}/storage+{tmp_path}/runroot]localhost/app:latest"
    tag = {"docker-archive": ":localhost/app:1", "oci-archive": ":app", "oci": ":app"}.get(kind, "")
    return f"{kind}:{tmp_path}/image{'' if bare else tag}"


def fill(tmp_path: pathlib.Path, local: str, version: str) -> None:
    """Put another image where the reference points to."""
    made = f"oci:{tmp_path}/made-{version}:web"
    if not (tmp_path / f"made-{version}").exists():
        layout(tmp_path / f"made-{version}", {"etc/version": version})
    if local.startswith(("docker-archive", "oci-archive")):
        (tmp_path / "image").unlink(missing_ok=True)
    skopeo(made, local)


def version(tmp_path: pathlib.Path, record: BundleRecord) -> str:
    return (root_of(tmp_path, record) / "etc/version").read_text()


def test_an_image_of_this_host_that_was_replaced_is_seen(
    tmp_path: pathlib.Path, bundles: Bundles, local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default of pull. The version has one letter, so not even the size of an archive differs."""
    fill(tmp_path, local, "1")
    wanted = request(tmp_path, local)
    assert version(tmp_path, bundles.converge(wanted).record) == "1"
    assert bundles.converge(wanted).actions == ()
    fill(tmp_path, local, "2")
    assert bundles.converge(wanted._replace(pull="never")).actions == ()
    assert bundles.converge(wanted, check=True).actions == ALL
    found = bundles.converge(wanted)
    assert (found.actions, version(tmp_path, found.record)) == (ALL, "2")
    if not local.startswith("containers-storage"):
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr("ansible_collections.longshore.oci.plugins.module_utils._base.program.SEARCH_PATH", "/no")
    assert bundles.converge(wanted).actions == ()


def test_the_same_image_in_another_file_is_no_change(
    tmp_path: pathlib.Path, bundles: Bundles, local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, local, "1")
    wanted = request(tmp_path, local)
    bundles.converge(wanted)
    (reference,) = (tmp_path / "state/images/references").iterdir()
    # As an earlier release has left it.
    reference.write_text(json.dumps({"image": json.loads(reference.read_text())["image"]}))
    before = reference.read_text()
    assert bundles.converge(wanted, check=True).actions == ()
    assert reference.read_text() == before
    fill(tmp_path, local, "1")
    assert bundles.converge(wanted).actions == ()
    if not local.startswith("containers-storage"):
        # It is known from now on, and no program is needed.
        monkeypatch.setattr("ansible_collections.longshore.oci.plugins.module_utils._base.program.SEARCH_PATH", "/no")
        monkeypatch.setenv("PATH", "/nowhere")
        assert bundles.converge(wanted).actions == ()


def test_an_image_of_this_host_that_is_gone_is_that_of_the_cache(
    tmp_path: pathlib.Path, bundles: Bundles, local: str
) -> None:
    """An archive may be deleted after its first use, and a store may be pruned."""
    fill(tmp_path, local, "1")
    wanted = request(tmp_path, local)
    bundles.converge(wanted)
    is_stored = local.startswith("containers-storage")
    subprocess.run(["rm", "-r", tmp_path / ("storage" if is_stored else "image")], check=True)
    found = bundles.converge(wanted)
    assert found.actions == ()
    assert bool(found.warnings) == is_stored
    if is_stored:
        assert "there is no such image. skopeo says: " in found.warnings[0]
    with pytest.raises(LongshoreError, match="there is no such"):
        bundles.converge(wanted._replace(pull="always"))


def test_an_archive_that_was_replaced_by_a_damaged_one_fails(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """The task asked for what is there now."""
    local = f"docker-archive:{tmp_path}/image:localhost/app:1"
    fill(tmp_path, local, "1")
    bundles.converge(request(tmp_path, local))
    with open(tmp_path / "image", "r+b") as stream:
        stream.truncate(700)
    with pytest.raises(LongshoreError, match="it is not an archive of an image"):
        bundles.converge(request(tmp_path, local))


def test_a_tar_that_was_overwritten_with_its_old_time(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """As by rsync --inplace of a build with SOURCE_DATE_EPOCH: the same file, size and time."""
    archive = tmp_path / "tree.tar"
    for number in "12":
        archive.write_bytes(_images().tar([_images().Entry("etc/version", number.encode())]))
        os.utime(archive, ns=(10**18, 10**18))
        found = bundles.converge(request(tmp_path, rootfs=archive))
        assert (found.actions, version(tmp_path, found.record)) == (UNPACK, number)
    record = tmp_path / "web/longshore.json"
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "stamp": told["stamp"][:4]}))  # of an earlier release
    assert bundles.converge(request(tmp_path, rootfs=archive)).actions == ()


@pytest.mark.parametrize("is_read", [False, True], ids=["waiting", "read"])
@pytest.mark.parametrize(
    "option",
    ["mounts", "env_files", "seccomp", "devices", "network", "rootfs", "image", "dir", "authfile", "ca_cert_dir", "path", "state_dir"],
)  # fmt: skip
def test_a_dead_file_system_is_named_in_time(
    tmp_path: pathlib.Path, bundles: Bundles, option: str, is_read: bool
) -> None:
    """A task that itself waits for one could not even be killed."""
    place = tmp_path / "dead"
    at = f"{place}/x"
    (tmp_path / "tree").mkdir()
    wanted = request(tmp_path, rootfs=tmp_path / "tree")._replace(timeout=1)
    values: dict[str, t.Any] = {
        "mounts": ({"source": at, "destination": "/x"},), "env_files": (at,), "seccomp": at, "devices": (f"{at}:/dev/x",),
        "network": f"path:{at}", "image": f"docker-archive:{at}:a/b:1", "dir": f"dir:{at}",
    }  # fmt: skip
    direct: dict[str, t.Any] = {option: at} if option in wanted._fields else {}
    if direct and option != "image":
        wanted = wanted._replace(**direct)
    elif option in ("image", "dir"):
        wanted = wanted._replace(rootfs=None, image=values[option])
    elif option == "state_dir":
        bundles = Bundles(state_dir=at, run_dir=f"{tmp_path}/run")
    else:
        wanted = wanted._replace(options=wanted.options._replace(**{option: values[option]}))
    with dead(place, is_read=is_read):
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=f"^{at}(/manifest.json)? did not answer in time"):
            bundles.converge(wanted)
        assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    ("image_user", "given", "expected"),
    [("", None, (0, 0)), ("1000", None, (1000, 0)), ("7:8", None, (7, 8)), ("7", "4294967294:3", (4294967294, 3))],
)  # fmt: skip
def test_a_volume_that_the_image_lacks_is_of_the_user(
    tmp_path: pathlib.Path, bundles: Bundles, image_user: str, given: str | None, expected: tuple[int, int]
) -> None:
    """One that it has keeps its owner."""
    files = {"data/seed": "1"}
    config: dict[str, t.Any] = {"Volumes": {"/data": {}, "/new/one": {}, "/data/below": {}}, "User": image_user}
    bundles.converge(request(tmp_path, layout(tmp_path / "layout", files, **config), user=given))
    owners = {path.name[:-7]: (path.stat().st_uid, path.stat().st_gid) for path in (tmp_path / "web/volumes").iterdir()}
    assert owners == {"data": (0, 0), "new-one": expected, "data-below": expected}
    assert {mode(path) for path in (tmp_path / "web/volumes").iterdir()} == {0o755}


def test_a_user_that_the_image_lacks_is_a_fault_of_who_named_it(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    image = layout(tmp_path / "layout", {"etc/passwd": "root:x:0:0::/:/x\n"}, User="app")
    with pytest.raises(
        InvalidOption, match=r"^The image is not valid: config.User. There is no user 'app' in the image"
    ):
        bundles.converge(request(tmp_path, image))
    with pytest.raises(InvalidOption, match=r"^There is no user 'web' in the image"):
        bundles.converge(request(tmp_path, image, user="web"))
    assert bundles.converge(request(tmp_path, image, user="5")).record.user["uid"] == 5


@pytest.mark.parametrize("kind", ["no byte", "gzip", "zeros"])
def test_an_archive_without_files_is_refused(tmp_path: pathlib.Path, bundles: Bundles, kind: str) -> None:
    """A download that failed is not a container without a program."""
    empty = {"no byte": b"", "gzip": gzip.compress(b""), "zeros": bytes(10240)}
    (tmp_path / "tree.tar").write_bytes(empty[kind])
    says = f"There is no file in the archive {tmp_path}/tree.tar. Is it complete|This does not look like a tar archive"
    with pytest.raises(LongshoreError, match=says):
        bundles.converge(request(tmp_path, rootfs=tmp_path / "tree.tar"))


@pytest.mark.parametrize(
    "words", [["."], ["./"], ["--gzip", "."], ["--format=posix", "--xattrs", "."], ["--mode=0711", "."]]
)
def test_an_archive_of_an_empty_directory(tmp_path: pathlib.Path, bundles: Bundles, words: list[str]) -> None:
    """Its programs may be mounted. The directory has the mode of the archive."""
    (tmp_path / "empty").mkdir(mode=0o755)
    subprocess.run(["tar", "-cf", tmp_path / "empty.tar", "-C", tmp_path / "empty", *words], check=True)
    found = bundles.converge(request(tmp_path, rootfs=tmp_path / "empty.tar"))
    assert list(root_of(tmp_path, found.record).iterdir()) == []
    assert mode(root_of(tmp_path, found.record)) == (0o711 if "--mode=0711" in words else 0o755)


NOBODY = """
import ctypes, difflib, os, sys  # Another user may not reach this Python's library.
sys.path[:0] = sys.argv[2:]
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, tools, upkeep, used_directory
from ansible_collections.longshore.oci.plugins.module_utils._bundle import confinement
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Options, Request
os.setgroups([]); os.setgid(65534); os.setuid(65534)
own = sys.argv[1]
os.environ["XDG_RUNTIME_DIR"] = own
bundles = Bundles(state_dir=f"{own}/state", run_dir=f"{own}/run")
options = Options(argv=("/x",), seccomp="unconfined", user="0")
for name in ("image", "tree.tar", "tree"):
    if name != "image" and not os.path.exists(f"{own}/{name}"):
        continue
    source = {"image": f"oci:{own}/layout:web"} if name == "image" else {"rootfs": f"{own}/{name}"}
    wanted = Request(f"{own}/of-{name}", options=options, **source)
    found = bundles.converge(wanted).record
    print(f"{own}/of-{name}/{found.root}", bundles.converge(wanted).actions)
"""


@pytest.mark.parametrize("top", [0o755, 0o555, 0o311])
def test_modes_that_its_owner_cannot_read(tmp_path: pathlib.Path, top: int) -> None:
    """For another user than root, as in Fedora and Debian: shadow, sudo, a root directory without write access, device nodes."""
    own, entry = tmp_path / "own", _images().Entry
    own.mkdir()
    modes = {
        ".": top,
        "etc/shadow": 0,
        "usr/bin/sudo": 0o4111,
        "closed": 0,
        "closed/file": 0o400,
        "way": 0o311,
        "way/x": 0o644,
    }
    folders = (".", "closed", "way")
    entries = [
        _images().directory(name, bits) if name in folders else entry(name, b"text", mode=bits) for name, bits in modes.items()
    ]  # fmt: skip
    made = _images().Layout(str(own / "layout"))
    made.tag("web", made.image([entries], Cmd=["/x"], Volumes={"/way": {}}))
    made.close()
    with tarfile.open(own / "tree.tar", "w") as archive:
        for name, bits in modes.items():
            info = tarfile.TarInfo(name)
            info.mode, info.type = bits, tarfile.DIRTYPE if name in folders else tarfile.REGTYPE
            archive.addfile(info)
        for name, minor in (("null", 3), ("zero", 5)):
            info = tarfile.TarInfo(name)
            info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, minor
            archive.addfile(info)
        for name in ("/leading", "cap", "future"):  # tar warns of each.
            info = tarfile.TarInfo(name)
            info.mtime = 2**32 if name == "future" else 0
            capability = "\1\0\0\2" + "\0 ".ljust(16, "\0")  # net_raw
            info.pax_headers = {"SCHILY.xattr.security.capability": capability} if name == "cap" else {}
            archive.addfile(info)
    (own / "tree").mkdir()
    (own / "tree/secret").write_text("x")
    (own / "tree/secret").chmod(0)
    os.mknod(own / "tree/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for path in (tmp_path, *list(tmp_path.parents)[:3]):
        os.chmod(path, os.stat(path).st_mode | 0o711)
    subprocess.run(["chown", "-R", "65534:65534", own], check=True)
    environment = programs.python_environment()
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, str(own), *environment.get("PYTHONPATH", "").split(":")],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    for line in done.stdout.splitlines():
        root, nothing = line.split(" ")
        assert nothing == "()"
        if "/of-tree/" not in root:
            assert {name: mode(pathlib.Path(root, name)) for name in modes} == modes
        else:
            assert pathlib.Path(root, "secret").read_text() == "x"
        assert not pathlib.Path(root, "null").exists()
    assert len(done.stdout.splitlines()) == 3


def test_what_another_user_cannot_copy_is_named(tmp_path: pathlib.Path) -> None:
    """Not what fails then in a user namespace, such as the owner of other files."""
    own = tmp_path / "own"
    (own / "tree").mkdir(parents=True)
    made = _images().Layout(str(own / "layout"))
    made.tag("web", made.image([[_images().Entry("x", b"x")]], Cmd=["/x"]))
    made.close()
    subprocess.run(["chown", "-R", "65534:65534", own], check=True)
    os.chown(own / "tree", 65534, 0)
    (own / "tree/readable").write_text("x")  # of root, as is the next
    (own / "tree/a secret").touch(mode=0)
    for path in (tmp_path, *list(tmp_path.parents)[:3]):
        os.chmod(path, os.stat(path).st_mode | 0o711)
    environment = programs.python_environment()
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, str(own), *environment.get("PYTHONPATH", "").split(":")],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "a secret' for reading: Permission denied" in done.stderr.splitlines()[-1]


def test_a_removal_looks_at_no_option(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    (tmp_path / "tree").mkdir()
    wanted = request(tmp_path, rootfs=tmp_path / "tree")
    bundles.converge(wanted)
    options = wanted.options._replace(mounts=(f"{tmp_path}/dead/x:/x", "no mount"))
    with dead(tmp_path / "dead"):
        assert bundles.converge(wanted._replace(absent=True, options=options)).actions == (Action.REMOVE,)


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "dir", "oci"])
def test_a_fifo_is_no_image(tmp_path: pathlib.Path, bundles: Bundles, kind: str) -> None:
    place = {"dir": "image/manifest.json", "oci": "image/index.json"}.get(kind, "image")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / place)
    with pytest.raises(InvalidOption, match=f"{tmp_path}/{place} of the image {kind}:.* is not a regular file"):
        bundles.converge(request(tmp_path, f"{kind}:{tmp_path}/image"))


@pytest.mark.parametrize("kind", ["all", "one of two", "signed"])
def test_layers_that_umoci_cannot_read(tmp_path: pathlib.Path, bundles: Bundles, kind: str) -> None:
    """zstd, also beside gzip, and an image with a signature, which no layout can hold."""
    files = {"etc/version": "1", "usr/share/text": "text\n" * 5000}
    plain = layout(tmp_path / "layout", files)
    skopeo("--dest-compress-format", "zstd", plain, f"oci:{tmp_path}/zstd:web")
    reference = f"oci:{tmp_path}/zstd:web"
    if kind == "one of two":
        gzip, zstd = (_manifest(tmp_path / name) for name in ("layout", "zstd"))
        gzip["layers"] += zstd["layers"]
        made = _images().Layout(str(tmp_path / "mixed"))
        config = {"rootfs": {"type": "layers", "diff_ids": []}, "os": "linux", "architecture": "amd64", "config": {}}
        diff_id = json.loads(_blob(tmp_path / "layout", gzip["config"]))["rootfs"]["diff_ids"][0]
        config["rootfs"] = {"type": "layers", "diff_ids": [diff_id, diff_id]}
        gzip["config"] = made.document(config, "config.v1+json")
        for name, layer in zip(("layout", "zstd"), gzip["layers"]):
            made.blob(_blob(tmp_path / name, layer), "layer")
        made.tag("web", made.document(gzip, "manifest.v1+json"))
        made.close()
        reference = f"oci:{tmp_path}/mixed:web"
    if kind == "signed":
        reference = f"dir:{tmp_path}/signed"
        skopeo("--dest-compress-format", "zstd", plain, reference)
        (tmp_path / "signed/signature-1").write_bytes(b"\x99 of a key")
    wanted = request(tmp_path, reference)
    root = root_of(tmp_path, bundles.converge(wanted).record)
    assert (root / "usr/share/text").read_text() == "text\n" * 5000
    assert bundles.converge(wanted).actions == ()


def test_gzip_stays_as_it_is(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """It is fetched once for all images, and by digest."""
    bundles.converge(request(tmp_path, layout(tmp_path / "layout", {"etc/version": "1"})))
    kept = {path.name for path in (tmp_path / "state/images/blobs/sha256").iterdir()}
    assert {each["digest"][7:] for each in _manifest(tmp_path / "layout")["layers"]} <= kept


def _blob(layout_path: pathlib.Path, descriptor: t.Mapping[str, t.Any]) -> bytes:
    return (layout_path / "blobs/sha256" / descriptor["digest"][7:]).read_bytes()


def _manifest(path: pathlib.Path) -> t.Any:
    return json.loads(_blob(path, json.loads((path / "index.json").read_text())["manifests"][0]))


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> t.Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "registry.yml").write_text(
        f"{{version: 0.1, log: {{level: error}}, storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}, http: {{addr: '{address}'}}}}"
    )
    argv = ["docker-registry", "serve", f"{tmp_path}/registry.yml"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _try in range(200):
            with contextlib.suppress(OSError), socket.create_connection(address.split(":")):  # type: ignore[arg-type]
                break
            time.sleep(0.05)
        yield f"docker://{address}"
        server.kill()


@pytest.mark.parametrize("name", ["web:1", "web:no-such-tag", "web:V_1.0-rc", "a/b/web:1", "web"])
def test_a_reference_with_tag_and_digest(tmp_path: pathlib.Path, bundles: Bundles, registry: str, name: str) -> None:
    """The digest counts, as with podman. The tag may be another image by now, or gone."""
    old, new = (layout(tmp_path / version, {"etc/version": version}) for version in "12")
    digest = json.loads((tmp_path / "1/index.json").read_text())["manifests"][0]["digest"]
    repository = f"{registry}/{name.partition(':')[0]}"
    skopeo("--dest-tls-verify=false", old, f"{repository}:old")
    skopeo("--dest-tls-verify=false", new, f"{repository}:1")
    wanted = request(tmp_path, f"{registry}/{name}@{digest}")._replace(tls_verify=False)
    for pull in ("missing", "always"):
        found = bundles.converge(wanted._replace(pull=pull))
        assert version(tmp_path, found.record) == "1"
        assert found.record.image == {**(found.record.image or {}), "reference": wanted.image, "digest": digest}
    assert found.actions == ()
    for wrong in (f"{registry}/web:-x@{digest}", f"{registry}/web:{'x' * 129}@{digest}", f"{registry}/web:@{digest}"):
        with pytest.raises(LongshoreError, match="the reference is not valid"):
            bundles.converge(wanted._replace(image=wrong))


@pytest.mark.parametrize("place", ["/data", "/host"])
def test_another_kernel_alone_changes_only_the_config(
    tmp_path: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The root file system stays, and so does the container until it is restarted with the bundle."""

    def options() -> list[str]:
        made = json.loads((tmp_path / "web/config.json").read_text())
        return next(mount["options"] for mount in made["mounts"] if mount["destination"] == place)

    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o755)
    wanted = request(tmp_path, rootfs=tmp_path / "root", argv=("/x",), mounts=(f"{tmp_path}:{place}:ro",))
    with monkeypatch.context() as old:
        old.setattr(confinement, "can_set_recursively", lambda _release: False)
        bundles.converge(wanted)
        assert "rro" not in options()
    assert bundles.converge(wanted, check=True).actions == (Action.CONFIG,)
    assert bundles.converge(wanted).actions == (Action.CONFIG,)
    assert "rro" in options()
    assert bundles.converge(wanted).actions == ()
    monkeypatch.setattr(confinement, "can_set_recursively", lambda _release: False)
    assert bundles.converge(wanted).actions == (Action.CONFIG,)
    assert "rro" not in options()


class TestCheckModeBeforeThereIsASource:
    """Earlier tasks of the play would copy the archive, and install skopeo."""

    @pytest.mark.parametrize(
        "source",
        [{"rootfs": "/nowhere/rootfs"}, {"rootfs": "/nowhere/rootfs.tar"}, {"image": "oci:/nowhere/layout:web"},
         {"image": "docker-archive:/nowhere/image.tar"}, {"image": "dir:/nowhere/image"}],
    )  # fmt: skip
    def test_it_is_assumed(self, bundles: Bundles, tmp_path: pathlib.Path, source: dict[str, str]) -> None:
        options = Options(argv=("/x",), seccomp="unconfined", mounts=("/nowhere/data:/data",))
        wanted = Request(f"{tmp_path}/web", options=options, **t.cast(t.Any, source))
        outcome = bundles.converge(wanted, check=True)
        assert outcome.actions == UNPACK
        assert outcome.record.config_digest is None
        assert ["/nowhere/data" in outcome.warnings[0], "/nowhere/" in outcome.warnings[1]] == [True, True]
        assert not os.path.exists(f"{tmp_path}/web")
        with pytest.raises(InvalidOption, match="/nowhere/data"):
            bundles.converge(wanted)

    def test_a_program(self, bundles: Bundles, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "ansible_collections.longshore.oci.plugins.module_utils._bundle.tools.find_program", lambda _name: None
        )
        options = Options(argv=("/x",), seccomp="unconfined")
        wanted = Request(f"{tmp_path}/web", image="docker://registry.invalid/web:1", options=options)
        outcome = bundles.converge(wanted, check=True)
        assert outcome.actions == UNPACK
        assert "skopeo is not on this host." in outcome.warnings[0]
        with pytest.raises(LongshoreError, match="skopeo is not on this host"):
            bundles.converge(wanted)


@pytest.mark.parametrize("former", ["copy", "auto"])
def test_auto_makes_no_bundle_again(tmp_path: pathlib.Path, bundles: Bundles, former: str) -> None:
    wanted = request(tmp_path, layout(tmp_path / "layout", {"etc/version": "1"}))
    try:
        made = bundles.converge(wanted._replace(rootfs_mode=former))
        assert made.record.rootfs_mode in ("copy", "overlay") if former == "auto" else made.record.rootfs_mode == "copy"
        for check in (True, False):
            again = bundles.converge(wanted._replace(rootfs_mode="auto"), check=check)
            assert (again.actions, again.plan.differences) == ((), {})
    finally:
        bundles.converge(wanted._replace(absent=True))
    assert not os.path.exists(f"{tmp_path}/web")
