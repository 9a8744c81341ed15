# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Lets ansible-test install its requirements from the package index that pip is set up for.

ansible-test fetches a pip bootstrap script from its own CI host, which an offline or mirrored site cannot reach. It
looks into its cache first: the stand-in that is put there uses a pip wheel from the configured package index. ansible-test
also hides the environment from pip, so that the settings have to be in a file.
"""

from __future__ import annotations

import ast
import glob
import importlib.util
import os
import re
import subprocess
import sys

from . import processes

_STAND_IN = '''\
"""Does what get-pip.py does, with the wheel that lies beside it."""

import glob
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, glob.glob(os.path.join(here, "pip-{version}-*.whl"))[0])

from pip._internal.cli.main import main

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--find-links", here] + arguments))
'''


def prepare(home: str, env: dict[str, str], lock: str) -> None:
    """``lock``: the file with the hashes of that pip."""
    _write_pip_settings(home)
    version = _pip_version()
    cache = os.path.join(home, ".ansible", "test", "cache")
    stand_in = os.path.join(cache, f"get_pip_{version.replace('.', '_')}.py")
    if os.path.exists(stand_in) and glob.glob(os.path.join(cache, f"pip-{version}-*.whl")):
        return
    os.makedirs(cache, exist_ok=True)
    command = [
        sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", cache,
        "--require-hashes", "--only-binary", ":all:", "--requirement", lock,
    ]  # fmt: skip
    outcome = processes.run(command, cwd=cache, env=env)
    if outcome.status != 0:
        raise RuntimeError(f"pip {version} cannot be downloaded:\n{outcome.output}")
    if not glob.glob(os.path.join(cache, f"pip-{version}-*.whl")):
        raise RuntimeError(f"ansible-test wants pip {version}, and {lock} has another one")
    with open(stand_in, "w", encoding="utf-8") as file:
        file.write(_STAND_IN.format(version=version))


def _pip_version() -> str:
    """The version that this ansible-test wants. It says so nowhere but in its source."""
    package = importlib.util.find_spec("ansible_test")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("ansible-test is not installed")
    source = os.path.join(package.submodule_search_locations[0], "_internal", "python_requirements.py")
    with open(source, encoding="utf-8") as file:
        found = re.search(r"^ +pip='([0-9.]+)',$", file.read(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"no version of pip in {source}")
    return found[1]


def _write_pip_settings(home: str) -> None:
    """Copies the settings of pip, wherever they come from, to where pip finds them in the home of the tests."""
    listed = subprocess.run(
        [sys.executable, "-I", "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    sections: dict[str, dict[str, str]] = {}
    for line in listed.splitlines():
        # Like global.timeout='60'. The environment is in the section :env:, and comes last: it wins.
        found = re.match(r"(?P<section>[^.]+)\.(?P<key>[^=]+)=(?P<value>.*)$", line)
        if found and not found["key"].endswith("config-file"):
            section = "global" if found["section"] == ":env:" else found["section"]
            # A value of several lines is continued by indenting it.
            value = str(ast.literal_eval(found["value"])).replace("\n", "\n    ")
            sections.setdefault(section, {})[found["key"]] = value
    path = os.path.join(home, ".config", "pip", "pip.conf")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in sections.items())
    # The address of an index may hold a password.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
