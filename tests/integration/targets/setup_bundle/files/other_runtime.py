# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime that is neither crun nor runc, for tests: one of those does the work, in a directory of its own, and this program
answers as another runtime does.

Beside it lies a file of the same name with ``.json`` at its end: ``real``, the path of crun or runc; ``version``, the answer to
``--version``; and ``state``, how it answers ``state``: ``youki`` or ``hang``, ``garbage``, ``huge``, ``endless``, ``other``,
``fail``, or a status that is told whatever is true.

With ``kind`` ``youki`` (libcontainer/src/container of youki 0.5) a container has ``state.json`` and ``youki_config.json`` in the
state directory, and nothing that tells from outside whether it was started; with ``runsc`` (runsc/container of gVisor) a file
``ID_sandbox:ID.state`` in the root, and no directory.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
import typing as t

WITH_VALUE = (
    "--root",
    "--log",
    "--log-format",
    "--bundle",
    "--pid-file",
    "--console-socket",
    "--process",
    "--preserve-fds",
)


def main(argv: list[str]) -> int:
    with open(f"{argv[0]}.json", encoding="utf-8") as stream:
        self = json.load(stream)
    if "--version" in argv:
        print(self["version"])
        return 0
    words, options = _split(argv[1:])
    root = options.get("--root", "/run/other")
    real = [self["real"], *_with_root(argv[1:], f"{root}.real")]
    verb, name = words[0], words[1]
    path = f"{root}/{name}/state.json" if self["kind"] == "youki" else f"{root}/{name}_sandbox:{name}.state"
    if verb == "state":
        return _state(self, path, real, name)
    if verb != "create" and not os.path.exists(path):
        print(f"container {name} does not exist", file=sys.stderr)
        return 1
    if verb == "exec":
        os.execv(real[0], real)
    rc = subprocess.call(real)
    after = {"create": "created", "start": "running", "pause": "paused", "resume": "running"}
    if rc == 0 and verb == "delete":
        _forget(path)
    elif rc == 0 and verb in after:
        _save(self, path, name, after[verb], options)
    return rc


def _split(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    words, options, rest = [], {}, list(argv)
    while rest:
        word = rest.pop(0)
        if word in WITH_VALUE:
            options[word] = rest.pop(0)
        elif not word.startswith("-"):
            words.append(word)
    return words, options


def _with_root(argv: list[str], root: str) -> list[str]:
    os.makedirs(root, mode=0o700, exist_ok=True)
    at = argv.index("--root") + 1
    return [*argv[:at], root, *argv[at + 1 :]]


def _save(self: dict[str, t.Any], path: str, name: str, status: str, options: dict[str, str]) -> None:
    saved: dict[str, t.Any] = {
        "ociVersion": "1.2.0",
        "id": name,
        "annotations": {},
        "creator": os.geteuid(),
        "useSystemd": False,
    }
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            saved = json.load(stream)
    else:
        with open(options["--pid-file"], encoding="ascii") as stream:
            saved.update(pid=int(stream.read()), bundle=os.path.realpath(options.get("--bundle", ".")))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({**saved, "status": status}, stream)
    if self["kind"] == "youki":
        with open(f"{os.path.dirname(path)}/youki_config.json", "w", encoding="utf-8") as stream:
            json.dump({"cgroup_path": "/", "namespaces": None, "hooks": None}, stream)


def _forget(path: str) -> None:
    directory = os.path.dirname(path)
    for each in [path, *glob.glob(f"{glob.escape(directory)}/youki_config.json")]:
        os.unlink(each)
    if path.endswith(".json"):
        os.rmdir(directory)


def _state(self: dict[str, t.Any], path: str, real: list[str], name: str) -> int:
    how = self["state"]
    if how == "hang":
        time.sleep(600)
    elif how == "garbage":
        print("Segmentation fault, they say")
    elif how == "huge":
        print(json.dumps({"id": name, "status": "running", "annotations": {"a": "b" * (8 << 20)}}))
    elif how == "endless":
        while True:
            os.write(1, b" " * 65536)
    elif how == "fail":
        print("the state file is damaged", file=sys.stderr)
        return 1
    elif not os.path.exists(path):
        print(f"container {name} does not exist", file=sys.stderr)
        return 1
    else:
        with open(path, encoding="utf-8") as stream:
            saved = json.load(stream)
        if how == "other":
            saved["id"] = "another"
        elif how != self["kind"]:
            saved["status"] = how
        elif not _lives(saved["pid"]):
            saved["status"] = "stopped"
        print(json.dumps(saved, indent=2))
    return 0


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv))
