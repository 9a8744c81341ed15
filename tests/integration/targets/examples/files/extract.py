# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tasks in the EXAMPLES of all modules to a file, and say as JSON how many they are and which bundles they use.

Arguments: the directory of the modules, the file, a directory to put in the place of /srv, a prefix for all names, and
modules to leave out.
So the examples may name what they like, and nothing of a host's own is touched.
"""

from __future__ import annotations

import ast
import glob
import json
import os
import sys
import typing as t

import yaml  # type: ignore[import-untyped]


def examples(path: str) -> list[dict[str, t.Any]]:
    with open(path, encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES":
            tasks = yaml.safe_load(ast.literal_eval(node.value))
            return list(tasks)
    raise SystemExit(f"{path} has no EXAMPLES")


def names(tasks: list[dict[str, t.Any]]) -> set[str]:
    """What the examples call their containers: the option name, or what it loops over."""
    found: set[str] = set()
    for task in tasks:
        for module, options in task.items():
            if module.startswith("longshore.oci.") and isinstance(options, dict):
                named = options.get("name", [])
                found.update(named if isinstance(named, list) else [named])
                found.update([options["new_name"]] if "new_name" in options else [])
                found.update(word for word in task.get("loop", []) if isinstance(word, str) and "/" not in word)
    return {name for name in found if "{{" not in name}


def replace(value: t.Any, called: set[str], directory: str, prefix: str) -> t.Any:
    if isinstance(value, dict):
        return {key: replace(item, called, directory, prefix) for key, item in value.items()}
    if isinstance(value, list):
        return [replace(item, called, directory, prefix) for item in value]
    if value in called:
        return f"{prefix}-{value}"
    if not isinstance(value, str):
        return value
    for name in called:
        value = value.replace(f"container:{name}", f"container:{prefix}-{name}")
        value = value.replace(f"/run/netns/{name}", f"/run/netns/{prefix}-{name}")
    # The images of the examples are in a layout here, for there is no such registry.
    return value.replace("docker://registry.example.com/", f"oci:{directory}/images/").replace("/srv/", f"{directory}/")


def main() -> None:
    modules, output, directory, prefix, *without = sys.argv[1:]
    # Sorted, so a module comes before its _info.
    paths = [path for path in sorted(glob.glob(f"{modules}/*.py")) if os.path.basename(path)[:-3] not in without]
    tasks = [task for path in paths for task in examples(path)]
    called = names(tasks)
    # Only in the options of modules and in loops: what a task calls its result is no container's name.
    used = [
        {
            key: replace(value, called, directory, prefix) if isinstance(value, (dict, list)) else value
            for key, value in task.items()
        }
        for task in tasks
    ]
    options = [value for task in used for value in task.values() if isinstance(value, dict)]
    # Those that no example makes itself.
    made = {task["longshore.oci.oci_bundle"]["path"] for task in used if "longshore.oci.oci_bundle" in task}
    bundles = {value["bundle"] for value in options if "bundle" in value} - made
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(used, stream)
    print(json.dumps({"tasks": len(used), "bundles": [os.path.basename(path) for path in sorted(bundles)]}))


if __name__ == "__main__":
    main()
