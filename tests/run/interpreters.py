# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Finds the Pythons of this machine.

ansible-test compiles and imports the modules with every Python that it finds in PATH, and gives up when one of them
does not run. The shims of pyenv are like that: there is one for each installed version, and those of the versions that
are not active only print an error.
"""

from __future__ import annotations

import functools
import glob
import os
import subprocess
from collections.abc import Iterable

# The versions that ansible-core knows as a target. It does not look for others.
_VERSIONS = tuple(f"3.{minor}" for minor in range(8, 16))
# Those that the collection supports on a target, see tests/config.yml.
_SUPPORTED = _VERSIONS[1:]


def working() -> dict[str, str]:
    """The path of one interpreter for each supported version that is there."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = {}
    for version in _SUPPORTED:
        candidates = [os.path.join(directory, f"python{version}") for directory in os.environ["PATH"].split(os.pathsep)]
        candidates += sorted(glob.glob(os.path.join(pyenv, "versions", f"{version}.*", "bin", f"python{version}")))
        for candidate in candidates:
            path = _executable(candidate)
            if path:
                found[version] = path
                break
    return found


def without_broken(directories: Iterable[str]) -> list[str]:
    return [directory for directory in directories if directory and not _has_broken_python(directory)]


def _has_broken_python(directory: str) -> bool:
    candidates = (os.path.join(directory, f"python{version}") for version in _VERSIONS)
    return any(os.path.exists(candidate) and not _executable(candidate) for candidate in candidates)


@functools.cache
def _executable(candidate: str) -> str | None:
    """The interpreter that a command really starts."""
    if not os.access(candidate, os.X_OK):
        return None
    # -I: neither the environment nor the directory has a say.
    command = [candidate, "-I", "-c", "import sys; print(sys.executable)"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None
