# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write how the script of a service gives its container the numbers that devices have at this start.

The script has no parser for JSON. So it replaces the texts of devices in the saved config, which are known, by sed.
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t

from .._config.config import Config
from .._runtime.device_numbers import NOTHING, Numbers, numbers_of, sources
from .._state.store import Paths

# Arguments: the device, b or c, and its numbers if it may be missing.
_SCRIPT = """\
device() {
        [ -"$2" "$1" ] && found=$(stat -L -c '0x%t 0x%T' "$1") || found=${3-}
        [ "$found" ] || { echo "There is no device $1 (type $2)." >&2; exit 1; }
        set -- $found
        numbers="\\"major\\": $(($1)), \\"minor\\": $(($2))"
    }
    """
_BETWEEN = "\t"  # of the parts of a command of sed: no such text has one


def parts(config: Config, paths: Paths) -> dict[str, str]:
    """Return the part of the script that writes the config of a launch; none for a config in which no device has to be found."""
    named, linux = sources(config), config.get("linux") or {}
    looks: list[str] = []
    commands: list[str] = []
    variables: dict[Numbers, list[str]] = {}
    for device in linux.get("devices") or []:
        if device.get("path") in named and _split(device):
            variable = f"numbers{len(looks)}"
            kind = "b" if device["type"] == "b" else "c"
            path, optional = named[device["path"]]
            missing = " '{} {}'".format(*NOTHING) if optional else ""
            looks.append(f"device {shlex.quote(path)} {kind}{missing}; {variable}=$numbers")
            variables.setdefault(numbers_of(device), []).append(variable)
            commands.append(_command(json.dumps(device), _with(device, variable)))
    if not looks:
        return {}
    old = (linux.get("resources") or {}).get("devices") or []
    new: list[list[str]] = []
    for rule in old:
        known = variables.get(numbers_of(rule), []) if _split(rule) else []
        new += [_with(rule, variable) for variable in known] or [[json.dumps(rule)]]
    if old:
        words = [word for rule in new for word in (", ", *rule)][1:]
        commands.append(_command(f'"devices": {json.dumps(old)}', ['"devices": [', *words, "]"]))
    script = " ".join(f"-e {command}" for command in commands)
    lines = [
        *looks,
        f"(umask 077 && sed {script} {shlex.quote(paths.config)} >{shlex.quote(f'{paths.bundle}/config.json')}) || exit",
    ]
    return {"config_file": _SCRIPT + "\n    ".join(lines)}


def _split(device: t.Mapping[str, t.Any]) -> list[str]:
    """Return the texts before and after the numbers; nothing for an object that oci_bundle has not written so."""
    parts = json.dumps(device).split(json.dumps({name: device.get(name) for name in ("major", "minor")})[1:-1])
    return parts if len(parts) == 2 else []


def _with(device: t.Mapping[str, t.Any], variable: str) -> list[str]:
    """Return the texts of a device or rule around a variable of the script; odd ones are variables."""
    before, after = _split(device)
    return [before, f"${variable}", after]


def _command(old: str, new: t.Sequence[str]) -> str:
    """Return a command of sed, as a word of the script. A new text that begins with a dollar is a variable."""
    words = ["s" + _BETWEEN + re.sub(r"([\\.\[*^$])", r"\\\1", old) + _BETWEEN]
    words += [word if word.startswith("$") else re.sub(r"([\\&])", r"\\\1", word) for word in new]
    return "".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in [*words, _BETWEEN])
