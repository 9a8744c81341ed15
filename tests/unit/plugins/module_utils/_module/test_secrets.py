# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret values are in no result and in no log, whatever becomes of the task: the modules themselves, as Ansible runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._module import (
    bundle,
    checkpoint,
    container,
    network,
    secret_values,
    secrets,
)
from ansible_collections.longshore.oci.plugins.module_utils._module import exec as oci_exec
from ansible_collections.longshore.oci.plugins.module_utils._module.definition import DEFINITION_ARGUMENTS
from ansible_collections.longshore.oci.plugins.module_utils._module.secret_values import HIDDEN
from ansible_collections.longshore.oci.plugins.module_utils._state import model
from ansible_collections.longshore.oci.tests.unit import bundle as unit_bundle
from ansible_collections.longshore.oci.tests.unit import programs

pytestmark = pytest.mark.pure

# Prints what the module returns and what it logs, for one set of parameters after the other.
_TASK = """
import contextlib, importlib, io, json, sys
from ansible.module_utils import basic
module = importlib.import_module("ansible_collections.longshore.oci.plugins.modules." + sys.argv[1])
log = []
basic.AnsibleModule.log = lambda self, message, log_args=None: log.append(str((message, log_args)))
said = []
for given in json.load(sys.stdin):
    basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode(), "legacy"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        module.main()
    said.append((json.loads(out.getvalue()), "".join(log)))
    log.clear()
print(json.dumps(said))
"""
SECRETS = ("847", "7", "Q9x", "geheim-und-lang", "zwei\nZeilen\n", "mit 'Quotes' und \\ und ü")
# Options with a secret {0} in them, by module; and what makes it end well in check mode, or in an error of ours.
WITH_SECRETS: dict[str, list[dict[str, t.Any]]] = {
    "oci_container": [
        {"conmon_env": {"PIN": "{0}"}},
        {"conmon_env": {"PIN": "{0}", "OTHER": "fine"}},
        {"conmon_env": "PIN={0}"},
    ],
    "oci_checkpoint": [{"state": "restored", "conmon_env": {"PIN": "{0}"}}],
    "oci_exec": [{"argv": ["true"], "env": {"PIN": "{0}"}}, {"argv": ["true"], "stdin": "{0}"}],
    "oci_bundle": [
        {"env": {"PIN": "{0}"}},
        {"spec": {"process": {"env": ["PIN={0}", "{0}"]}}},
        {"spec": {"process": {"env": "{0}"}}},
        {"spec": {"process": {"env": {"PIN": "{0}"}}}},
        {"hooks": {"poststop": [{"path": "/bin/true", "env": ["PIN={0}"]}]}},
        {"spec": {"hooks": {"poststop": [{"path": "/bin/true", "env": ["PIN={0}"]}]}}},
        {"username": "me", "password": "{0}", "image": "docker://127.0.0.1:1/none", "rootfs": None},
    ],
}
PLAIN: dict[str, dict[str, t.Any]] = {
    "oci_container": {"name": "none", "state": "stopped", "bundle": "/none"},
    "oci_checkpoint": {"name": "none"}, "oci_exec": {"name": "none"}, "oci_bundle": {"path": "/none/b", "rootfs": "/none"},
}  # fmt: skip
CASES = [(module, options) for module, many in WITH_SECRETS.items() for options in many]
REFUSED: dict[str, dict[str, t.Any]] = {
    "oci_container": {"stop_timeout": -1}, "oci_checkpoint": {"timeout": -1}, "oci_exec": {"stop_timeout": -1},
    "oci_bundle": {"timeout": -1},
}  # fmt: skip


def _fill(value: t.Any, secret: str) -> t.Any:
    if isinstance(value, dict):
        return {name: _fill(each, secret) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, secret) for each in value]
    return value.replace("{0}", secret) if isinstance(value, str) else value


def _strings(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield str(name)
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    else:
        yield str(value)


def _run(module: str, *many: t.Mapping[str, t.Any], check: bool = True) -> list[tuple[dict[str, t.Any], str]]:
    given = [
        {**options, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_verbosity": 3} for options in many
    ]
    done = subprocess.run(
        [sys.executable, "-c", _TASK, module], input=json.dumps(given), env=programs.python_environment(),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return [tuple(each) for each in json.loads(done.stdout)]


@pytest.mark.impure
@pytest.mark.parametrize(("module", "options"), CASES)
def test_no_result_and_no_log_has_a_secret(module: str, options: dict[str, t.Any], tmp_path: t.Any) -> None:
    """Of a task that ends well, one that we refuse and one that Ansible refuses before we are asked."""
    plain = {**PLAIN[module], "state_dir": f"{tmp_path}/state", "run_dir": f"{tmp_path}/run"}
    wrong: tuple[dict[str, t.Any], ...] = ({}, REFUSED[module], {"state": "no-such"})
    # Of a dictionary that is written as text Ansible knows only the text, before it has read it.
    wrong = wrong[:2] if options.get("conmon_env") == "PIN={0}" else wrong
    cases = [(secret, more) for secret in SECRETS for more in wrong]
    said = _run(module, *({**plain, **_fill(options, secret), **more} for secret, more in cases))
    assert len(said) == len(cases)
    for (secret, _more), (result, log) in zip(cases, said):
        shown = result.get("invocation", {}).get("module_args", {})
        # Some number may have a 7 by chance; a longer one is nowhere.
        found = [text for text in _strings(shown) if text == secret or f"PIN={secret}" in text]
        if len(secret) > 1:
            found += [text for text in [log, *_strings(result)] if secret in text]
        assert found == [], result


@pytest.mark.impure
@pytest.mark.parametrize("module", ["oci_container", "oci_checkpoint", "oci_exec", "oci_bundle"])
def test_the_rest_of_the_parameters_is_shown(module: str, tmp_path: t.Any) -> None:
    options = _fill(WITH_SECRETS[module][0], "7")
    ((result, _log),) = _run(
        module, {**PLAIN[module], **options, "state_dir": f"{tmp_path}/7", "run_dir": f"{tmp_path}/run"}
    )
    assert result["invocation"]["module_args"]["state_dir"] == f"{tmp_path}/7"


def _module(**params: t.Any) -> t.Any:
    return types.SimpleNamespace(params=params, no_log_values=set())


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({}, {}),
        ({"process": {"env": ["A=1", "B=x=y"], "cwd": "/"}}, {"process": {"env": ["A={0}", "B={0}"], "cwd": "/"}}),
        ({"process": {"env": [1, "no equals sign", ["B=1"]]}}, {"process": {"env": ["{0}", "{0}", ["B={0}"]]}}),
        ({"process": {"env": {"A": 1}}}, {"process": {"env": {"A": "{0}"}}}),
        ({"process": {"env": {"A": "x=y", "B": {"C": ["x=y"]}}}}, {"process": {"env": {"A": "{0}", "B": "{0}"}}}),
        ({"process": {"env": "A=1"}, "x": [1, {"env": ["A=1"]}]}, {"process": {"env": "A={0}"}, "x": [1, {"env": ["A={0}"]}]}),
        (None, None),
        ({"process": None, "hooks": {"prestart": [{"env": []}]}}, {"process": None, "hooks": {"prestart": [{"env": []}]}}),
    ],
)  # fmt: skip
def test_environments_at_any_depth(spec: t.Any, shown: t.Any) -> None:
    assert secret_values.hide_environments(spec) == _fill(shown, HIDDEN)


def test_what_ansible_masks() -> None:
    module = _module(env={"A": 1, "B": "long one", "C": ["x", {"y": 1.5}], "D": None}, text="t", stdin=None)
    module.no_log_values = {"1", "long one", "x", "1.5", "t", "of others"}
    assert secrets.conceal(module)["env"]["A"] == 1
    assert module.no_log_values == {"t", "of others"}
    assert module.params == {"env": dict.fromkeys("ABCD", HIDDEN), "text": "t", "stdin": None}


def test_the_switch_stdin_of_a_container_is_no_secret() -> None:
    module = _module(stdin=True)
    module.no_log_values = {"True"}
    assert secrets.conceal(module) == module.params == {"stdin": True}
    assert module.no_log_values == {"True"}


@pytest.mark.parametrize(
    ("params", "masked"),
    [
        ({"env": {"A": 1, "B": "yes", "C": "four", "D": None, "E": ["long", {"x": "deep"}]}}, {"four", "None", "long", "deep"}),
        ({"stdin": "a\nshort\nlong enough\n"}, {"a\nshort\nlong enough\n", "long enough"}),
        ({"password": "secret"}, {"secret"}),
        ({"password": "abc", "conmon_env": None}, set()),
        ({"spec": {"process": {"env": ["A=x=yz", "alone", 1], "cwd": "/srv/web"}}}, {"x=yz", "alone"}),
        ({"hooks": {"poststop": [{"path": "/bin/true", "env": {"A": "secret", "B": ["C=other"]}}]}}, {"secret", "other"}),
        ({"name": "plain text"}, set()),
        ({"stdin": True}, set()),  # of a container: whether it has an input
    ],
)  # fmt: skip
def test_what_is_masked_in_a_failure(params: dict[str, t.Any], masked: set[str]) -> None:
    assert secrets.in_failures(params) == masked


def test_every_option_without_a_log_is_in_the_policy() -> None:
    """Of all modules that take options with secrets, at any depth, and no other option is."""
    every = [bundle.ARGUMENTS, checkpoint.ARGUMENTS, container.ARGUMENTS, oci_exec.ARGUMENTS, network.ARGUMENTS]
    assert {name for arguments in every for name, option in arguments.items() if option.get("no_log")} == set(
        secrets.SECRET
    )
    below = [
        inner for arguments in every for option in arguments.values() for inner in option.get("options", {}).values()
    ]
    assert [option for option in below if option.get("no_log")] == []


def test_a_secret_of_a_definition_is_one_of_the_engine_too() -> None:
    """So that it is in no difference and in no archive: see test_changes and test_manifest."""
    assert {name for name, option in DEFINITION_ARGUMENTS.items() if option.get("no_log")} == model.SECRETS


WORDS = ("1", "t", "none", "absent", "stopped", "started", "cgroupfs", "changed", "present", "rootfs")


@pytest.mark.impure
@pytest.mark.parametrize("module", ["oci_container", "oci_exec", "oci_bundle"])
def test_ordinary_words_cost_a_result_nothing(module: str, tmp_path: t.Any) -> None:
    """They are words of the result as well."""
    (tmp_path / "bundle").mkdir()
    made = unit_bundle.make(tmp_path / "bundle", "true")
    more: dict[str, dict[str, t.Any]] = {
        "oci_container": {"bundle": made, "state": "started", "runtime": "runc", "cgroup_manager": "cgroupfs"},
        "oci_bundle": {
            "path": f"{tmp_path}/none", "rootfs": f"{made}/rootfs", "argv": ["true"], "seccomp": "unconfined", "network": "none",
        },
    }  # fmt: skip
    plain = {**PLAIN[module], **more.get(module, {}), "state_dir": f"{tmp_path}/state", "run_dir": f"{tmp_path}/run"}
    said = _run(module, *({**plain, **_fill(WITH_SECRETS[module][0], word)} for word in (*WORDS, "nowhere-else")))
    results = [{**result, "invocation": None} for result, _log in said]
    assert "failed" not in results[-1]
    assert results == [results[-1]] * len(results)


@pytest.mark.impure
def test_the_words_of_another_program_are_masked(tmp_path: t.Any, scratch_cgroup: str) -> None:
    """A conmon that fails, and writes all that it has been told where its messages go."""
    (tmp_path / "bundle").mkdir()
    given_bundle = unit_bundle.make(tmp_path / "bundle", "true")
    tell = """
        if "--version" in sys.argv:
            print("conmon version 2.1.12")
            sys.exit(0)
        print("PIN", os.environ["PIN"], "and", os.environ["MORE"], file=sys.stderr, flush=True)
        report(json.dumps({"data": -1, "message": "no " + os.environ["PIN"]}) + "\\n")
        """
    options = {
        "name": "web", "bundle": given_bundle, "runtime": "runc", "cgroup_manager": "cgroupfs", "cgroup_parent": scratch_cgroup,
        "conmon": programs.conmon(tmp_path / "conmon", tell), "conmon_env": {"PIN": "hunter2", "MORE": "first line of it\nsecond line of it"},
        "state_dir": f"{tmp_path}/state", "run_dir": f"{tmp_path}/run",
    }  # fmt: skip
    ((result, _log),) = _run("oci_container", options, check=False)
    assert result["failed"]
    assert "PIN" in str(result)
    assert [word for word in ("hunter2", "first line", "second line") if word in str(result)] == []
    assert result["conmon_log"]
