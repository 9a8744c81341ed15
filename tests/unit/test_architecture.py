# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house: what may import what, how much a module ships, and what the engine never does."""

from __future__ import annotations

import ast
import functools
import glob
import os
import re
import subprocess
import sys
import tokenize
import typing as t

import pytest

from ansible_collections.longshore.oci.tests.unit import programs

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PREFIX = "ansible_collections.longshore.oci."
ENGINE, BUNDLE, NETWORK, MODULE = (
    f"plugins.module_utils.{package}" for package in ("_engine", "_bundle", "_network", "_module")
)
# From the bottom up. Inside a layer imports must have no cycle.
LAYERS = (
    "errors trees files waiting birth process untrusted trust leftovers",
    "cgroup systemd config container runtime conmon host lock store network_helper network_loopback process_spec rootfs criu archive_pipe archive"
    " archive_layout archive_documents archive_rights archive_defaults tar_members signatures sparse output joined hooks"
    " archive_target unfinished interrupted rootfs_changes stored ports descriptors userns selinux annotations restored_limits conmons holders"
    " frozen abandoned lost_runtime",
    "observe recovery plan teardown create_failed create surroundings readiness starting service removal service_plan engine sessions exec_monitor exec"
    " owners given_paths namespaces features checkpoint_plan dump restore checkpoint",
)
# What makes bundles is a library of its own. It takes a few things of the engine, and the engine knows nothing of it.
BUNDLE_LAYERS = (
    "image_document options parse seccomp",
    "confinement spec tools plan",
    "facts",
    "image",
    "rootfs",
    "upkeep",
    "directory bundle",
)
BUNDLE_TAKES = {
    "errors",
    "files",
    "leftovers",
    "trees",
    "waiting",
    "process",
    "store",
    "config",
    "annotations",
    "trust",
    "untrusted",
    "hooks",
    "selinux",
    "joined",
}
# So is what makes networks, and neither of the two knows the other.
NETWORK_LAYERS = (
    "names netns netlink publishing addresses conntrack", "links nftables", "sysctls",
    "parse ruleset forwarding firewall other_rules plan", "records observe mend in_use", "network", "survey",
)  # fmt: skip
NETWORK_TAKES = {"errors", "files", "leftovers", "waiting", "process", "store", "ports"}
STACK = ((ENGINE, LAYERS), (BUNDLE, BUNDLE_LAYERS), (NETWORK, NETWORK_LAYERS))
# What a task imports is compiled from source each time, about 43 ms for 1,000 lines: test_budget.py holds what that is. All
# that some task could import is shipped, and costs what it takes to be copied.
MOST_FILES, MOST_CODE, MOST_LINES, MOST_IN_FUNCTION = 21, 2300, 400, 60
# Shipped, and not compiled by a task that has nothing to do (test_bundle.py sees to that).
ONLY_FOR_ACTIONS = {f"{BUNDLE}.tools", f"{BUNDLE}.rootfs", f"{BUNDLE}.upkeep", f"{ENGINE}.leftovers"}
# oci_container also ends exec sessions, restores, and has services, ports and network helpers; oci_exec needs the launch of
# conmon with all that a session is. oci_network asks who has a port, and which container keeps it. A dump takes far longer than
# that, and nobody makes one of a hundred containers in a loop.
ALLOWED = {
    "plugins.modules.oci_container": (55, 5020), "plugins.modules.oci_exec": (34, 3320),
    "plugins.modules.oci_checkpoint": (73, 7700), "plugins.modules.oci_bundle": (38, 3360),
    "plugins.modules.oci_network": (42, 3490), "plugins.modules.oci_network_info": (43, 3530),
    "plugins.modules.oci_container_info": (23, 1890),
}  # fmt: skip
# What has a use for more than the standard library: who has a port, telling a service manager, and netlink.
MORE = {
    f"{ENGINE}.ports": {"psutil"}, f"{ENGINE}.readiness": {"systemd"},
    f"{NETWORK}.links": {"pyroute2"}, f"{NETWORK}.nftables": {"pyroute2"}, f"{NETWORK}.conntrack": {"pyroute2"}, f"{NETWORK}.netlink": {"pyroute2"},
}  # fmt: skip
# Slow to import, or not there on every host.
NOT_AT_IMPORT = ("psutil", "pyroute2", "systemd", "tarfile", "asyncio", "yaml")


def _files(*patterns: str) -> dict[str, str]:
    """Path by dotted name, below the collection: plugins.modules.oci_container."""
    paths = [path for pattern in patterns for path in glob.glob(os.path.join(COLLECTION, "plugins", pattern))]
    relative = sorted(os.path.relpath(path, COLLECTION) for path in paths)
    return {path[:-3].replace(os.sep, "."): os.path.join(COLLECTION, path) for path in relative}


SOURCES = _files("modules/*.py", "module_utils/**/*.py", "doc_fragments/*.py")
MODULES = [name for name in SOURCES if name.startswith("plugins.modules.")]
ENGINE_FILES = [name for name in SOURCES if name.startswith(ENGINE)]
BUNDLE_FILES = [name for name in SOURCES if name.startswith(BUNDLE)]
NETWORK_FILES = [name for name in SOURCES if name.startswith(NETWORK)]
LIBRARIES = ENGINE_FILES + BUNDLE_FILES + NETWORK_FILES


@functools.cache
def _tree(name: str) -> ast.Module:
    with open(SOURCES[name], encoding="utf-8") as stream:
        return ast.parse(stream.read())


def _imports(name: str) -> t.Iterator[str]:
    """Every name that is imported anywhere in a file, in functions and under TYPE_CHECKING too: AnsiballZ ships them all."""
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".")[: -node.level]
                base = PREFIX + ".".join([*package, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def _ours(name: str) -> set[str]:
    """The files of the collection that a file imports."""
    found = {imported[len(PREFIX) :] for imported in _imports(name) if imported.startswith(PREFIX)}
    return found & SOURCES.keys()


def _closure(name: str) -> set[str]:
    found: set[str] = set()
    todo = {name}
    while todo:
        found |= todo
        todo = {imported for each in todo for imported in _ours(each)} - found
    return found


def _layer(name: str) -> int:
    package, _dot, file = name.rpartition(".")
    below = 0
    for library, layers in STACK:
        if package == library:
            return below + next(number for number, layer in enumerate(layers) if file in layer.split())
        below += len(layers)
    return below + {MODULE: 0, "plugins.modules": 1, "plugins.doc_fragments": 2}[package]


def test_every_file_has_a_layer() -> None:
    for package, layers in STACK:
        files = [name for name in LIBRARIES if name.startswith(package)]
        assert sorted(f"{package}.{file}" for layer in layers for file in layer.split()) == files
    assert {_layer(name) for name in SOURCES} == set(range(sum(len(layers) for _package, layers in STACK) + 3))


@pytest.mark.parametrize(("files", "takes"), [(BUNDLE_FILES, BUNDLE_TAKES), (NETWORK_FILES, NETWORK_TAKES)])
def test_a_library_beside_takes_little_of_the_engine(files: list[str], takes: set[str]) -> None:
    taken = {imported for name in files for imported in _ours(name)} - set(files)
    assert taken == {f"{ENGINE}.{file}" for file in takes}


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_down(name: str) -> None:
    assert {imported for imported in _ours(name) if _layer(imported) > _layer(name)} == set()


@pytest.mark.parametrize("name", SOURCES)
def test_imports_have_no_cycle(name: str) -> None:
    assert [imported for imported in _ours(name) if name in _closure(imported)] == []


@pytest.mark.parametrize("name", MODULES)
def test_modules_do_not_import_one_another(name: str) -> None:
    assert _closure(name) & set(MODULES) == {name}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_knows_nothing_of_ansible(name: str) -> None:
    foreign = [imported for imported in _imports(name) if imported.split(".")[0] in ("ansible", "ansible_collections")]
    assert [
        imported
        for imported in foreign
        if not imported.startswith(tuple(PREFIX + library for library, _layers in STACK))
    ] == []


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_needs_the_standard_library_alone(name: str) -> None:
    """But for what one function can do better with another, and says so where that is missing."""
    tops = {imported.split(".")[0] for imported in _imports(name)} - {"ansible_collections"} - MORE.get(name, set())
    assert tops <= set(sys.stdlib_module_names) if sys.version_info >= (3, 10) else tops


@pytest.mark.parametrize(
    ("name", "ours", "others"),
    [
        (f"{ENGINE}.plan", {f"{ENGINE}.container", f"{ENGINE}.errors"}, set()),
        (f"{BUNDLE}.plan", {f"{BUNDLE}.options"}, set()),
        (
            f"{BUNDLE}.image_document",
            {f"{ENGINE}.annotations", f"{ENGINE}.errors"},
            {"hashlib", "json", "posixpath", "re"},
        ),
        (
            f"{NETWORK}.parse",
            {f"{ENGINE}.errors", f"{NETWORK}.names", f"{NETWORK}.addresses", f"{NETWORK}.publishing"},
            {"ipaddress", "re"},
        ),
        (f"{NETWORK}.addresses", {f"{ENGINE}.errors"}, {"ipaddress", "re"}),
        (f"{NETWORK}.publishing", {f"{ENGINE}.errors"}, {"ipaddress", "re"}),
        (f"{NETWORK}.ruleset", {f"{NETWORK}.publishing"}, {"ipaddress"}),
        # Of links only what a link and a route are.
        (
            f"{NETWORK}.plan",
            {f"{NETWORK}.{file}" for file in ("links", "publishing", "sysctls")},
            {"enum", "ipaddress"},
        ),
        (f"{NETWORK}.sysctls", {f"{NETWORK}.links"}, set()),
        (
            f"{BUNDLE}.spec",
            {f"{BUNDLE}.{file}" for file in ("image_document", "options", "parse", "seccomp")}
            | {f"{ENGINE}.annotations", f"{ENGINE}.errors", f"{ENGINE}.process", f"{ENGINE}.hooks"},
            {"hashlib", "posixpath", "re"},
        ),
    ],
)
def test_what_decides_is_pure(name: str, ours: set[str], others: set[str]) -> None:
    assert _ours(name) == ours
    outside = {imported for imported in _imports(name) if not imported.startswith(PREFIX)}
    assert {imported.split(".")[0] for imported in outside} == {"__future__", "typing"} | others


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_ships(name: str) -> None:
    shipped = _closure(name)
    files, code = ALLOWED.get(name, (MOST_FILES, MOST_CODE))
    assert len(shipped) <= files, sorted(shipped)
    lines = {each: lines_of_code(each) for each in shipped - ONLY_FOR_ACTIONS}
    assert sum(lines.values()) <= code, lines


def lines_of_code(name: str) -> int:
    """Lines that the compiler sees: not blank ones, comments, docstrings and the documentation of modules."""
    with open(SOURCES[name], "rb") as stream:
        tokens = list(tokenize.tokenize(stream.readline))
    nothing = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
        tokenize.ENDMARKER,
    }  # fmt: skip
    texts = _texts(_tree(name))
    code: set[int] = set()
    for token in tokens:
        if token.type not in nothing:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - texts)


def _texts(tree: ast.Module) -> set[int]:
    """The lines of strings that stand for themselves, and of DOCUMENTATION, EXAMPLES and RETURN."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        text: ast.AST | None = None
        if isinstance(node, ast.Expr):
            text = node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
                text = node.value
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def test_lines_of_code_are_counted_right() -> None:
    """Or else the budget would mean nothing: errors.py, counted by hand."""
    with open(SOURCES[f"{ENGINE}.errors"], encoding="utf-8") as stream:
        physical = len(stream.readlines())
    counted = lines_of_code(f"{ENGINE}.errors")
    # Two imports; a function of 1 + 1; one class with two methods of 1 + 4 and 1 + 1 lines; four classes that hold a docstring only.
    assert counted == 2 + 2 + 1 + 5 + 2 + 4
    assert counted < physical


@pytest.mark.parametrize("name", SOURCES)
def test_no_file_is_long(name: str) -> None:
    with open(SOURCES[name], encoding="utf-8") as stream:
        assert len(stream.readlines()) <= MOST_LINES


@pytest.mark.parametrize("name", SOURCES)
def test_no_function_is_long(name: str) -> None:
    functions = [n for n in ast.walk(_tree(name)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lengths = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions}
    assert {function: length for function, length in lengths.items() if length > MOST_IN_FUNCTION} == {}


# They change the whole process, and others share it: threads, and whoever uses the engine as a library.
NEVER_CALLED = {
    ("os", "chdir"), ("os", "fchdir"), ("os", "umask"), ("os", "putenv"), ("os", "setuid"), ("os", "setgid"),
    ("os", "setsid"), ("os", "fork"), ("signal", "signal"), ("signal", "alarm"), ("signal", "set_wakeup_fd"),
    ("time", "sleep"), ("socket", "setdefaulttimeout"), ("locale", "setlocale"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_changes_nothing_of_the_process_and_never_sleeps(name: str) -> None:
    found = []
    # What runs in a child, from its birth to the program that it becomes.
    child = [n for n in _tree(name).body if isinstance(n, ast.FunctionDef) and n.name == "_exec"]
    exempt = {inner for function in child for inner in ast.walk(function)}
    for node in set(ast.walk(_tree(name))) - exempt:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.append((node.value.id, node.attr))
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.keyword) and node.arg == "preexec_fn":
            found.append(("subprocess", "preexec_fn"))
    assert set(found) & (NEVER_CALLED | {("subprocess", "preexec_fn")}) == set()


# What removes a directory with all that is in it, without a look at what is mounted there. files.remove_tree does look.
_REMOVERS = {("shutil", "rmtree"), ("tempfile", "TemporaryDirectory"), ("os", "removedirs"), ("shutil", "move")}


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_removes_a_tree_but_remove_tree(name: str) -> None:
    attributes = [n for n in ast.walk(_tree(name)) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    found = {(n.value.id, n.attr) for n in attributes if isinstance(n.value, ast.Name)}
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name) for alias in node.names}
    assert found & _REMOVERS == set()


def test_no_shell_removes_a_tree() -> None:
    """But for the script of a service, which has the shell alone, and looks at the table of mounts just before."""
    found = {}
    for top in ("plugins", "roles"):
        for path in glob.glob(f"{COLLECTION}/{top}/**", recursive=True):
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as stream:
                    lines = re.findall(r"^.*\brm +-[a-z]*[rR].*$", stream.read(), re.MULTILINE)
                found.update({os.path.relpath(path, COLLECTION): lines} if lines else {})
    assert found == {"plugins/module_utils/_engine/service.py": ["    rm -rf {run} {persist}"]}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_has_no_global_state(name: str) -> None:
    assert [node for node in ast.walk(_tree(name)) if isinstance(node, ast.Global)] == []
    # Nor any hidden one: what looks like a table has to stay one.
    stored = [
        node for node in ast.walk(_tree(name))
        if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del))
        and isinstance(node.value, ast.Name) and node.value.id.isupper()
    ]  # fmt: skip
    assert [ast.unparse(node) for node in stored] == []


def test_importing_the_engine_is_cheap() -> None:
    names = [f"{PREFIX}{name}" for name in LIBRARIES]
    code = (
        "import importlib, sys\n"
        "before = set(sys.modules)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        capture_output=True,
        text=True,
        env=programs.python_environment(),
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    assert {name.split(".")[0] for name in loaded} & {*NOT_AT_IMPORT, "ansible"} == set()
