# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the test of a file is: ``plugins/module_utils/FOLDER/FILE.py`` has ``tests/unit/plugins/module_utils/FOLDER/test_FILE.py``.

A test file of one topic is called ``test_FILE_TOPIC.py``. No test reaches into the private part of a file.
"""

from __future__ import annotations

import ast
import functools
import glob
import os
import re

import pytest

pytestmark = pytest.mark.pure

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UTILS = "plugins/module_utils"

# A file without a test of its name: which test covers it, and why it is another one. An entry that is no longer needed fails.
COVERED_ELSEWHERE: dict[str, tuple[str, str]] = {
    "_bundle_spec/options": ("unit/plugins/module_utils/_bundle_spec/test_spec.py", "values without behaviour"),
    "_exec/request": ("unit/plugins/module_utils/_exec/test_plan.py", "values without behaviour"),
    "_exec/session_status": ("unit/plugins/module_utils/_exec/test_session_store.py", "values without behaviour"),
    "_network_spec/record": ("unit/plugins/module_utils/_network_spec/test_plan.py", "values without behaviour"),
    "_network_spec/operations": ("unit/plugins/module_utils/_network_spec/test_plan.py", "values without behaviour"),
    "_container/owner": ("unit/plugins/module_utils/_lifecycle/test_owner_conmon.py", "a Protocol or a type"),
    "_lifecycle/decider": ("unit/plugins/module_utils/_lifecycle/test_containers.py", "a Protocol or a type"),
    "_runtime/driver": ("unit/plugins/module_utils/_runtime/test_drivers.py", "a Protocol or a type"),
    "_runtime/criu_support": ("unit/plugins/module_utils/_runtime/test_criu.py", "a Protocol or a type"),
    "_runtime/runtime_crun": ("unit/plugins/module_utils/_runtime/test_drivers.py", "declarations of one runtime"),
    "_runtime/runtime_runc": ("unit/plugins/module_utils/_runtime/test_drivers.py", "declarations of one runtime"),
    "_runtime/criu_crun": ("unit/plugins/module_utils/_runtime/test_criu.py", "declarations of one runtime"),
    "_runtime/criu_runc": ("unit/plugins/module_utils/_runtime/test_criu.py", "declarations of one runtime"),
    "_module/secret_values": ("unit/plugins/module_utils/_module/test_secrets.py", "its only user is tested with it"),
    "_runtime/criu_log": ("unit/plugins/module_utils/_runtime/test_criu.py", "its only user is tested with it"),
    "_config/config_differences": (
        "unit/plugins/module_utils/_config/test_config.py",
        "its only user is tested with it",
    ),
    "_module/definition": ("unit/plugins/module_utils/_module/test_container.py", "its only user is tested with it"),
    "_lifecycle/changes": ("unit/plugins/module_utils/_lifecycle/test_plan.py", "its only user is tested with it"),
    "_lifecycle/plan_warnings": (
        "unit/plugins/module_utils/_lifecycle/test_plan.py",
        "its only user is tested with it",
    ),
    "_network_spec/differences": (
        "unit/plugins/module_utils/_network_spec/test_plan.py",
        "its only user is tested with it",
    ),
    "_network_spec/sysctls": (
        "unit/plugins/module_utils/_network_spec/test_plan.py",
        "its only user is tested with it",
    ),
    "_network_spec/names": ("unit/plugins/module_utils/_network_spec/test_parse.py", "its only user is tested with it"),
    "_network_spec/addresses": (
        "unit/plugins/module_utils/_network_spec/test_parse.py",
        "its only user is tested with it",
    ),
    "_network_spec/publishing": (
        "unit/plugins/module_utils/_network_spec/test_parse.py",
        "its only user is tested with it",
    ),
    "_network_spec/record_format": (
        "unit/plugins/module_utils/_network/test_records.py",
        "its only user is tested with it",
    ),
    "_network/forwarding_changes": (
        "unit/plugins/module_utils/_network/test_apply.py",
        "its only user is tested with it",
    ),
    "_host/remembered": ("unit/plugins/module_utils/_host/test_detect.py", "its only user is tested with it"),
    "_service/service_unit": (
        "unit/plugins/module_utils/_service/test_owner_systemd.py",
        "its only user is tested with it",
    ),
    "_service/stop_starting": (
        "unit/plugins/module_utils/_service/test_owner_systemd.py",
        "its only user is tested with it",
    ),
    "_state/newer_release": ("unit/plugins/module_utils/_state/test_store.py", "its only user is tested with it"),
    "_state/launch_options": ("unit/plugins/module_utils/_container/test_create.py", "its only user is tested with it"),
    "_ports/host_loopback": (
        "unit/plugins/module_utils/_ports/test_network_helper.py",
        "its only user is tested with it",
    ),
    "_container/delete": ("unit/plugins/module_utils/_lifecycle/test_containers.py", "needs a whole container"),
    "_container/frozen": ("unit/plugins/module_utils/_container/test_observe.py", "needs a whole container"),
    "_container/interrupted": ("unit/plugins/module_utils/_lifecycle/test_recovery.py", "needs a whole container"),
    "_container/launch_context": ("unit/plugins/module_utils/_container/test_create.py", "needs a whole container"),
    "_container/rollback": ("unit/plugins/module_utils/_container/test_create.py", "needs a whole container"),
    "_lifecycle/delete": ("unit/plugins/module_utils/_lifecycle/test_containers.py", "needs a whole container"),
    "_lifecycle/owners": ("unit/plugins/module_utils/_lifecycle/test_containers.py", "needs a whole container"),
    "_lifecycle/unfinished_work": (
        "unit/plugins/module_utils/_service/test_plan.py",
        "its only user is tested with it",
    ),
    "_lifecycle/runtime_step": (
        "unit/plugins/module_utils/_lifecycle/test_containers_at_work.py",
        "needs a whole container",
    ),
    "_lifecycle/task": ("unit/plugins/module_utils/_lifecycle/test_containers.py", "needs a whole container"),
    "_host/asked": ("unit/plugins/module_utils/_lifecycle/test_other_runtimes.py", "needs a whole container"),
    "_host/leftover_paths": ("unit/plugins/module_utils/_container/test_observe.py", "needs a whole container"),
    "_config/namespace_names": (
        "unit/plugins/module_utils/_config/test_namespaces.py",
        "the cases are those of all readers",
    ),
    "_host/selinux_state": (
        "unit/plugins/module_utils/_host/test_selinux.py",
        "its users are tested with and without it",
    ),
    "_host/orphans": ("unit/plugins/module_utils/_lifecycle/test_other_runtimes.py", "needs a whole container"),
    "_runtime/deletion": ("unit/plugins/module_utils/_runtime/test_runtime.py", "needs a whole container"),
    "_conmon/exit_files": ("unit/plugins/module_utils/_container/test_observe.py", "needs a whole container"),
    "_conmon/exit_wait": ("unit/plugins/module_utils/_container/test_observe.py", "needs a whole container"),
    "_trust/tree_search": ("unit/plugins/module_utils/_exec/test_container_fs.py", "its only user is tested with it"),
    "_exec/detached": ("unit/plugins/module_utils/_exec/test_run.py", "needs a whole container"),
    "_exec/preserved_files": ("unit/plugins/module_utils/_exec/test_run.py", "needs a whole container"),
    "_conmon/fd_mapping": ("unit/plugins/module_utils/_conmon/test_conmon_launch.py", "needs a whole container"),
    "_host/service_processes": ("unit/plugins/module_utils/_container/test_observe.py", "needs a whole container"),
    "_network/firewall": ("unit/plugins/module_utils/_network/test_networks.py", "needs a whole network"),
    "_network/forwarding": ("unit/plugins/module_utils/_network/test_borders.py", "needs a whole network"),
    "_network/observe": ("unit/plugins/module_utils/_network/test_networks.py", "needs a whole network"),
    "_host/systemd": ("integration/targets/oci_container/tasks/main.yml", "needs a systemd"),
    "_netlink/conntrack": ("integration/targets/oci_network/tasks/main.yml", "flows take packets between real peers"),
}
# A test file that is not called after a file.
NOT_CALLED_AFTER_A_FILE: dict[str, str] = {
    "_network/borders": "several networks, and who reaches what",
    "_network/packets": "what passes between peers",
    "_lifecycle/other_runtimes": "the life of containers with runtimes that have no driver",
}
# What decides, parses, or writes a command line, a config or a set of rules: any contributor can run its tests.
PURE = (
    "_archive/typed_documents", "_base/versions", "_bundle_spec/image_document", "_bundle_spec/parse", "_bundle_spec/plan",
    "_bundle_spec/seccomp", "_bundle_spec/spec", "_checkpoint/plan", "_exec/plan", "_exec/process_spec", "_conmon/conmon", "_conmon/create_command",
    "_lifecycle/plan", "_module/bundle", "_module/checkpoint", "_module/container", "_module/exec", "_module/network",
    "_network_spec/parse", "_network_spec/ruleset", "_runtime/criu", "_service/plan", "_config/config", "_config/hooks",
    "_state/model", "_state/names", "_state/store", "_trust/annotations",
)  # fmt: skip
# Modules whose tests are in the integration target of another one.
MODULES_TESTED_WITH = {"oci_network_info": "oci_network", "oci_engine_info": "oci_checkpoint"}
# What the tests themselves consist of is run by each run of the tests: (directory, the command that runs it).
RUN_BY = {"tests/run": "bin/test", "tests/hosts": "bin/hosts", "tests/campaign": "bin/campaign"}
# Private names of files that a test still uses, to be emptied: (test, what it uses).
_HERE = "plugins/module_utils"
PRIVATE: set[tuple[str, str]] = {
    (f"{_HERE}/_archive/test_archive_file.py", "_without_name"), (f"{_HERE}/_archive/test_signatures.py", "_workspace"),
    (f"{_HERE}/_base/test_trees.py", "_empty"), (f"{_HERE}/_bundle/test_confinement.py", "_bounding"), (f"{_HERE}/_bundle/test_confinement.py", "_level"),
    (f"{_HERE}/_bundle/test_confinement.py", "_levels"), (f"{_HERE}/_checkpoint/test_dump.py", "_call"),
    (f"{_HERE}/_checkpoint/test_dump.py", "_rounds"), (f"{_HERE}/_container/test_restored_limits.py", "_lost_limits"),
    (f"{_HERE}/_container/test_restored_limits.py", "_lost_mounts"), (f"{_HERE}/_host/test_selinux.py", "_labelled"),
    (f"{_HERE}/_network/test_in_use.py", "_look"),
    (f"{_HERE}/_ports/test_host_ports.py", "_open_to_all"), (f"{_HERE}/_ports/test_network_helper.py", "_close"),
    (f"{_HERE}/_service/test_owner_systemd.py", "_bus"),
}  # fmt: skip


def _paths(pattern: str) -> list[str]:
    found = glob.glob(os.path.join(COLLECTION, pattern), recursive=True)
    return sorted(os.path.relpath(path, COLLECTION) for path in found)


SOURCES = {path[len(UTILS) + 1 : -3] for path in _paths(f"{UTILS}/*/*.py")}
TESTS = {
    re.sub(r"/test_([^/]*)\.py$", r"/\1", path[len(f"tests/unit/{UTILS}/") :])
    for path in _paths(f"tests/unit/{UTILS}/*/test_*.py")
}
TEST_FILES = _paths("tests/unit/**/*.py")


def test_each_file_has_a_test_of_its_name() -> None:
    assert SOURCES - TESTS - COVERED_ELSEWHERE.keys() == set()


@pytest.mark.parametrize("source", COVERED_ELSEWHERE)
def test_an_exception_is_still_one(source: str) -> None:
    test, _reason = COVERED_ELSEWHERE[source]
    assert source in SOURCES - TESTS
    assert os.path.isfile(os.path.join(COLLECTION, "tests", test))


def test_each_test_is_called_after_a_file() -> None:
    """``test_FILE.py``, or ``test_FILE_TOPIC.py``."""
    homeless = {
        test for test in TESTS - SOURCES if not any(test.startswith(f"{source}_") for source in SOURCES)
    }  # fmt: skip
    assert homeless == NOT_CALLED_AFTER_A_FILE.keys()


def test_each_module_has_an_integration_target() -> None:
    modules = {os.path.basename(path)[:-3] for path in _paths("plugins/modules/*.py")}
    targets = {os.path.basename(path) for path in _paths("tests/integration/targets/*")}
    assert modules - targets == MODULES_TESTED_WITH.keys()
    for module, target in MODULES_TESTED_WITH.items():
        tasks = [
            path
            for path in _paths(f"tests/integration/targets/{target}/**/*.yml")
            if f"longshore.oci.{module}:" in _text(path)
        ]
        assert tasks, module


@pytest.mark.parametrize("source", PURE)
def test_what_decides_has_pure_tests(source: str) -> None:
    folder, name = source.split("/")
    assert "pytestmark = pytest.mark.pure" in _text(f"tests/unit/{UTILS}/{folder}/test_{name}.py")


def test_the_programs_of_the_tests_are_run() -> None:
    for directory, command in RUN_BY.items():
        assert os.path.basename(directory) in _text(command)


@functools.cache
def _text(path: str) -> str:
    with open(os.path.join(COLLECTION, path), encoding="utf-8") as stream:
        return stream.read()


# What named tuples and os call with an underscore in front is public.
_PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_exit"}


def _private_names(path: str) -> set[str]:
    """What a test takes of other files that begins with an underscore: as an attribute, an import, or a name to patch."""
    found = set()
    for node in ast.walk(ast.parse(_text(path))):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            # Folders have the underscore, and are not imported by themselves.
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            words = [
                word.value for word in node.args[:2] if isinstance(word, ast.Constant) and isinstance(word.value, str)
            ]
            found |= {word.rpartition(".")[2] for word in words}
    own = {node.name for node in ast.walk(ast.parse(_text(path))) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    # A constant in capitals is a bound, which a test makes smaller to reach it.
    return {name for name in found if re.match(r"_[a-z]", name)} - _PUBLIC - own


def test_no_test_uses_what_is_private_to_another_file() -> None:
    used = {(path[len("tests/unit/") :], name) for path in TEST_FILES for name in _private_names(path)}
    assert used == PRIVATE
