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

from ansible_collections.longshore.oci.tests.unit import sources

pytestmark = pytest.mark.pure

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UTILS = "plugins/module_utils"

# A file without a test of its name: which test covers it, and why it is another one. An entry that is no longer needed fails.
COVERED_ELSEWHERE: dict[str, tuple[str, str]] = {
    "_exec/request": ("_exec/test_plan", "values without behaviour"),
    "_exec/detached": ("_exec/test_run", "needs commands that run in a container"),
    "_exec/session_status": ("_exec/test_session_store", "values without behaviour"),
    "_container/owner": ("_lifecycle/test_owners", "a Protocol, to which mypy holds both owners"),
    "_runtime/driver": ("_runtime/test_drivers", "what a driver declares, without behaviour"),
    "_criu/criu_support": ("_criu/test_criu", "declarations; one table has the versions of all runtimes"),
    "_runtime/runtime_crun": ("_runtime/test_drivers", "declarations; one test holds each runtime to them"),
    "_runtime/runtime_runc": ("_runtime/test_drivers", "declarations; one test holds each runtime to them"),
    "_network_spec/operations": ("_network_spec/test_plan", "one table has each plan with its operations"),
    "_container/launch_context": ("_container/test_create", "needs the launch of a container"),
    "_lifecycle/task": ("_lifecycle/test_containers", "carries out whole plans, so it needs containers"),
    "_runtime/deletion": ("_runtime/test_runtime", "tested with the other commands of a runtime"),
    "_network/firewall": ("_network/test_networks", "needs nft and a network"),
    "_host/systemd": ("integration/targets/oci_container/tasks/main.yml", "needs a systemd"),
    "_netlink/conntrack": ("integration/targets/oci_network/tasks/main.yml", "flows take packets between real peers"),
}
# Each driver is one of them, so another runtime does not use up what is allowed.
MOST_COVERED_ELSEWHERE = 16
# A test file that is not called after a file.
NOT_CALLED_AFTER_A_FILE: dict[str, str] = {
    "_network/borders": "several networks, and who reaches what",
    "_network/packets": "what passes between peers",
    "nothing_behind_a_mount": "whatever removes trees, of any folder",
    "_lifecycle/other_runtimes": "the life of containers with runtimes that have no driver",
}
# What decides, parses, or writes a command line, a config or a set of rules has a whole test file that any contributor can run:
# by its folder, by its name, or because neither it nor anything that it needs touches a host.
PURE_FOLDERS = {"_bundle_spec", "_config", "_module", "_network_spec"}
PURE_NAME = re.compile(
    r"(.*_)?(plan|parse|spec|request|config|options|model|record|records|names|annotations|documents?|manifest|address|seccomp"
    r"|ruleset|forwarding|criu|store)|conmon"
)
# What reads or changes a host, in the text of a source.
TOUCHES = re.compile(
    r"import (subprocess|socket|ctypes|fcntl|signal|select)\b|from (pyroute2|systemd)\b|\bopen\(|\bpsutil\b|\bshutil\.rmtree"
    r"|\bos\.(pipe|mkdir|makedirs|unlink|remove|rmdir|rename|replace|link|symlink|chmod|f?chown|kill|write|posix_spawn|waitid|l?stat|readlink|listdir)\("
)
# Modules whose tests are in the integration target of another one.
MODULES_TESTED_WITH = {"oci_network_info": "oci_network", "oci_engine_info": "oci_checkpoint"}
# What the tests themselves consist of is run by each run of the tests: (directory, the command that runs it).
RUN_BY = {"tests/run": "bin/test", "tests/hosts": "bin/hosts", "tests/campaign": "bin/campaign"}


def _paths(pattern: str) -> list[str]:
    found = glob.glob(os.path.join(COLLECTION, pattern), recursive=True)
    return sorted(os.path.relpath(path, COLLECTION) for path in found)


def _text(path: str) -> str:
    return sources.text(os.path.join(COLLECTION, path))


def _test_of(source: str) -> str:
    folder, _slash, name = source.rpartition("/")
    return f"tests/unit/{UTILS}/{folder}/test_{name}.py"


SOURCES = {path[len(UTILS) + 1 : -3] for path in _paths(f"{UTILS}/**/*.py")}
TESTS = {
    re.sub(r"(^|/)test_([^/]*)\.py$", r"\1\2", path[len(f"tests/unit/{UTILS}/") :])
    for path in _paths(f"tests/unit/{UTILS}/**/test_*.py")
}
TEST_FILES = _paths("tests/unit/**/*.py")


@functools.cache
def _imports(path: str) -> frozenset[str]:
    """Return the sources that a file imports, at any place and for the types alone too."""
    folder = os.path.basename(os.path.dirname(path))
    found = set()
    for dots, module, names in re.findall(r"^ *from (\.*)([\w.]*) import (\([^)]*\)|.*)", _text(path), re.MULTILINE):
        module = module.rpartition("module_utils.")[2].replace(".", "/")
        base = "/".join(filter(None, [folder if dots == "." else "", module]))
        found |= {base, *(f"{base}/{name}" for name in re.findall(r"\w+", names))}
    return frozenset(found & SOURCES)


def _reached(path: str) -> set[str]:
    found: set[str] = set()
    todo = set(_imports(path))
    while todo:
        found |= todo
        todo = {each for source in todo for each in _imports(f"{UTILS}/{source}.py")} - found
    return found


def test_each_file_has_a_test_of_its_name() -> None:
    assert SOURCES - TESTS - COVERED_ELSEWHERE.keys() == set()


def test_few_have_none() -> None:
    assert (
        len([source for source in COVERED_ELSEWHERE if not source.startswith("_runtime/runtime_")])
        <= MOST_COVERED_ELSEWHERE
    )


@pytest.mark.parametrize("source", COVERED_ELSEWHERE)
def test_an_exception_is_still_one(source: str) -> None:
    """It has no test of its name, and what covers it still reaches it."""
    test, _reason = COVERED_ELSEWHERE[source]
    assert source in SOURCES - TESTS
    if test.startswith("integration/"):
        assert os.path.isfile(os.path.join(COLLECTION, "tests", test))
    else:
        assert source in _reached(f"tests/unit/{UTILS}/{test}.py")


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


def _touches(source: str) -> bool:
    return TOUCHES.search(_text(f"{UTILS}/{source}.py")) is not None


def _decides(source: str) -> bool:
    folder, _slash, name = source.rpartition("/")
    if folder in PURE_FOLDERS or PURE_NAME.fullmatch(name):
        return True
    return not any(map(_touches, {source, *_reached(f"{UTILS}/{source}.py")}))


def test_what_decides_has_pure_tests() -> None:
    """And not only ones that are excepted."""
    texts = {source: _text(_test_of(source)) for source in SOURCES & TESTS if _decides(source)}
    assert len(texts) > 60
    impure = {
        source for source, text in texts.items()
        if "\npytestmark = pytest.mark.pure\n" not in text
        or len(re.findall(r"^ *def test_", text, re.MULTILINE)) <= text.count("@pytest.mark.impure")
    }  # fmt: skip
    assert impure == set()


def test_the_programs_of_the_tests_are_run() -> None:
    packages = {os.path.dirname(path) for path in _paths("tests/*/*.py")} - {"tests/unit"}
    assert packages == RUN_BY.keys()
    for directory, command in RUN_BY.items():
        name = os.path.basename(directory)
        assert re.search(
            rf"^(runpy\.run_module\(\"{name}\"|from (tests\.)?{name}[. ])", _text(command), re.MULTILINE
        ), command


# Most tests have no such word, and need not be parsed.
_FOLDERS = re.compile(r"\b(module_utils)(\._[a-z_]+)|\b(self|cls)\._\w+|\._(replace|asdict|fields|make|exit)\b")
_MAY_BE_PRIVATE = re.compile(r"\._[a-z]|import (\([^)]*)?\b_[a-z]|setattr\([^)]*[\"'.]_[a-z]")
# What named tuples and os call with an underscore in front is public.
_PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_exit"}


def _private_names(path: str) -> set[str]:
    """What a test takes of other files that begins with an underscore: as an attribute, an import, or a name to patch."""
    found: set[str] = set()
    own: set[str] = set()
    if not _MAY_BE_PRIVATE.search(_FOLDERS.sub("", _text(path))):
        return found
    for node in sources.nodes(os.path.join(COLLECTION, path)):
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
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
    # A constant in capitals is a bound, which a test makes smaller to reach it.
    return {name for name in found if re.match(r"_[a-z]", name)} - _PUBLIC - own


def test_no_test_uses_what_is_private_to_another_file() -> None:
    used = {path: _private_names(path) for path in TEST_FILES}
    assert {path: names for path, names in used.items() if names} == {}
