# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Result
from ansible_collections.longshore.oci.plugins.module_utils._exec.sessions import Sessions
from ansible_collections.longshore.oci.plugins.module_utils._module import exec as oci_exec
from ansible_collections.longshore.oci.plugins.module_utils._module import secrets

pytestmark = pytest.mark.pure


def _params(**given: t.Any) -> dict[str, t.Any]:
    defaults = {name: option.get("default") for name, option in oci_exec.ARGUMENTS.items()}
    return {**defaults, "name": "web", "argv": ["true"], **given}


class Failed(Exception):
    pass


class Module:
    """What is used of an AnsibleModule."""

    def __init__(self, *, check_mode: bool = False, **given: t.Any) -> None:
        self.params = _params(**given)
        self.check_mode = check_mode
        self.no_log_values: set[str] = set()
        self.ansible_version = "2.18.1"
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def fail_json(self, **result: t.Any) -> None:
        raise Failed(result)


class TestCommand:
    def test_everything(self) -> None:
        params = _params(
            argv=["a", "b c"], env={"A": "1"}, user="app", chdir="/srv", tty=True, privileged=True,
            capabilities=["KILL"], no_new_privs=True,
        )  # fmt: skip
        wanted = Command(("a", "b c"), {"A": "1"}, "app", "/srv", True, True, ("KILL",), True)
        assert oci_exec.command(params) == wanted

    def test_nothing(self) -> None:
        assert oci_exec.command(_params()) == Command(("true",))

    @pytest.mark.parametrize(
        ("text", "argv"),
        [
            ("ls -l", ("ls", "-l")),
            ("""echo 'a b' "c  d" e\\ f""", ("echo", "a b", "c  d", "e f")),
            # Never given to a shell, and never expanded.
            ("echo $HOME ~ * `id` | cat > /x && y", ("echo", "$HOME", "~", "*", "`id`", "|", "cat", ">", "/x", "&&", "y")),
        ],
    )  # fmt: skip
    def test_words(self, text: str, argv: tuple[str, ...]) -> None:
        assert oci_exec.command(_params(argv=None, command=text)).argv == argv

    @pytest.mark.parametrize("value", [1.5, True, False, None, ["a"], {"b": "c"}])
    def test_words_are_text(self, value: object) -> None:
        with pytest.raises(InvalidOption, match="argv: word 3 must be text"):
            oci_exec.command(_params(argv=["a", 5, value]))
        assert oci_exec.command(_params(argv=["sleep", 60, "yes"])).argv == ("sleep", "60", "yes")

    @pytest.mark.parametrize("value", [1, 1.5, True, None, ["a"], {"b": "c"}])
    def test_variables_are_strings(self, value: object) -> None:
        with pytest.raises(InvalidOption, match=r"variable PORT in env is not a string.*put it in quotes") as caught:
            oci_exec.command(_params(env={"PORT": value}))
        assert str(value) not in caught.value.message or value == 1

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"command": "echo 'a", "argv": None}, "cannot be split into words: No closing quotation"),
            ({"command": "", "argv": None}, "There is no command to run"),
            ({"argv": []}, "There is no command to run"),
            ({"timeout": -1.0}, "timeout cannot be negative"),
            ({"stop_timeout": -1.0}, "stop_timeout cannot be negative"),
            ({"detach": True, "stdin": "x"}, "stdin cannot be used with detach"),
            ({"detach": True, "timeout": 5.0}, "timeout cannot be used with detach.*state=finished"),
            ({"chdir": "tmp"}, "absolute path in the container"),
        ],
    )
    def test_refused(self, given: dict[str, t.Any], says: str) -> None:
        with pytest.raises(InvalidOption, match=says):
            oci_exec.command(_params(**given))


def test_secrets_are_nowhere_but_with_the_command() -> None:
    module = Module(env={"A": "1", "B": "hunter2"}, stdin="in", state_dir="other")
    module.no_log_values = {"1", "hunter2", "in", "other"}
    params = secrets.conceal(t.cast(t.Any, module))
    assert (params["env"], params["stdin"]) == ({"A": "1", "B": "hunter2"}, "in")
    hidden = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert (module.params["env"], module.params["stdin"]) == ({"A": hidden, "B": hidden}, hidden)
    # Or else the command's own output would be garbled; what others hide stays hidden.
    assert module.no_log_values == {"other"}


def test_no_secrets() -> None:
    module = Module()
    assert secrets.conceal(t.cast(t.Any, module)) == _params()
    assert module.params == _params()


@pytest.mark.parametrize(
    ("given", "stdin"),
    [
        ({"stdin": None}, None),
        ({"stdin": ""}, b"\n"),
        ({"stdin": "", "stdin_add_newline": False}, b""),
        ({"stdin": "é"}, "é\n".encode()),
        ({"stdin": "\udcff", "stdin_add_newline": False}, b"\xff"),
    ],
)
def test_stdin(given: dict[str, t.Any], stdin: bytes | None) -> None:
    assert oci_exec.request(_params(**given)).stdin == stdin


class TestCheckMode:
    @pytest.fixture
    def sessions(self, tmp_path: t.Any) -> t.Iterator[Sessions]:
        yield Sessions(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        assert list(tmp_path.iterdir()) == []

    def _check(self, sessions: Sessions, *, check_mode: bool = True, **given: t.Any) -> dict[str, t.Any]:
        return oci_exec.perform(t.cast(t.Any, Module(check_mode=check_mode)), sessions, _params(**given))

    def test_a_command_is_skipped(self, sessions: Sessions) -> None:
        result = self._check(sessions)
        assert (result["skipped"], result["changed"], result["rc"]) == (True, False, 0)

    @pytest.mark.parametrize("given", [{"creates": "/x"}, {"removes": "/x"}])
    def test_a_container_that_would_have_been_made(self, sessions: Sessions, given: dict[str, t.Any]) -> None:
        result = self._check(sessions, **given)
        assert (result.get("skipped"), result["changed"]) == (None, True)

    def test_bad_input_is_refused(self, sessions: Sessions) -> None:
        with pytest.raises(InvalidOption):
            self._check(sessions, argv=[])
        with pytest.raises(InvalidOption, match="cannot be the name"):
            self._check(sessions, name="a/b")

    def test_waiting_is_skipped(self, sessions: Sessions) -> None:
        result = self._check(sessions, state="finished", session="x")
        assert (result["skipped"], result["changed"]) == (True, False)

    @pytest.mark.parametrize("state", ["stopped", "absent"])
    @pytest.mark.parametrize("check_mode", [True, False])
    def test_nothing_to_stop(self, sessions: Sessions, state: str, check_mode: bool) -> None:
        assert self._check(sessions, check_mode=check_mode, state=state, session="x")["changed"] is False


class TestReport:
    def _report(
        self, rc: int | None, *, timed_out: bool = False, oom: bool = False, **given: t.Any
    ) -> dict[str, t.Any]:
        outcome = Result("s", 7, rc, b"out\n\r\n", b"e\xff\n", 1000.0, 1001.5, timed_out, oom)
        return oci_exec.report(t.cast(t.Any, Module()), {"changed": True}, outcome, _params(**given))

    def test_success(self) -> None:
        result = self._report(0)
        assert (result["rc"], result["stdout"], result["stderr"]) == (0, "out", "e\udcff")
        assert (result["delta"], result["pid"], result["session"]) == ("0:00:01.500000", 7, "s")
        assert (result["signal"], result["timed_out"]) == (None, False)

    @pytest.mark.parametrize(
        ("version", "text"),
        [("2.17.9", "e\udcff"), ("2.18.0rc1", "e\udcff"), ("2.19.0", "e\ufffd"), ("3.0.0", "e\ufffd")],
    )
    def test_what_is_not_utf_8(self, version: str, text: str) -> None:
        module = Module()
        module.ansible_version = version
        outcome = Result("s", 7, 0, "\u00e9\ufffd\0".encode(), b"e\xff", 1.0, 2.0)
        assert oci_exec.report(t.cast(t.Any, module), {}, outcome, _params())["stderr"] == text
        assert [re.sub(r"\. .*", "", each) for each in module.warnings] == (
            ["Bytes of stderr that are not UTF-8 text were replaced"] if text == "e\ufffd" else []
        )

    def test_what_a_file_has_needs_no_warning(self) -> None:
        module = Module()
        module.ansible_version = "2.19.0"
        outcome = Result("s", 7, 0, b"\xff", b"\xff", 1.0, 2.0, truncated=("stdout", "stderr"))
        oci_exec.report(t.cast(t.Any, module), {}, outcome, _params(stdout_path="/out"))
        assert [re.findall("stdout|stderr", each.partition(". ")[0]) for each in module.warnings] == [["stderr"]] * 2

    def test_ends_as_they_are(self) -> None:
        assert self._report(0, strip_empty_ends=False)["stdout"] == "out\n\r\n"

    @pytest.mark.parametrize(
        ("rc", "says"),
        [
            (137, "non-zero return code (killed by the signal KILL): memory ran out in the container"),
            (1, "non-zero return code: memory ran out in the container"),
        ],
    )
    def test_memory_ran_out(self, rc: int, says: str) -> None:
        with pytest.raises(Failed) as caught:
            self._report(rc, oom=True)
        assert (caught.value.args[0]["msg"], caught.value.args[0]["oom_killed"]) == (says, True)
        # The command went on without the process that was killed.
        assert self._report(0, oom=True)["oom_killed"] is True
        assert self._report(0)["oom_killed"] is False

    @pytest.mark.parametrize(
        ("rc", "timed_out", "says", "name"),
        [
            (3, False, "non-zero return code", None),
            (137, False, "non-zero return code (killed by the signal KILL)", "KILL"),
            (143, True, "did not end within 5 seconds, and was stopped", "TERM"),
            (0, True, "did not end within 5 seconds, and was stopped", None),
            (None, False, "exit code of the command is unknown", None),
        ],
    )
    def test_failure(self, rc: int | None, timed_out: bool, says: str, name: str | None) -> None:
        with pytest.raises(Failed) as caught:
            self._report(rc, timed_out=timed_out, timeout=5.0)
        result = caught.value.args[0]
        assert says in result["msg"]
        assert (result["rc"], result["signal"], result["stdout"], result["changed"]) == (rc, name, "out", True)
