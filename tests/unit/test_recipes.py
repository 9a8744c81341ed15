# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of CONTRIBUTING.md: each place that has to know a new option or module, and that no other test would miss.

The page itself is true: the files, tests and names in its tables exist.
"""

from __future__ import annotations

import configparser
import enum
import glob
import importlib
import json
import os
import re
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import typed_documents
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import restore
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoint_store import Stored
from ansible_collections.longshore.oci.plugins.module_utils._module import container
from ansible_collections.longshore.oci.plugins.module_utils._runtime import drivers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CHOICES, Action, Definition, Status
from ansible_collections.longshore.oci.tests.unit import yaml_text

pytestmark = pytest.mark.pure

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLUGINS = "ansible_collections.longshore.oci.plugins"
MODULES = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(COLLECTION, "plugins/modules/*.py")))
# What the role migrate does not pass to the restore on the other host, and why.
NOT_MIGRATED = {
    "bundle": "the role makes it of migrate_bundle",
    "runtime": "the archive names it", "runtime_root": "of the other host", "conmon": "of the other host",
    "cgroup_manager": "of the other host",
    "log_size_max": "in the archive", "stdin": "in the archive", "sdnotify": "in the archive",
    "no_pivot": "a root file system on a ramdisk is not moved", "no_new_keyring": "kept by CRIU",
    "conmon_pidfile": "of another service manager", "listen": "CRIU cannot dump such sockets",
}  # fmt: skip
# What is lost when a container goes to another host by an archive, without a warning, and why.
NOT_ARCHIVED = {
    "runtime": "the archive names the program itself", "runtime_root": "of the other host", "conmon": "of the other host",
    "cgroup_manager": "of the other host", "no_pivot": "of the root file system of the other host", "no_new_keyring": "kept by CRIU",
    "exit_delay": "goes with exit_command, of which the task is told", "service": "a restored container is none",
    "restart_policy": "of a service", "network_helper": "such a container cannot be dumped",
}  # fmt: skip
# For each field of a definition a value that is not the default, as an archive has it.
ARCHIVED: dict[str, t.Any] = {
    "runtime": "runc", "cgroup_manager": "systemd", "log_driver": "journald", "log_size_max": 7, "exit_delay": 7, "sdnotify": "conmon",
    "restart_policy": "always", "network_helper": "pasta", "conmon_env": {"A": "1"},
}  # fmt: skip
# Of the fields that have one: all but the bundle.
DEFAULTS = {name: value for name, value in Definition("/srv/web")._asdict().items() if name != "bundle"}


class _Taken(Exception):
    """Raised in place of the run of a module."""


def _text(path: str) -> str:
    with open(os.path.join(COLLECTION, path), encoding="utf-8") as stream:
        return stream.read()


def _taken(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Return the argument spec that a module gives to AnsibleModule."""
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    given: dict[str, t.Any] = {}

    def take(argument_spec: dict[str, t.Any], **_others: t.Any) -> t.NoReturn:
        given.update(argument_spec)
        raise _Taken

    monkeypatch.setattr(module, "AnsibleModule", take)
    with pytest.raises(_Taken):
        module.main()
    return given


def _documented(name: str) -> dict[str, t.Any]:
    """Return the documented options of a module, with those of its fragments."""
    documentation = yaml_text.load(importlib.import_module(f"{PLUGINS}.modules.{name}").DOCUMENTATION)
    options = dict(documentation.get("options") or {})
    for fragment in documentation["extends_documentation_fragment"]:
        file, _dot, part = fragment.removeprefix("longshore.oci.").partition(".")
        texts = importlib.import_module(f"{PLUGINS}.doc_fragments.{file}").ModuleDocFragment
        options.update(yaml_text.load(getattr(texts, part.upper() or "DOCUMENTATION")).get("options") or {})
    return options


@pytest.mark.parametrize("name", MODULES)
def test_documentation_has_the_options_of_the_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, documented = _taken(name, monkeypatch), _documented(name)
    assert sorted(taken) == sorted(documented)
    for option, spec in taken.items():
        assert spec.get("type", "str") == documented[option].get("type", "str"), option
        assert spec.get("choices") == documented[option].get("choices"), option


def test_each_enum_of_a_definition_is_read_from_a_record() -> None:
    assert {name for name, value in DEFAULTS.items() if isinstance(value, enum.Enum)} == set(CHOICES)


def test_the_role_migrate_knows_every_launch_option() -> None:
    specs = yaml_text.load(_text("roles/migrate/meta/argument_specs.yml"))["argument_specs"]["main"]["options"]
    known = set(specs["migrate_launch"]["options"])
    assert known | set(NOT_MIGRATED) == set(container.DEFINITION_ARGUMENTS)
    assert known & set(NOT_MIGRATED) == set()
    for file in ("through_controller", "stream"):
        passed = set(re.findall(r"(\w+): \"\{\{ migrate_launch\.\1 ", _text(f"roles/migrate/tasks/{file}.yml")))
        assert passed == known, file


def test_the_action_group_has_all_modules() -> None:
    assert sorted(yaml_text.load(_text("meta/runtime.yml"))["action_groups"]["oci"]) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_in_the_readme_and_in_an_integration_target(name: str) -> None:
    assert f"| module `{name}` |" in _text("README.md")
    tasks = glob.glob(os.path.join(COLLECTION, "tests/integration/targets/**/*.yml"), recursive=True)
    assert any(re.search(rf"^\s*(?:- )?longshore\.oci\.{name}:", _text(path), re.MULTILINE) for path in tasks)


def _from_archive(name: str) -> tuple[Definition, list[str]]:
    """Return what a restore from an archive takes over of a definition with this one option, and of what it warns."""
    other = {bool: True, tuple: ["a"]}.get(type(DEFAULTS[name]), "/theirs")
    text = json.dumps(
        {"format": 1, "name": "web", "definition": {"bundle": "/srv/web", name: ARCHIVED.get(name, other)}}
    )
    manifest = typed_documents.manifest(text.encode(), typed_documents.damaged_archive("/x.tar"))
    source = Stored("", manifest._replace(from_archive=True), {})
    wanted = restore.Wanted(overrides={"bundle": "/srv/web"})
    return restore.definition_of(wanted, source, None), restore.left_out(source, wanted)


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_archive_keeps_an_option_or_tells_that_it_does_not(name: str) -> None:
    definition, warnings = _from_archive(name)
    is_kept = getattr(definition, name) != DEFAULTS[name]
    is_told = any(re.search(rf"\b{name}\b", warning) for warning in warnings)
    assert [is_kept, is_told, name in NOT_ARCHIVED].count(True) == 1


@pytest.mark.parametrize("name", drivers.DRIVERS)
def test_each_runtime_is_documented(name: str) -> None:
    assert f"C({name})" in " ".join(_documented("oci_container")["runtime"]["description"])


def test_each_status_and_action_is_documented() -> None:
    returned = yaml_text.load(importlib.import_module(f"{PLUGINS}.modules.oci_container").RETURN)
    status = " ".join(returned["container"]["contains"]["status"]["description"])
    assert {each.value for each in Status} == set(re.findall(r"V\((\w+)\)", status))
    actions = " ".join(returned["actions"]["description"])
    assert {each.value for each in Action} == set(re.findall(r"V\((\w+)\)", actions))


def test_each_package_is_checked_strictly() -> None:
    """But the one that knows Ansible, which has no types."""
    parser = configparser.ConfigParser()
    parser.read_string(_text("mypy.ini"))
    strict = [names for names in parser.sections() if parser[names].get("disallow_untyped_defs")]
    folders = {path.split(os.sep)[-2] for path in glob.glob(os.path.join(COLLECTION, "plugins/module_utils/*/*.py"))}
    assert set(re.findall(r"module_utils\.(\w+)\.\*", ",".join(strict))) == folders - {"_module"}


# The tables of CONTRIBUTING.md: (recipe and step, cells).
ROWS = [
    (f"{recipe} {cells[0].split('.')[0]}", cells)
    for part in _text("CONTRIBUTING.md").split("\n### ")[1:]
    for recipe in [part.splitlines()[0]]
    for cells in [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d.*\|$", part, re.MULTILINE)
    ]
]
UNIT = "tests/unit/plugins/module_utils"


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _named(cell: str) -> list[str]:
    """Return the files and directories that a cell names."""
    return [
        name for name in _quoted(cell) if " " not in name and ("/" in name or re.search(r"\.(py|md|ini|yml)$", name))
    ]


def _found(name: str) -> list[str]:
    """Return what a path of the page stands for. In capitals stands a name that the contributor chooses."""
    pattern = re.sub(r"(?<![A-Z])(NAME|VERSION|PACKAGE|FILE)(?![A-Z])", "*", name)
    below = UNIT if os.path.basename(name).startswith("test_") else "plugins/module_utils"
    top = f"{below}/{pattern}" if name.startswith(("_", "PACKAGE")) else pattern
    return glob.glob(os.path.join(COLLECTION, top))


def _texts(cell: str) -> str:
    paths = [path for name in _named(cell) for path in _found(name) if os.path.isfile(path)]
    return "\n".join(_text(path) for path in paths)


def test_the_page_has_its_recipes() -> None:
    recipes = [name.rpartition(" ")[0] for name, _cells in ROWS]
    assert {name: recipes.count(name) >= 7 for name in recipes} == dict.fromkeys(recipes, True)
    assert len(set(recipes)) == 5
    assert {len(cells) for _name, cells in ROWS} == {3}


@pytest.mark.parametrize(("name", "cells"), ROWS, ids=[name for name, _cells in ROWS])
class TestRow:
    def test_its_files_exist(self, name: str, cells: list[str]) -> None:
        assert [path for cell in cells for path in _named(cell) if not _found(path)] == []

    def test_its_names_are_in_these_files(self, name: str, cells: list[str]) -> None:
        """``DEFINITION_ARGUMENTS``, ``Definition``: what the step changes."""
        names = [word for word in _quoted(cells[0]) if re.fullmatch(r"_?[A-Z]\w+", word)]
        text = _texts(cells[1]) or _texts(cells[2])
        assert [word for word in names if not re.search(rf"\b{word}\b", text)] == []

    def test_its_tests_exist(self, name: str, cells: list[str]) -> None:
        """Each test is in the file that is named before it."""
        known = ""
        for word in _quoted(cells[2]):
            if _named(f"`{word}`"):
                known = _texts(f"`{word}`")
            elif word.startswith("test_"):
                assert f"def {word}(" in known, word

    def test_it_names_a_test_or_says_that_there_is_none(self, name: str, cells: list[str]) -> None:
        assert re.search(r"`(\S*test_\w+|bin/test [^`]+)|no test|the new rows", cells[2])

    def test_its_commands_exist(self, name: str, cells: list[str]) -> None:
        for word in _quoted(cells[2]):
            if word.startswith("bin/test lint"):
                assert f'"{word.split()[2]}"' in _text("tests/run/lint.py"), word


def test_the_other_paths_of_the_page_exist() -> None:
    text = re.sub(r"^```.*?^```|^\|.*?$", "", _text("CONTRIBUTING.md"), flags=re.MULTILINE | re.DOTALL)
    paths = [name for name in _named(text) if "NUMBER" not in name]
    assert len(paths) > 10
    assert [name for name in paths if not _found(name)] == []
