# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles made by skopeo and umoci, and what is left when that goes wrong."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    Conflict,
    InvalidOption,
    LongshoreError,
    MissingPrerequisite,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._bundle import confinement, rootfs, tools
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Action, Options, Request
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.parse import IdMap
from ansible_collections.longshore.oci.plugins.module_utils._trust import tree_walk
from ansible_collections.longshore.oci.tests.unit import programs
from ansible_collections.longshore.oci.tests.unit.deep import deepen

# As in images.py of the layout below.
PATHS = ("up", "far-up", "absolute", "aside", "upper", "long")
ODD = (
    "architecture", "os", "config-list", "rootfs-list", "rootfs-null", "diff-ids-text", "user", "env", "env-object", "env-name",
    "nul", "cmd", "cmd-text", "entrypoint", "labels", "labels-text", "label", "ports", "port", "volumes", "workdir", "signal",
    "no-signal", "healthcheck", "interval", "many", "other-case", "descriptor", "descriptor-link", "volume-link",
    "volume-link-below", "volume-circle", "volume-root",
)  # fmt: skip
HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = os.path.join(HERE, "..", "..", "..", "..", "integration", "targets")
ALL = (Action.PULL, Action.ROOTFS, Action.CONFIG)
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW"}
# In a Python of its own.
IMPORTS = f"from {Bundles.__module__} import Bundles\nfrom {Options.__module__} import Options, Request\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The layout that the integration tests have, too."""
    directory = tmp_path_factory.mktemp("images")
    (directory / "outside").mkdir()
    found = importlib.util.spec_from_file_location("images", f"{TARGETS}/setup_images/files/images.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["images"] = module
    found.loader.exec_module(module)
    module.make(f"{directory}/layout", b"not a program")
    assert (tuple(module.PATHS), tuple(module.ODD)) == (PATHS, ODD)
    return f"oci:{directory}/layout"


@pytest.fixture
def bundles(tmp_path: pathlib.Path) -> Bundles:
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    return Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def request(tmp_path: pathlib.Path, image: str | None, *, mode: str = "copy", **options: t.Any) -> Request:
    given = Options(**{"seccomp": f"{tmp_path}/profile.json", **options})
    return Request(f"{tmp_path}/web", image=image, options=given, rootfs_mode=mode)


def left(tmp_path: pathlib.Path) -> list[str]:
    """What nobody will ever need."""
    found = [os.path.join(parent, name) for parent, names, files in os.walk(tmp_path) for name in names + files]
    return [path for path in found if "/.tmp-" in path or "/locks/" in path]


def test_three_ways(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    wanted = request(tmp_path, f"{images}:web-1", env={"A": "secret"})
    checked = bundles.converge(wanted, check=True)
    assert checked.actions == ALL
    assert sorted(os.listdir(tmp_path)) == ["profile.json"]
    made = bundles.converge(wanted)
    assert (made.actions, made.existed) == (ALL, False)
    before = {path: os.stat(path).st_mtime_ns for path, _n, _f in os.walk(tmp_path)}
    assert bundles.converge(wanted).actions == ()
    assert {path: os.stat(path).st_mtime_ns for path, _n, _f in os.walk(tmp_path)} == before
    assert left(tmp_path) == []
    changed = bundles.converge(request(tmp_path, f"{images}:web-1", env={"A": "other"}, chdir="/tmp"), check=True)
    assert changed.actions == (Action.ROOTFS, Action.CONFIG)
    assert changed.plan.differences == {"process.cwd": ("/", "/tmp"), "process.env.A": ("(hidden)", "(hidden, new)")}


def test_a_task_with_nothing_to_do_imports_nothing_for_actions(
    tmp_path: pathlib.Path, bundles: Bundles, images: str
) -> None:
    """Nor does it start a program: there is none where it looks."""
    wanted = request(tmp_path, f"{images}:web-1")
    bundles.converge(wanted)
    code = (
        f"import sys\n{IMPORTS}"
        "state, run, path, image, profile = sys.argv[1:]\n"
        "outcome = Bundles(state_dir=state, run_dir=run).converge(Request(path, image=image, options=Options(seccomp=profile)))\n"
        "assert outcome.actions == (), outcome\nprint(*(name for name in sys.modules if '._bundle.' in name))"
    )
    argv = [f"{tmp_path}/state", f"{tmp_path}/run", wanted.path, wanted.image or "", wanted.options.seccomp]
    env = {**programs.python_environment(), "PATH": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, env=env, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert "bundles" in loaded
    assert loaded & {"rootfs", "tools"} == set()


def test_a_config_that_somebody_changed_is_put_right(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    wanted = request(tmp_path, f"{images}:web-1")
    bundles.converge(wanted)
    path = f"{wanted.path}/config.json"
    with open(path, encoding="utf-8") as stream:
        config = json.load(stream)
    config["process"]["cwd"] = "/elsewhere"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(config, stream)
    outcome = bundles.converge(wanted)
    assert outcome.actions == (Action.CONFIG,)
    assert outcome.plan.differences == {"process.cwd": ("/elsewhere", "/")}
    os.unlink(path)
    assert bundles.converge(wanted).actions == (Action.CONFIG,)
    assert bundles.converge(wanted).actions == ()


def test_a_root_file_system_that_is_gone_is_made_again(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    wanted = request(tmp_path, f"{images}:web-1")
    root = f"{wanted.path}/{bundles.converge(wanted).record.root}"
    tools.discard(root)
    assert bundles.converge(wanted).actions == (Action.ROOTFS, Action.CONFIG)
    assert os.path.isfile(f"{root}/etc/version")


@pytest.mark.parametrize("program", ["skopeo", "umoci", "cp"])
def test_what_was_interrupted_is_never_taken_for_complete(
    tmp_path: pathlib.Path, bundles: Bundles, images: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program does its work, and then takes the whole task with it, as a power cut would."""
    (tmp_path / "bin").mkdir()
    real = tools.find(program)
    # The inspections before the copy go well.
    programs.script(
        tmp_path / "bin" / program, f'{real} "$@"; rc=$?; case "$*" in *inspect*) exit $rc;; esac; kill -9 $PPID\n'
    )
    wanted = request(tmp_path, f"{images}:web-1")
    code = (
        f"import sys\n{IMPORTS}"
        "state, run, path, image, profile = sys.argv[1:]\n"
        "Bundles(state_dir=state, run_dir=run).converge(Request(path, image=image, options=Options(seccomp=profile)))"
    )
    argv = [f"{tmp_path}/state", f"{tmp_path}/run", wanted.path, wanted.image or "", wanted.options.seccomp]
    env = {**programs.python_environment(), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, env=env, check=False, timeout=60
    )
    assert done.returncode == -9, done.stderr
    assert not os.path.exists(f"{wanted.path}/config.json")
    outcome = bundles.converge(wanted)
    assert outcome.actions == (ALL if program == "skopeo" else ALL[1:])
    assert os.path.isfile(f"{wanted.path}/{outcome.record.root}/etc/version")
    assert left(tmp_path) == []


def test_sources_on_the_host(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "version").write_text("1")
    wanted = request(tmp_path, None, argv=("/x",))._replace(rootfs=str(tree))
    assert bundles.converge(wanted).actions == (Action.ROOTFS, Action.CONFIG)
    assert bundles.converge(wanted).actions == ()
    (tree / "etc" / "version").write_text("22")
    assert bundles.converge(wanted).actions == (Action.ROOTFS, Action.CONFIG)
    archive = tmp_path / "tree.tar.gz"
    with tarfile.open(archive, "w:gz") as stream:
        stream.add(tree, ".")
    packed = wanted._replace(rootfs=str(archive))
    outcome = bundles.converge(packed)
    assert outcome.actions == (Action.ROOTFS, Action.CONFIG)
    assert pathlib.Path(wanted.path, outcome.record.root, "etc", "version").read_text() == "22"
    os.utime(archive)
    assert bundles.converge(packed).actions == ()  # Read once more: it is the same.


def _grow(path: str) -> None:
    os.truncate(path, 3 << 30)


def _replace(kind: str) -> t.Callable[[str], None]:
    def act(path: str) -> None:
        os.unlink(path)
        os.mkfifo(path) if kind == "fifo" else os.symlink(kind, path)

    return act


@pytest.mark.parametrize("name", ["hosts", "hostname", "longshore.json", "config.json"])
@pytest.mark.parametrize("change", [_grow, _replace("fifo"), _replace("/dev/zero"), _replace("precious")])
def test_what_a_container_makes_of_its_files_takes_no_memory_and_no_time(
    tmp_path: pathlib.Path, bundles: Bundles, images: str, name: str, change: t.Callable[[str], None]
) -> None:
    """In a process of its own, whose memory is measured. A container can only do the first, to hosts and hostname."""
    wanted = request(tmp_path, f"{images}:web-1")
    bundles.converge(wanted)
    path = f"{wanted.path}/{name}" if "." in name else f"{wanted.path}/etc/{name}"
    (pathlib.Path(path).parent / "precious").write_text("text of somebody")
    change(path)
    code = (
        f"import sys\n{IMPORTS}"
        "state, run, path, image, profile, check = sys.argv[1:]\n"
        "bundles = Bundles(state_dir=state, run_dir=run)\n"
        "try:\n"
        "    done = bundles.converge(Request(path, image=image, options=Options(seccomp=profile)), check=check == 'check')\n"
        "    print(*(action.value for action in done.actions))\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
        # Not ru_maxrss: that starts with the memory of the process that forked this one, which is pytest.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    )
    said = []
    for check in ("check", "do"):
        argv = [f"{tmp_path}/state", f"{tmp_path}/run", wanted.path, wanted.image or "", wanted.options.seccomp, check]
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], capture_output=True, text=True, env=programs.python_environment(),
            check=False, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        words, memory = done.stdout.splitlines()
        assert int(memory) < 100 << 10
        said.append(words)
    assert said[0] == said[1]
    assert (
        said[0] == "config"
        if "." not in name
        else said[0].split()[0] in ("LongshoreError", "rootfs", "config", "InvalidOption")
    )
    if "." not in name:
        assert os.path.isfile(path)
        assert not os.path.islink(path)
        assert os.stat(path).st_size < 1000
        assert bundles.converge(wanted).actions == ()
    assert (pathlib.Path(path).parent / "precious").read_text() == "text of somebody"


def test_a_lease_on_a_file_of_a_bundle_is_not_waited_for(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    wanted = request(tmp_path, f"{images}:web-1")
    bundles.converge(wanted)
    with open(f"{wanted.path}/etc/hosts", "r+b") as stream:
        fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(stream, fcntl.F_SETSIG, signal.SIGWINCH)
        before = time.monotonic()
        with pytest.raises(LongshoreError, match="Cannot work on the bundle"):
            bundles.converge(wanted)
        assert time.monotonic() - before < 4
        fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_UNLCK)


@pytest.mark.parametrize("depth", [3000])
def test_a_root_file_system_that_is_deep_is_removed(
    tmp_path: pathlib.Path, bundles: Bundles, images: str, depth: int
) -> None:
    wanted = request(tmp_path, f"{images}:web-1")
    root = bundles.converge(wanted).record.root
    deepen(pathlib.Path(wanted.path, root), depth)
    assert bundles.converge(wanted).actions == ()
    assert bundles.converge(Request(wanted.path, absent=True)).actions == (Action.REMOVE,)
    assert not os.path.exists(wanted.path)


def test_a_directory_that_is_deep_is_tamed_mapped_and_told_apart(tmp_path: pathlib.Path) -> None:
    (tmp_path / "root").mkdir()
    deepen(tmp_path / "root", 3000)
    before = rootfs.directory_digest(str(tmp_path / "root"))
    rootfs.tame(str(tmp_path / "root"))
    assert rootfs.directory_digest(str(tmp_path / "root")) == before
    rootfs.shift(str(tmp_path / "root"), {"uid": [IdMap(0, 100000, 10)], "gid": [IdMap(0, 100000, 10)]})
    assert {entry.status.st_uid for entry in tree_walk.walk(str(tmp_path / "root"))} == {100000}
    tools.discard(str(tmp_path / "root"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_source_that_is_no_file_is_refused(
    tmp_path: pathlib.Path, bundles: Bundles, make: t.Callable[[str], None]
) -> None:
    make(f"{tmp_path}/source")
    with pytest.raises(InvalidOption, match="is neither a directory nor a tar"):
        bundles.converge(request(tmp_path, None)._replace(rootfs=f"{tmp_path}/source"))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"env": {"CITY": "Saint-\udce9"}}, "env.CITY"), ({"argv": ("echo", "\udcff")}, "argv"), ({"chdir": "/\udc80"}, "chdir"),
        ({"mounts": ({"source": "/srv/\udce9", "destination": "/a"},)}, "mounts.source"), ({"mounts": ("/\udce9:/a",)}, "mounts"),
        ({"annotations": {"owner": "\udce9"}}, "annotations.owner"), ({"sysctls": {"kernel.domainname": "\udce9"}}, "sysctls.kernel.domainname"),
        ({"tmpfs": ("/\udce9",)}, "tmpfs"), ({"spec": {"process": {"env": ["A=\udce9"]}}}, "spec.process.env"),
        ({"hooks": {"poststop": [{"path": "/x", "args": ["\udce9"]}]}}, "hooks.poststop.args"), ({"user": "\udce9"}, "user"),
    ],
)  # fmt: skip
def test_text_that_no_config_can_hold_is_refused(
    tmp_path: pathlib.Path, bundles: Bundles, options: dict[str, t.Any], what: str
) -> None:
    said = refused(bundles, request(tmp_path, None, **options)._replace(rootfs="/nowhere"))
    assert said.startswith(f"{what} cannot have bytes that are not UTF-8.")
    assert left(tmp_path) == []


def test_a_bundle_that_is_removed_is_gone(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    wanted = request(tmp_path, f"{images}:app", entrypoint=("/x",))
    bundles.converge(wanted)
    gone = wanted._replace(absent=True)
    assert bundles.converge(gone, check=True).actions == (Action.REMOVE,)
    assert bundles.converge(gone).actions == (Action.REMOVE,)
    assert not os.path.exists(wanted.path)
    assert bundles.converge(gone).actions == ()


def test_volumes_start_with_what_the_image_has_and_stay(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    wanted = request(tmp_path, f"{images}:app")
    bundles.converge(wanted)
    (volume,) = (path for path in pathlib.Path(wanted.path, "volumes").iterdir() if path.name.startswith("data-"))
    assert (volume / "seed").read_text() == "seed\n"
    assert (volume.stat().st_uid, stat.S_IMODE(volume.stat().st_mode)) == (1000, 0o700)
    (volume / "mine").write_text("1")
    bundles.converge(request(tmp_path, f"{images}:app", hostname="changed"))
    assert (volume / "mine").read_text() == "1"


def refused(bundles: Bundles, wanted: Request, check: bool = False) -> str:
    """What is said of an image that is not valid; nothing of it is there then but blobs of the cache."""
    with pytest.raises(LongshoreError) as caught:
        bundles.converge(wanted, check=check)
    assert not os.path.lexists(wanted.path)
    return caught.value.message


@pytest.mark.parametrize("mode", ["copy", "overlay"])
@pytest.mark.parametrize("name", PATHS)
def test_a_digest_is_never_a_path(tmp_path: pathlib.Path, bundles: Bundles, images: str, name: str, mode: str) -> None:
    (tmp_path / "state" / "roots").mkdir(parents=True)  # Without it, no path would lead through it.
    for check in (True, False):
        said = refused(bundles, request(tmp_path, f"{images}:path-{name}", mode=mode), check)
        assert said.startswith("The image is not valid: rootfs.diff_ids[0] must be sha256:")
    assert os.listdir(tmp_path / "state" / "roots") == []


@pytest.mark.parametrize("name", ODD)
def test_an_image_that_says_what_none_can_is_refused(
    tmp_path: pathlib.Path, bundles: Bundles, images: str, name: str
) -> None:
    assert refused(bundles, request(tmp_path, f"{images}:odd-{name}")).startswith("The image is not valid: ")
    assert left(tmp_path) == []
    # Nor does it help that another image with the same layers is there.
    bundles.converge(request(tmp_path, f"{images}:odd-descriptor", chdir="/")._replace(path=f"{tmp_path}/other"))
    assert refused(bundles, request(tmp_path, f"{images}:odd-{name}")).startswith("The image is not valid: ")


@pytest.mark.parametrize("evil", ["update-missing", "update-missing-index", "update-unnamed", "update-claimed"])
@pytest.mark.parametrize("first", ["evil", "honest"])
def test_no_image_has_the_files_of_another(
    tmp_path: pathlib.Path, bundles: Bundles, images: str, evil: str, first: str
) -> None:
    honest = request(tmp_path, f"{images}:update")._replace(path=f"{tmp_path}/honest")
    if first == "honest":
        bundles.converge(honest)
    wanted = request(tmp_path, f"{images}:{evil}")
    if evil in ("update-missing", "update-unnamed"):
        assert "The image is not valid: it has" in refused(bundles, wanted, check=True)
    else:
        bundles.converge(wanted, check=True)  # Only the layers can tell, and they are not here yet.
    said = refused(bundles, wanted)
    assert ("diffid mismatch" if evil == "update-claimed" else "The image is not valid: it has") in said
    outcome = bundles.converge(honest)
    assert outcome.actions == (() if first == "honest" else ALL)
    assert pathlib.Path(honest.path, outcome.record.root, "etc", "auth").read_text() == "required\n"
    assert len(os.listdir(tmp_path / "state" / "roots")) == 1


def names_in(directory: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if "/.tmp-" not in str(path))


@pytest.mark.parametrize("name", [
    "dot-link", "link-then-through", "link-up", "hard-link-up", "hard-link-absolute", "whiteout-through", "opaque-through",
    "whiteout-up", "whiteout-path", "etc-link", "passwd-link", "passwd-kernel",
])  # fmt: skip
def test_layers_do_not_reach_what_is_outside(tmp_path: pathlib.Path, bundles: Bundles, images: str, name: str) -> None:
    """Whether such an image is refused or unpacked inside is for umoci to say."""
    outside = pathlib.Path(images[len("oci:") :]).parent / "outside"
    (outside / "secret").write_text("secret:x:0:0::/:/bin/sh\n")
    bundles.converge(request(tmp_path, f"{images}:web-1")._replace(path=f"{tmp_path}/other"))
    before = names_in(tmp_path / "state" / "roots"), names_in(tmp_path / "other")
    with contextlib.suppress(LongshoreError):
        root = bundles.converge(request(tmp_path, f"{images}:trick-{name}")).record.root
        assert not (tmp_path / "web" / root / "hard").exists()
    assert names_in(outside) == ["secret"]
    roots = names_in(tmp_path / "state" / "roots")
    assert set(before[0]) <= set(roots)
    assert names_in(tmp_path / "other") == before[1]
    around = (pathlib.Path("/"), tmp_path, tmp_path / "state", tmp_path / "state" / "roots")
    assert [path for place in around for path in place.glob("escaped-*")] == []
    assert left(tmp_path) == []
    if "passwd" in name or "etc" in name:
        assert "There is no user 'secret'" in refused(bundles, request(tmp_path, f"{images}:trick-{name}"))


def test_a_tar_does_not_reach_what_is_outside(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    members: dict[str, list[tuple[str, bytes | None, str]]] = {
        "up": [("../escaped", None, "")], "absolute": [(f"{outside}/escaped", None, "")],
        "link": [("way", tarfile.SYMTYPE, str(outside)), ("way/escaped", None, "")],
        "hard": [("hard", tarfile.LNKTYPE, f"{outside}/secret")], "hard-up": [("hard", tarfile.LNKTYPE, "../../../outside/secret")],
    }  # fmt: skip
    for name, entries in members.items():
        archive = tmp_path / f"{name}.tar"
        with tarfile.open(archive, "w") as stream:
            for path, kind, link in entries:
                info = tarfile.TarInfo(path)
                info.type, info.linkname = kind or tarfile.REGTYPE, link
                stream.addfile(info)
        wanted = request(tmp_path, None, argv=("/x",))._replace(rootfs=str(archive), path=f"{tmp_path}/bundle-{name}")
        with contextlib.suppress(LongshoreError):
            bundles.converge(wanted)
        assert names_in(outside) == ["secret"], name
        assert os.stat(outside / "secret").st_nlink == 1, name
        assert not (tmp_path / "escaped").exists()
        assert not (tmp_path / "state" / "escaped").exists()


def test_volumes_where_the_kernel_speaks_are_left_out_with_a_warning(
    tmp_path: pathlib.Path, bundles: Bundles, images: str
) -> None:
    wanted = request(tmp_path, f"{images}:volumes")
    outcome = bundles.converge(wanted)
    assert [name.rpartition("-")[0] for name in os.listdir(f"{wanted.path}/volumes")] == ["data"]
    (warning,) = outcome.warnings
    assert "are left out: /, /dev/shm, /etc/hosts, /proc, /proc/self/attr, /sys/fs/cgroup." in warning
    assert bundles.converge(wanted).warnings == (warning,)
    ignored = request(tmp_path, f"{images}:volumes", image_volumes="ignore")
    assert bundles.converge(ignored).warnings == ()


def test_a_cache_of_an_earlier_release_is_read_again_and_not_believed(
    tmp_path: pathlib.Path, bundles: Bundles, images: str
) -> None:
    """It kept a configuration beside the reference, and unpacked files by what that claims."""
    wanted = request(tmp_path, f"{images}:web-1")
    made = bundles.converge(wanted)
    (remembered,) = (tmp_path / "state" / "images" / "references").iterdir()
    (files,) = (tmp_path / "state" / "roots").iterdir()
    known = json.loads(remembered.read_text())
    remembered.write_text(
        json.dumps(
            {**known, "digest": "../../..", "config": {"config": {"Cmd": ["/evil"]}, "rootfs": {"diff_ids": [".."]}}}
        )
    )
    files.rename(files.parent / str(made.record.rootfs_digest)[7:])
    assert bundles.converge(wanted).actions == ()
    outcome = bundles.converge(request(tmp_path, f"{images}:web-1", hostname="new"))
    assert outcome.actions == (Action.ROOTFS, Action.CONFIG)
    assert outcome.record.rootfs_digest == made.record.rootfs_digest
    assert files.is_dir()


@pytest.mark.parametrize(
    "image",
    [
        None, [], "x", {}, {"digest": "sha256:x"}, {"digest": 5, "manifest": []}, {"manifest": "../../../roots"},
        {"manifest": "sha256:" + "0" * 64}, {"manifest": "sha256:" + "A" * 64}, {"manifest": "sha256:..", "digest": "sha256:.."},
    ],
)  # fmt: skip
def test_a_remembered_reference_that_is_odd_is_asked_for_again(
    tmp_path: pathlib.Path, bundles: Bundles, images: str, image: t.Any
) -> None:
    wanted = request(tmp_path, f"{images}:web-1")
    bundles.converge(wanted)
    (remembered,) = (tmp_path / "state" / "images" / "references").iterdir()
    known = json.loads(remembered.read_text())["image"]
    remembered.write_text(json.dumps({"image": {**known, **image} if isinstance(image, dict) and image else image}))
    with pytest.raises(InvalidOption, match="is not in the cache"):
        bundles.converge(wanted._replace(pull="never"))
    assert bundles.converge(wanted).actions == (Action.PULL,)
    assert bundles.converge(wanted).actions == ()


def test_a_blob_that_is_not_what_its_name_says_is_not_believed(
    tmp_path: pathlib.Path, bundles: Bundles, images: str
) -> None:
    wanted = request(tmp_path, f"{images}:web-1")
    manifest = dict(bundles.converge(wanted).record.image or {})["manifest"]
    blob = tmp_path / "state" / "images" / "blobs" / "sha256" / manifest[7:]
    document = json.loads(blob.read_text())
    blob.write_text(json.dumps({**document, "layers": document["layers"][:1]}))
    with pytest.raises(LongshoreError, match=r"cache .* is damaged"):
        bundles.converge(wanted._replace(pull="never"))


def test_what_an_image_says_of_its_health_is_kept(tmp_path: pathlib.Path, bundles: Bundles, images: str) -> None:
    made = bundles.converge(request(tmp_path, f"{images}:app"))
    assert json.loads(json.dumps(made.record.healthcheck)) == {
        "test": ["CMD-SHELL", "true"], "interval": 5000000000, "timeout": 0, "start_period": 0, "start_interval": 0, "retries": 2,
    }  # fmt: skip
    assert bundles.converge(request(tmp_path, f"{images}:web-1", argv=("/x",))).record.healthcheck is None


def test_device_nodes_are_taken_out(tmp_path: pathlib.Path) -> None:
    for name, kind, device in (
        ("null", stat.S_IFCHR, (1, 3)),
        ("disk", stat.S_IFBLK, (8, 0)),
        ("mem", stat.S_IFCHR, (1, 1)),
    ):
        os.mknod(tmp_path / name, kind | 0o600, os.makedev(*device))
    os.symlink("/dev", tmp_path / "link")
    rootfs.tame(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


def test_owners_are_mapped_and_setuid_bits_stay(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program"
    program.write_text("x")
    os.link(program, tmp_path / "linked")
    os.chown(program, 5, 6)
    os.chmod(program, 0o4755)
    os.symlink("/etc/passwd", tmp_path / "link")
    owner = os.stat("/etc/passwd").st_uid
    rootfs.shift(str(tmp_path), {"uid": [IdMap(0, 1000, 10)], "gid": [IdMap(0, 2000, 10)]})
    found = program.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1005, 2006, 0o4755)
    assert os.lstat(tmp_path / "link").st_uid == 1000
    assert os.stat("/etc/passwd").st_uid == owner
    with pytest.raises(InvalidOption, match="is not mapped by userns"):
        rootfs.shift(str(tmp_path), {"uid": [IdMap(0, 0, 10)], "gid": [IdMap(0, 0, 10)]})


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (
            'time="x" level=fatal msg="pinging container registry: dial tcp 1.2.3.4:443: connect: connection refused"',
            "cannot be reached",
        ),
        ('time="x" level=fatal msg="x509: certificate signed by unknown authority"', "certificate is not trusted"),
        ('level=fatal msg="reading manifest a in b: unauthorized: authentication required"', "username and password"),
        ('level=fatal msg="requested access to the resource is denied"', "denies access"),
        ('level=fatal msg="reading manifest 1 in b: manifest unknown"', "no such image"),
        (
            "   \u2a2f create rootfs: unpack layer: write x: no space left on device   ",
            "no space left.*Free space in /",
        ),
        ("cp: error writing 'x': No space left on device", "no space left"),
        (
            "/bin/sh: 1: xz: not found\ntar: Child returned status 127\ntar: Error is not recoverable: exiting now",
            "xz: not found",
        ),
        ("", "exit code 3"),
    ],
)
def test_what_programs_say_is_told_in_a_sentence(
    tmp_path: pathlib.Path, said: str, meaning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "said").write_text(said)
    programs.script(tmp_path / "skopeo", f"cat {tmp_path}/said >&2; exit 3\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ProgramFailed, match=f"Cannot fetch it.*{meaning}"):
        tools.call(["skopeo"], Deadline(10), what="fetch it", place="/state")


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPrerequisite, match=r"no-such is not on this host. The role longshore.oci.runtime"):
        tools.find("no-such")


def test_a_proxy_reaches_programs_and_nothing_else_does(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.script(tmp_path / "skopeo", "env\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("SECRET", "no")
    said = tools.call(["skopeo"], Deadline(10), what="look").stdout
    assert "HTTPS_PROXY=http://proxy" in said
    assert "SECRET" not in said


def test_a_file_system_that_cannot_be_written_to_is_an_error_in_words(tmp_path: pathlib.Path, images: str) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    (tmp_path / "state").write_text("a file")
    bundles = Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    with pytest.raises(LongshoreError, match="state"):
        bundles.converge(request(tmp_path, f"{images}:web-1"))


LABELS = {"process": "system_u:system_r:container_t:s0", "file": "system_u:object_r:container_file_t:s0"}


def _label(path: str) -> str:
    try:
        return os.getxattr(path, "security.selinux", follow_symlinks=False).decode("ascii").rstrip("\0")
    except OSError:
        return ""


def test_where_selinux_is_enabled(
    images: str, bundles: Bundles, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the container has from the bundle is labelled as its mounts are, and a second run finds the same label."""
    monkeypatch.setattr(confinement, "has_labels", lambda: True)
    monkeypatch.setattr(confinement, "policy", lambda: LABELS)
    wanted = request(tmp_path, f"{images}:app")
    made = bundles.converge(wanted)
    config = json.loads((tmp_path / "web" / "config.json").read_text())
    level = made.record.level
    assert config["process"]["selinuxLabel"] == f"system_u:system_r:container_t:{level}"
    label = f"system_u:object_r:container_file_t:{level}"
    assert config["linux"]["mountLabel"] == label
    root = tmp_path / "web" / config["root"]["path"]
    volumes = list((tmp_path / "web" / "volumes").iterdir())
    for path in (root, root / "etc" / "passwd", root / "bin" / "sh", tmp_path / "web" / "etc" / "hosts", *volumes):
        assert _label(str(path)) == label
    assert _label(str(tmp_path / "web")) == ""
    assert bundles.converge(wanted).actions == ()
    # Switched off, the container is another one; its root file system is a new copy, without labels.
    off = request(tmp_path, f"{images}:app", selinux_label="disable")
    assert Action.ROOTFS in bundles.converge(off).actions
    assert "selinuxLabel" not in json.loads((tmp_path / "web" / "config.json").read_text())["process"]


def test_where_apparmor_is_enabled(
    images: str, bundles: Bundles, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile is used while it is loaded; where there is none, a bundle that is made or changed tells so."""
    loaded = tmp_path / "profiles"
    loaded.write_text("containers-default-0.62.2 (enforce)\n", encoding="ascii")
    monkeypatch.setattr(confinement, "APPARMOR", str(loaded))
    wanted = request(tmp_path, f"{images}:app")
    assert not [warning for warning in bundles.converge(wanted).warnings if "AppArmor" in warning]
    loaded.write_text("containers-default-0.62.2 (enforce)\ncontainers-default-0.63.0 (enforce)\n", encoding="ascii")
    assert bundles.converge(wanted).actions == ()
    loaded.write_text("lsb_release (enforce)\n", encoding="ascii")
    changed = bundles.converge(wanted)
    assert changed.plan.differences["process.apparmorProfile"] == ("containers-default-0.62.2", None)
    assert [warning for warning in changed.warnings if "no profile for containers is loaded" in warning]
    again = bundles.converge(wanted)
    assert (again.actions, again.warnings) == ((), ())


class TestDirectory:
    @pytest.fixture
    def made(self, bundles: Bundles, tmp_path: pathlib.Path) -> Request:
        (tmp_path / "files").mkdir()
        return Request(
            f"{tmp_path}/web",
            rootfs=f"{tmp_path}/files",
            options=Options(argv=("true",), seccomp=f"{tmp_path}/profile.json"),
        )

    @pytest.mark.parametrize(("owner", "mode"), [(0, 0o755), (0, 0o777), (4242, 0o777), (4242, 0o700)])
    def test_one_that_was_there_is_taken_over(self, bundles: Bundles, made: Request, owner: int, mode: int) -> None:
        os.mkdir(made.path)
        os.chown(made.path, owner, owner)
        os.chmod(made.path, mode)
        bundles.converge(made)
        found = os.stat(made.path)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700)
        assert bundles.converge(made).actions == ()

    def test_one_that_was_opened_is_closed(self, bundles: Bundles, made: Request) -> None:
        bundles.converge(made)
        os.chmod(made.path, 0o755)
        planned = bundles.converge(made, check=True)
        assert planned.actions == (Action.CONFIG,)
        assert planned.plan.differences == {"directory.mode": ("0755", "0700")}
        assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o755
        assert bundles.converge(made).actions == (Action.CONFIG,)
        assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o700
        assert bundles.converge(made).actions == ()

    @pytest.mark.parametrize(("owner", "mode"), [(4242, 0o700), (0, 0o770), (0, 0o777), (0, 0o1777)])
    def test_one_that_others_could_put_something_into(
        self, bundles: Bundles, made: Request, owner: int, mode: int
    ) -> None:
        bundles.converge(made)
        os.chown(made.path, owner, owner)
        os.chmod(made.path, mode)
        for request in (made, made._replace(absent=True)):
            with pytest.raises(InvalidOption, match="can be changed by users other than root"):
                bundles.converge(request)

    @pytest.mark.parametrize("mode", [0o777, 0o775])
    def test_in_a_place_of_others(self, bundles: Bundles, made: Request, tmp_path: pathlib.Path, mode: int) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(mode)
        with pytest.raises(InvalidOption, match="can be changed by users other than root"):
            bundles.converge(made._replace(path=f"{tmp_path}/open/web"))
        assert os.listdir(tmp_path / "open") == []

    @pytest.mark.parametrize("what", ["files", "tar", "env_files", "authfile", "ca_cert_dir", "seccomp"])
    def test_of_what_is_of_others(self, bundles: Bundles, made: Request, tmp_path: pathlib.Path, what: str) -> None:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "thing").write_text("{}")
        os.chown(theirs / "thing", 4242, 0)
        path = str(theirs / "thing")
        options: dict[str, t.Any] = {what: path if what == "seccomp" else (path,)}
        wanted: Request | None = {
            "files": made._replace(rootfs=f"{theirs}/files"), "tar": made._replace(rootfs=path),
            "authfile": made._replace(authfile=path), "ca_cert_dir": made._replace(ca_cert_dir=path),
        }.get(what)  # fmt: skip
        wanted = wanted or made._replace(options=made.options._replace(**options))
        if what == "files":
            (theirs / "files").mkdir()
            os.chown(theirs, 4242, 0)
        with pytest.raises(InvalidOption, match="can be changed by users other than root"):
            bundles.converge(wanted)
        assert not os.path.exists(made.path)

    def test_somebody_was_faster(self, tmp_path: pathlib.Path) -> None:
        """What another user has put into the directory before it was closed."""
        os.chown(tmp_path, 4242, 0)
        (tmp_path / "planted").touch()
        with pytest.raises(Conflict, match="Another user also works in"):
            tools.take_over(str(tmp_path), -1, 0o700)

    @pytest.mark.parametrize(("group", "fine"), [(1, True), (100, False)])
    def test_a_private_group_is_nobody_else(self, group: int, fine: bool) -> None:
        """A bundle of an earlier version, made with a umask of 002."""
        path = tempfile.mkdtemp(prefix="longshore-take-over-")
        try:
            pathlib.Path(path, "config.json").touch()
            os.chmod(path, 0o775)
            os.chown(path, 1, group)  # daemon has a group of its own.
            os.seteuid(1)
            with contextlib.nullcontext() if fine else pytest.raises(Conflict, match="Another user also works in"):
                tools.take_over(path, -1, 0o700)
        finally:
            os.seteuid(0)
            shutil.rmtree(path)


@pytest.mark.parametrize(
    ("workdir", "chdir", "refused"),
    [
        ("/app", None, True), ("/app", "/", False), ("/", "/app", True), ("", "/app", True), ("/circle", None, True), ("", "/circle/x", True),
        ("", "/proc/self", False), ("/srv", None, False), ("/missing", None, False), ("", None, False),
    ],
)  # fmt: skip
def test_no_link_of_an_image_leads_the_working_directory_away(
    tmp_path: pathlib.Path, workdir: str, chdir: str | None, refused: bool
) -> None:
    """Also where the task names the directory: it cannot know what the image has there."""
    for name, target in (("app", "/proc/self/fd/7"), ("circle", "circle")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "srv").mkdir()
    image, options = ImageConfig(workdir=workdir), Options(chdir=chdir)
    with pytest.raises(InvalidOption, match="its working directory") if refused else contextlib.nullcontext():
        rootfs.check_places(str(tmp_path), image, options)


def test_a_directory_with_something_mounted_in_it_is_not_removed(tmp_path: pathlib.Path) -> None:
    """Also where the table of mounts has its path with octal numbers. Said before anything is removed."""
    path, bundles = tmp_path / "my bundle", Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    (path / "volumes").mkdir(parents=True)
    (path / "source").mkdir()
    (path / "longshore.json").write_text("{}")
    subprocess.run(["mount", "--bind", path / "source", path / "volumes"], check=True)
    try:
        with pytest.raises(Conflict, match="is mounted, so the bundle"):
            bundles.converge(Request(str(path), absent=True))
        assert sorted(os.listdir(path)) == ["longshore.json", "source", "volumes"]
    finally:
        subprocess.run(["umount", path / "volumes"], check=True)
    assert bundles.converge(Request(str(path), absent=True)).actions == (Action.REMOVE,)
    assert not path.exists()


@pytest.mark.parametrize("below", ["", ".upper", ".work"])
def test_no_root_file_system_is_removed_through_a_mount(tmp_path: pathlib.Path, below: str) -> None:
    """The overlay is unmounted, whatever is mounted over it; what else is mounted somewhere is a refusal."""
    root, precious = tmp_path / "rootfs-1", tmp_path / "precious"
    for path in (precious, root, tmp_path / "rootfs-1.upper/data", tmp_path / "rootfs-1.work", tmp_path / "lower"):
        path.mkdir(parents=True)
    (precious / "file").write_text("")
    rootfs.mount(str(tmp_path / "lower"), str(root), Deadline(30))
    try:
        (root / "of the overlay").write_text("")
        subprocess.run(["mount", "--bind", precious, root], check=True)
        rootfs.remove(str(root))
        assert sorted(os.listdir(tmp_path)) == ["lower", "precious"]
    finally:
        for _each in range(2):
            subprocess.run(["umount", "-q", "-l", root], check=False)
    place = tmp_path / f"rootfs-1{below}" / "deep/er"
    for path in (place, root):
        path.mkdir(parents=True, exist_ok=True)
    (root / "file").write_text("")
    subprocess.run(["mount", "--bind", precious, place], check=True)
    try:
        with pytest.raises(LongshoreError, match=f"something is mounted at {place}"):
            rootfs.remove(str(root))
        assert (root / "file").exists()
    finally:
        subprocess.run(["umount", place], check=True)
    assert os.listdir(precious) == ["file"]
