# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._conmon import create_command
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Checkpoint, Program
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("wanted", "lacks", "takes"),
    [
        ({"log_tag": "web", "log_driver": "journald"}, "2.0.2", "2.0.3"),
        ({"exit_delay": 0, "exit_command": ("/bin/true",)}, "2.0.16", "2.0.17"),
        ({"sdnotify": "container"}, "2.0.21", "2.0.22"),
    ],
)
def test_an_option_that_conmon_lacks_is_refused(wanted: dict[str, t.Any], lacks: str, takes: str) -> None:
    definition = builders.definition(**wanted)
    with pytest.raises(MissingPrerequisite, match=f"needs conmon {takes} or newer; this host has {lacks}"):
        create_command.check_options(definition, lacks)
    create_command.check_options(definition, takes)


def test_what_is_not_asked_for_needs_nothing() -> None:
    create_command.check_options(builders.definition(), "2.0.0")


PATHS = Paths("web", state_dir="/s", run_dir="/r")


def _argv(version: str = "2.1.12", *, terminal: bool = False, record: t.Any = None, **wanted: t.Any) -> list[str]:
    values = {
        "definition": builders.definition(**wanted), "conmon": Program("conmon", "/usr/bin/conmon", version),
        "log_path": "/log", **(record or {}),
    }  # fmt: skip
    return create_command.create_argv(builders.record(**values), PATHS, terminal=terminal)


def test_the_whole_command_line() -> None:
    assert " ".join(_argv()) == (
        "/usr/bin/conmon --api-version 1 --cid web --cuuid web --name web --runtime /usr/sbin/runc"
        " --bundle /r/containers/web/bundle --container-pidfile /r/containers/web/pid"
        " --exit-dir /s/containers/web/persist --log-path k8s-file:/log"
        " --full-attach --persist-dir /r/containers/web/exits"
        " --runtime-arg=--root --runtime-arg=/run/longshore/runc"
        " --runtime-arg=--log --runtime-arg=/r/containers/web/runtime.log"
        " --runtime-arg=--log-format --runtime-arg=json"
        " --conmon-pidfile /r/containers/web/conmon.pid --log-level warning --syslog"
    )


@pytest.mark.parametrize(
    ("driver", "argument"),
    [("k8s-file", "k8s-file:/log"), ("journald", "journald"), ("none", "none"), ("passthrough", "passthrough")],
)
def test_log_drivers(driver: str, argument: str) -> None:
    argv = _argv(log_driver=driver)
    assert argv[argv.index("--log-path") + 1] == argument


@pytest.mark.parametrize(
    ("driver", "name", "runtime_id"),
    [
        ("k8s-file", "web", "web"),
        ("journald", "web", "web.longshore.oci"),
        ("journald", "twelve-chars", "twelve-chars.longshore.oci"),
        ("journald", "thirteen-char", "thirteen-char"),
    ],
)
def test_journald_gets_an_id_that_it_takes(driver: str, name: str, runtime_id: str) -> None:
    argv = _argv(log_driver=driver, record={"name": name})
    assert argv[argv.index("--cid") + 1] == argv[argv.index("--cuuid") + 1] == runtime_id
    assert argv[argv.index("--name") + 1] == name


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"stdin": True}, "--stdin"),
        ({"log_size_max": 1024}, "--log-size-max 1024"),
        ({"log_size_max": 0}, "--log-size-max 0"),
        ({"log_tag": "a b"}, "--log-tag a b"),
        ({"no_pivot": True}, "--no-pivot"),
        ({"no_new_keyring": True}, "--no-new-keyring"),
        ({"sdnotify": "container"}, "--sdnotify-socket /r/containers/web/ready.sock"),
        (
            {"exit_command": ("/bin/a", "--b", "-c")},
            "--exit-command /bin/a --exit-command-arg=--b --exit-command-arg=-c",
        ),
        ({"exit_command": ("/bin/a",), "exit_delay": 3}, "--exit-command /bin/a --exit-delay 3"),
        ({"exit_command": ("/bin/a",), "exit_delay": 0}, "--exit-command /bin/a --exit-delay 0"),
    ],
)
def test_each_option_is_passed_on(wanted: dict[str, t.Any], expected: str) -> None:
    assert " ".join(_argv(**wanted)) == " ".join(_argv()) + f" {expected}"


def test_the_pid_file_can_be_elsewhere() -> None:
    argv = _argv(conmon_pidfile="/run/web.pid")
    assert argv[argv.index("--conmon-pidfile") + 1] == "/run/web.pid"


def test_systemd_is_said_to_conmon_and_to_the_runtime() -> None:
    argv = _argv(record={"cgroup_manager": "systemd"})
    assert "--systemd-cgroup" in argv
    assert "--runtime-arg=--systemd-cgroup" in argv


def test_a_terminal_takes_the_place_of_stdin() -> None:
    argv = _argv(terminal=True, stdin=True)
    assert "--terminal" in argv
    assert "--stdin" not in argv


def test_an_old_conmon_gets_only_what_it_has() -> None:
    argv = _argv("2.0.0")
    assert "--full-attach" not in argv
    assert "--persist-dir" not in argv
    assert argv[argv.index("--socket-dir-path") + 1] == "/r/containers/web"


def test_a_restore_goes_on_from_the_images_with_the_options_of_the_dump() -> None:
    wanted = builders.definition(no_pivot=True, no_new_keyring=True)
    checkpoint = Checkpoint("/state/web/checkpoints/one", ("--tcp-established", "--network-lock", "skip"))
    argv = create_command.create_argv(builders.record(definition=wanted, checkpoint=checkpoint), PATHS, terminal=False)
    assert argv[argv.index("--restore") + 1] == "/state/web/checkpoints/one/checkpoint"
    assert [word for word in argv if word.startswith("--runtime-opt")] == [
        "--runtime-opt=--tcp-established", "--runtime-opt=--network-lock", "--runtime-opt=skip"
    ]  # fmt: skip
    assert {"--no-pivot", "--no-new-keyring"} & set(argv) == set()
