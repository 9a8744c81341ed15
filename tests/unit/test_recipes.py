# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of CONTRIBUTING.md: each place that has to know a new option or module, and that no other test would miss."""

from __future__ import annotations

import glob
import importlib
import os
import re
import typing as t

import pytest
import yaml  # type: ignore[import-untyped]

from ansible_collections.longshore.oci.plugins.module_utils._module import container

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
    documentation = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{name}").DOCUMENTATION)
    options = dict(documentation.get("options") or {})
    for fragment in documentation["extends_documentation_fragment"]:
        file, _dot, part = fragment.removeprefix("longshore.oci.").partition(".")
        texts = importlib.import_module(f"{PLUGINS}.doc_fragments.{file}").ModuleDocFragment
        options.update(yaml.safe_load(getattr(texts, part.upper() or "DOCUMENTATION")).get("options") or {})
    return options


@pytest.mark.parametrize("name", MODULES)
def test_documentation_has_the_options_of_the_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, documented = _taken(name, monkeypatch), _documented(name)
    assert sorted(taken) == sorted(documented)
    for option, spec in taken.items():
        assert spec.get("type", "str") == documented[option].get("type", "str"), option
        assert spec.get("choices") == documented[option].get("choices"), option


def test_the_role_migrate_knows_every_launch_option() -> None:
    specs = yaml.safe_load(_text("roles/migrate/meta/argument_specs.yml"))["argument_specs"]["main"]["options"]
    known = set(specs["migrate_launch"]["options"])
    assert known | set(NOT_MIGRATED) == set(container.DEFINITION_ARGUMENTS)
    assert known & set(NOT_MIGRATED) == set()
    for file in ("through_controller", "stream"):
        passed = set(re.findall(r"(\w+): \"\{\{ migrate_launch\.\1 ", _text(f"roles/migrate/tasks/{file}.yml")))
        assert passed == known, file


def test_the_action_group_has_all_modules() -> None:
    assert sorted(yaml.safe_load(_text("meta/runtime.yml"))["action_groups"]["oci"]) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_in_the_readme_and_in_an_integration_target(name: str) -> None:
    assert f"| module `{name}` |" in _text("README.md")
    tasks = glob.glob(os.path.join(COLLECTION, "tests/integration/targets/**/*.yml"), recursive=True)
    assert any(re.search(rf"^\s*(?:- )?longshore\.oci\.{name}:", _text(path), re.MULTILINE) for path in tasks)
