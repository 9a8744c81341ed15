# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles, playbooks and scripts: nothing that another user may own has a say in what they run, and no name is known before."""

from __future__ import annotations

import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.tests.unit import yaml_text

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TASKS = sorted(
    os.path.relpath(path, COLLECTION)
    for pattern in ("roles/*/tasks/*.yml", "playbooks/*.yml", "playbooks/tasks/*.yml")
    for path in glob.glob(os.path.join(COLLECTION, pattern))
)
SCRIPTS = sorted(
    os.path.relpath(path, COLLECTION)
    for pattern in ("bin/*", "bin/lib/*", "roles/**/*", "playbooks/**/*", "tests/hosts/**/*", "benchmarks/**/*")
    for path in glob.glob(os.path.join(COLLECTION, pattern), recursive=True)
    if os.path.isfile(path) and "__pycache__" not in path
)


def _text(path: str) -> str:
    with open(os.path.join(COLLECTION, path), encoding="utf-8") as stream:
        return stream.read()


def _commands(value: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """The arguments of all tasks that run a program."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("ansible.builtin.command", "ansible.builtin.shell"):
                yield inner
            yield from _commands(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _commands(inner)


@pytest.mark.pure
@pytest.mark.parametrize("path", TASKS)
def test_a_program_starts_in_no_directory_of_another_user(path: str) -> None:
    for arguments in _commands(yaml_text.load(_text(path))):
        assert arguments.get("chdir") == "/", arguments


@pytest.mark.pure
@pytest.mark.parametrize("path", TASKS + [path for path in SCRIPTS if path.startswith("bin/")])
def test_python_is_started_isolated(path: str) -> None:
    """-I: without the directory it starts in, PYTHONPATH and what the user has installed alone."""
    text = _text(path)
    # As it stands in a shell script, in a list of YAML that is written as one text, or as one of several lines.
    starts = re.findall(r"(?:\bpython[\d.]*|\$2|\$path|\$python|executable)[^\w-]+(-\w+)", text)
    assert [option for option in starts if not option.startswith("-I")] == []


@pytest.mark.pure
@pytest.mark.parametrize("path", SCRIPTS)
def test_no_name_is_known_before_where_everybody_can_write(path: str) -> None:
    # These put something there, to see that nobody takes it, or look for what is left.
    text = "" if path.endswith(("scenarios/quickstart.yml", "scenarios/migrate.yml")) else _text(path)
    assert re.findall(r"(?:^|[\s\"'=:-])/(?:var/)?tmp/[^\s\"'*]+", text) == []


@pytest.mark.parametrize("name", ["ctypes", "json", "os", "importlib", "shutil", "struct", "sitecustomize"])
@pytest.mark.parametrize(
    "path", ["runtime/files/look_for_engine.py", "demo_bundle/files/look_for_root.py", "migrate/files/memory.py"]
)
def test_modules_of_the_directory_are_not_imported(tmp_path: pathlib.Path, name: str, path: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('of the directory')", encoding="ascii")
    argv = [sys.executable, "-I", "-c", _text(f"roles/{path}"), "/no-such-cgroup"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHOME": ""}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_relative_path_finds_no_program(tmp_path: pathlib.Path) -> None:
    """PATH with an empty entry, or ".", is the directory of the task."""
    for name in ("conmon-of-nobody", "runc"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    argv = [sys.executable, "-I", "-c", _text("roles/runtime/files/look_for_engine.py"), "conmon-of-nobody", "sh"]
    for entries in (":/usr/bin", ".:/usr/bin", f"{os.path.basename(tmp_path)}:/usr/bin", "/usr/bin::"):
        environment = {"PATH": entries}
        found = json.loads(subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout)
        assert found["conmon-of-nobody"] is None
        assert found["sh"].startswith("/")


def test_libraries_of_the_user_are_found_and_not_imported(tmp_path: pathlib.Path) -> None:
    """As the modules of Ansible find them. psutil may be there for all too."""
    argv = [sys.executable, "-I", "-c", "import site; print(site.getusersitepackages())"]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    own = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    os.makedirs(f"{own}/systemd")
    for name in ("__init__", "journal"):
        pathlib.Path(f"{own}/systemd/{name}.py").write_text("raise SystemExit('imported')", encoding="ascii")
    argv = [sys.executable, "-I", "-c", _text("roles/runtime/files/look_for_engine.py"), "systemd", "pyroute2"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["systemd"] == f"{own}/systemd/journal.py"


NOBODY = 65534
BASH = 'set -euo pipefail; root=$1; shift; . "$root/bin/lib/packages.sh"; . "$root/bin/lib/python.sh"; "$@"'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")


def _call(*words: object, env: t.Mapping[str, str], **options: t.Any) -> subprocess.CompletedProcess[str]:
    """A function of bin/lib/python.sh, in this environment."""
    argv = ["bash", "-c", BASH, "bash", COLLECTION, *map(str, words)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=300, **options)


@pytest.mark.parametrize(
    ("env", "below"),
    [
        ({"LONGSHORE_CACHE": "{0}/given"}, "given"),
        ({"LONGSHORE_CACHE": "{0}/given", "HOME": "/x", "XDG_CACHE_HOME": "/y"}, "given"),
        ({"XDG_CACHE_HOME": "{0}/xdg", "HOME": "/x"}, "xdg/longshore-oci"),
        # The specification says to leave a relative one out.
        ({"XDG_CACHE_HOME": "xdg", "HOME": "{0}"}, ".cache/longshore-oci"),
        ({"HOME": "{0}/home"}, "home/.cache/longshore-oci"),
    ],
)
def test_where_the_cache_is(tmp_path: pathlib.Path, env: dict[str, str], below: str) -> None:
    done = _call("cache_directory", sys.executable, env={name: text.format(tmp_path) for name, text in env.items()})
    assert (done.stdout, done.returncode) == (f"{tmp_path}/{below}\n", 0), done.stderr
    assert oct(os.stat(tmp_path / below).st_mode & 0o7777) == "0o700"


@needs_root
@pytest.mark.parametrize("env", [{}, {"HOME": ""}])
def test_without_home_it_is_that_of_the_account(env: dict[str, str]) -> None:
    done = _call("cache_directory", "/usr/bin/python3", env=env, user=NOBODY, group=NOBODY, cwd="/")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/nonexistent/.cache/longshore-oci cannot be used" in done.stderr


def test_a_home_that_is_no_path_is_none() -> None:
    done = _call("cache_directory", sys.executable, env={"HOME": "home"}, cwd="/")
    assert (done.returncode, "set LONGSHORE_CACHE" in done.stderr) == (1, True)


@needs_root
@pytest.mark.parametrize("program", ["quickstart", "test"])
@pytest.mark.parametrize("kind", ["directory", "link", "writable"])
def test_a_cache_that_another_user_has_made_is_refused(tmp_path: pathlib.Path, program: str, kind: str) -> None:
    """Before: a venv that was put there was taken as it was, and its programs were run."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    cache, victim = tmp_path / "tmp" / "cache", tmp_path / "victim"
    victim.write_text("of root", encoding="ascii")
    if kind == "link":
        (tmp_path / "mine").mkdir()
        cache.symlink_to(tmp_path / "mine")
        os.chown(cache, NOBODY, NOBODY, follow_symlinks=False)
    else:
        cache.mkdir()
        cache.chmod(0o777 if kind == "writable" else 0o755)
        if kind == "directory":
            os.chown(cache, NOBODY, NOBODY)
    environment = {"PATH": os.environ["PATH"], "LONGSHORE_CACHE": str(cache), "LONGSHORE_PYTHON": sys.executable}
    done = subprocess.run(
        [f"{COLLECTION}/bin/{program}", "lint"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"the cache directory {cache} cannot be used" in done.stderr
    assert list(cache.iterdir()) == []


@needs_root
def test_a_configuration_of_ansible_that_another_user_can_change_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n", encoding="ascii")
    os.chown(tmp_path, NOBODY, NOBODY)
    environment = {
        "PATH": os.environ["PATH"],
        "LONGSHORE_CACHE": str(tmp_path / "c"),
        "LONGSHORE_PYTHON": sys.executable,
    }
    argv = [f"{COLLECTION}/bin/quickstart"]
    done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "there is an ansible.cfg here" in done.stderr) == (1, True)


def test_help_needs_no_environment() -> None:
    for program in ("quickstart", "test", "hosts"):
        argv = ["env", "-i", "PATH=/usr/bin:/bin", f"{COLLECTION}/bin/{program}", "--help"]
        assert "usage:" in subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout


@needs_root
def test_hosts_of_another_user_are_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "hosts").mkdir()
    os.chown(tmp_path / "hosts", NOBODY, NOBODY)
    argv = [f"{COLLECTION}/bin/hosts", "--state-dir", str(tmp_path / "hosts"), "list"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "belongs to the user 65534" in done.stderr) == (1, True)


@pytest.mark.parametrize("program", ["hosts", "test", "quickstart"])
def test_modules_of_the_directory_do_not_start_with_a_script(tmp_path: pathlib.Path, program: str) -> None:
    for name in ("argparse", "json", "os", "runpy", "run", "sitecustomize", "ensurepip"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w')\n", encoding="ascii")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "LONGSHORE_CACHE": "/proc/none"}
    argv = [f"{COLLECTION}/bin/{program}", "--no-such-thing"]
    subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=60)
    assert not (tmp_path / "imported").exists()


LOCKS = ("requirements-quickstart", "requirements-test", "requirements-pip")


def _requirements(path: str) -> list[str]:
    """Each with its options, in one line."""
    lines = (line for line in _text(path).replace("\\\n", " ").splitlines())
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.pure
@pytest.mark.parametrize("name", LOCKS)
def test_locks_are_complete(name: str) -> None:
    locked = _requirements(f"bin/{name}-lock.txt")
    for line in locked:
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.]+(?: ;[^-]*?)?(?: +--hash=sha256:[0-9a-f]{64})+", line), line
    pins = {line.split(" ")[0] for line in locked}
    for line in _requirements(f"bin/{name}.txt"):
        assert line.partition(";")[0].strip() in pins


def test_pip_takes_nothing_that_is_not_locked(tmp_path: pathlib.Path) -> None:
    """A lock with another hash: nothing is installed. The environment is that of a first run."""
    lock = tmp_path / "lock.txt"
    lock.write_text("pip==24.2 --hash=sha256:" + "0" * 64 + "\n", encoding="ascii")
    done = _call("make_environment", sys.executable, tmp_path, lock, env={"PIP_NO_INDEX": "1", "HOME": str(tmp_path)})
    assert done.returncode == 1
    assert not list(tmp_path.glob("venv-*/.complete"))


@pytest.mark.pure
@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(COLLECTION, ".github", "workflows", "*.yml"))))
def test_an_action_of_the_forge_is_named_by_its_commit(path: str) -> None:
    """A tag can be moved by its author. The comment tells its version."""
    uses = re.findall(r"^.*\buses:.*$", _text(path), re.MULTILINE)
    assert uses
    assert [line for line in uses if not re.search(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d[\d.]*$", line)] == []
