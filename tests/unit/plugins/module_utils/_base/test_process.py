# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import enum
import os
import pathlib
import signal
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import process
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId


class TestIdentity:
    @pytest.mark.pure
    def test_of_ourselves(self) -> None:
        found = process.identify(os.getpid())
        assert found == ProcessId(os.getpid(), found.start if found else 0, process.boot_id())
        assert process.is_alive(found)

    def test_two_processes_are_two(self, spawn: t.Any) -> None:
        one, other = process.identify(spawn().pid), process.identify(spawn().pid)
        assert one is not None
        assert one != other

    def test_of_a_zombie(self, zombie: ProcessId) -> None:
        """kill(pid, 0) would call it alive, for as long as its parent does not care."""
        os.kill(zombie.pid, 0)
        assert process.identify(zombie.pid) is None
        assert not process.is_alive(zombie)

    def test_of_nobody(self, spawn: t.Any) -> None:
        child = spawn("true")
        child.wait()
        assert process.identify(child.pid) is None
        assert not process.is_alive(None)

    @pytest.mark.parametrize("name", ["a b", "a) R 1 (b", "))", "("])
    def test_of_a_program_with_any_name(self, spawn: t.Any, tmp_path: pathlib.Path, name: str) -> None:
        """The name of the program stands in parentheses in /proc/PID/stat, unescaped."""
        os.symlink("/bin/sleep", tmp_path / name)
        named, plain = process.identify(spawn(f"{tmp_path}/{name}", "60").pid), process.identify(spawn().pid)
        assert named is not None
        assert plain is not None
        assert 0 <= plain.start - named.start < 60 * os.sysconf("SC_CLK_TCK")

    def test_a_number_that_is_used_again_is_somebody_else(self, spawn: t.Any) -> None:
        found = process.identify(spawn().pid)
        assert found is not None
        assert process.is_alive(found)
        assert not process.is_alive(found._replace(start=found.start - 1))
        assert not process.is_alive(found._replace(boot="another"))

    @pytest.mark.pure
    def test_boot_id(self) -> None:
        assert len(process.boot_id()) == 36


def test_stuck_in_of_one_that_is_gone(spawn: t.Any) -> None:
    child = spawn("true")
    child.wait()
    assert process.stuck_in(ProcessId(child.pid, 1, "")) == "no longer there"


def test_parents(spawn: t.Any) -> None:
    child = spawn()
    assert process.parent_of(child.pid) == os.getpid()
    child.kill()
    child.wait()
    assert process.parent_of(child.pid) == 0


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigTerm", 15), (" KILL ", 9), ("15", 15), (15, 15), ("1", 1),
        ("64", 64), ("RTMIN", 34), ("RTMIN+0", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX", 64), ("USR1", 10),
        ("SIGRTMAX-1", 63), ("RTMAX-0", 64), ("sigrtmax-14", 50), ("RTMAX-30", 34), ("SIGRTMIN", 34), ("37", 37), ("STKFLT", 16),
        ("SIGCLD", 17), ("POLL", 29), ("IOT", 6),
    ],
)  # fmt: skip
def test_parse_signal(text: str | int, number: int) -> None:
    assert process.parse_signal(text) == number


@pytest.mark.pure
@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65",
        "-1",
        -1,
        0,
        "NOPE",
        "SIG",
        "SIGSIGTERM",
        "TERM+1",
        "RTMIN+31",
        "RTMIN+x",
        "RTMIN+",
        "+",
        "1.5",
        "²",
        "_DFL",
        "RTMAX-31",
        "RTMIN-1",
        "RTMAX+1",
        "RTMAX-",
        "RTMAX--1",
        "TERM-1",
        "\uff11\uff15",
        "RTMIN+\u0663",
        "\u017fIGTERM",
        "S\u0131GTERM",
        "1_5",
        "+15",
        "\u00a0TERM",
    ],
)
def test_no_signal(text: str | int) -> None:
    with pytest.raises(InvalidOption, match="is not a signal of this system"):
        process.parse_signal(text)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("SIGTREM", "Did you mean TERM?"), ("SIGFOO", "Use a name such as TERM, or a number."), ("USR3", "Did you mean USR2?"),
        ("rtmax+1", "Did you mean RTMAX?"), ("0", "Use a name such as TERM, or a number."),
        *((text, "Use RTMIN+0 to RTMIN+30, or RTMAX-0 to RTMAX-30.") for text in ("RTMIN+31", "SIGRTMAX-31", "rtmin+99", "SIGRTMIN+100")),
        ("RTMIN-1", "Did you mean RTMIN?"),
    ],
)  # fmt: skip
def test_the_nearest_signal_is_named(text: str, hint: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        process.parse_signal(text)
    assert caught.value.hint == hint


@pytest.mark.pure
@pytest.mark.parametrize("number", range(1, signal.SIGRTMAX + 1))
def test_a_signal_by_its_name_is_itself(number: int) -> None:
    assert process.parse_signal(process.signal_name(number)) == number


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "number"),
    [("RTMIN", 34), ("RTMIN+0", 34), ("RTMIN+3", 37), ("SIGRTMIN+15", 49), ("RTMAX-14", 50), ("RTMAX", 64)],
)
def test_real_time_signals_of_another_c_library(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    """musl keeps 34 for itself, but runtimes and images count from there."""
    monkeypatch.setattr(signal, "SIGRTMIN", 35)
    monkeypatch.setattr(signal, "Signals", enum.IntEnum("Signals", {"SIGTERM": 15, "SIGRTMIN": 35, "SIGRTMAX": 64}))
    assert process.parse_signal(text) == number
    assert process.parse_signal(process.signal_name(number)) == number
    assert process.signal_name(35) == "RTMIN+1"


@pytest.mark.pure
def test_signal_names() -> None:
    assert [process.signal_name(number) for number in (9, 15, 37)] == ["KILL", "TERM", "RTMIN+3"]


@pytest.mark.pure
class TestPidFiles:
    @pytest.mark.parametrize("text", [None, "", "\n", "soon"])
    def test_nobody_is_in_it(self, tmp_path: pathlib.Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "pid").write_text(text)
        assert process.in_pid_file(f"{tmp_path}/pid") is None

    def test_who_lives(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "pid").write_text(f"{os.getpid()}\n")
        assert process.in_pid_file(f"{tmp_path}/pid") == process.identify(os.getpid())
