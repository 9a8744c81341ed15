# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Copies of the checkout, and an environment, in which the tools of Ansible work."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from . import interpreters

NAMESPACE, NAME = "longshore", "oci"
# Settings that would change what the tools do, depending on who starts them.
_NOT_INHERITED = ("ANSIBLE_", "GIT_", "MYPY", "PYENV_", "PYTEST_", "PYTHON", "RUFF_", "VIRTUAL_ENV", "XDG_")

_ROOM = 512 << 20  # bytes


class Workspace:
    """A temporary directory that holds one copy of the checkout for each caller of tree().

    A ``quick`` one is for tests that start no program: it is in memory where there is room, and has neither the Pythons of this
    machine nor a repository.
    """

    def __init__(self, checkout: str, cache: str, *, quick: bool = False) -> None:
        self.checkout = checkout
        self.quick = quick
        self.cache = cache
        # The tools get a home of their own: their caches last from run to run, and no setting of the user changes
        # the outcome.
        self.home = os.path.join(cache, "home")
        self.python_version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.directory = ""
        self._path: list[str] = []
        self._trees = itertools.count(1)

    def __enter__(self) -> Workspace:
        self.directory = tempfile.mkdtemp(prefix="longshore-test-", dir=_memory() if self.quick else None)
        os.makedirs(self.home, exist_ok=True)
        self._path = [os.environ["PATH"]] if self.quick else self._make_path()
        return self

    def __exit__(self, *_: object) -> None:
        # Not shutil: a test that failed may have left directories deeper than Python can recurse.
        subprocess.run(["rm", "-rf", "--one-file-system", "--", self.directory], check=False)

    def tree(self, *, leave_out: Sequence[str] = ()) -> str:
        """Copies the files of the checkout, committed or not, to where ansible-test wants a collection to be.

        It has to lie in ansible_collections/NAMESPACE/NAME, and a symbolic link there is not enough. The copy is a
        repository because ansible-test asks git for the names of the files.
        """
        collections = os.path.join(self.directory, str(next(self._trees)))
        destination = os.path.join(collections, "ansible_collections", NAMESPACE, NAME)
        os.makedirs(destination)
        for path in self._files():
            source = os.path.join(self.checkout, path)
            # A file that is deleted and not yet committed is still listed.
            if path.startswith(tuple(leave_out)) or not os.path.lexists(source):
                continue
            target = os.path.join(destination, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
        for command in () if self.quick else (["git", "init", "--quiet"], ["git", "add", "--all"]):
            subprocess.run(command, cwd=destination, env=self.environment(destination), check=True)
        return destination

    def environment(self, tree: str) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        collections = collections_path(tree)
        env.update(
            ANSIBLE_COLLECTIONS_PATH=collections,
            ANSIBLE_NOCOLOR="1",
            HOME=self.home,
            LC_ALL="C.UTF-8",
            PATH=os.pathsep.join([os.path.dirname(sys.executable), *self._path]),
            PYTHONDONTWRITEBYTECODE="1",
            PYTHONPATH=collections,
            RUFF_CACHE_DIR=os.path.join(self.cache, "ruff"),
        )
        return env

    def _make_path(self) -> list[str]:
        """PATH without the directories whose Pythons do not run, behind one directory with all Pythons that do."""
        links = os.path.join(self.directory, "pythons")
        os.mkdir(links)
        for version, path in interpreters.working().items():
            os.symlink(path, os.path.join(links, f"python{version}"))
        return [links, *interpreters.without_broken(os.environ["PATH"].split(os.pathsep))]

    def _files(self) -> list[str]:
        # safe.directory: in continuous integration the checkout often belongs to another user.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        listed = subprocess.run(command, cwd=self.checkout, env=env, stdout=subprocess.PIPE, text=True, check=True)
        return sorted(set(listed.stdout.split("\0")) - {""})


def _memory() -> str | None:
    """A file system in memory, if it has room for a copy and for what tests write. There a new file takes a tenth of the time."""
    path = "/dev/shm"
    if not os.path.ismount(path) or not os.access(path, os.W_OK | os.X_OK):
        return None
    return path if shutil.disk_usage(path).free > _ROOM else None


def collections_path(tree: str) -> str:
    """The directory above ansible_collections."""
    return os.path.dirname(os.path.dirname(os.path.dirname(tree)))
