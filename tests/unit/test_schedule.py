# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bin/test runs beside what, and in which order."""

from __future__ import annotations

import functools
import pathlib
import threading

import pytest

from ansible_collections.longshore.oci.tests.run import hosts, integration, report, sharing

KIND = hosts.DEFAULT_KINDS[0]


def _hosts() -> list[hosts.Host]:
    return [hosts.Host("", {}, KIND, number, True) for number, _ in enumerate(hosts._HOSTS, start=1)]


def _length(known: dict[str, float], job: hosts.Job) -> float:
    return sharing.seconds(known, f"hosts {job.label}")


def test_the_longest_begins_first_and_each_takes_what_is_left() -> None:
    planned = sharing.plan([1, 2], [5, 4, 3, 2], lambda _worker, _job: True, float)
    assert planned == [(7, [5, 2]), (7, [4, 3])]


def test_a_worker_leaves_what_does_not_fit_it() -> None:
    planned = sharing.plan(["odd", "all"], [6, 4, 3], lambda worker, job: worker == "all" or job % 2 == 1, float)
    assert planned == [(3, [3]), (10, [6, 4])]


def test_all_is_done_once_and_by_all_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=10)

    def work(worker: str, job: int) -> tuple[str, int]:
        if job < 2:
            together.wait()
        return worker, job

    done = sharing.share(["a", "b"], list(range(9)), lambda _worker, _job: True, work)
    assert sorted(job for _, job in done) == list(range(9))
    assert {worker for worker, job in done if job < 2} == {"a", "b"}


def test_times_of_a_run_go_before_those_of_the_checkout(tmp_path: pathlib.Path) -> None:
    written = sharing.durations(str(tmp_path))
    name = next(iter(written))
    sharing.keep(str(tmp_path), {name: 12345.67})
    sharing.keep(str(tmp_path), {"hosts new": 1})
    assert sharing.durations(str(tmp_path)) == {**written, name: 12345.7, "hosts new": 1}


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"hosts a": "1"}', '{"hosts a": null}', '{"hosts a": true}'])
def test_damaged_times_are_not_taken(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "durations.json").write_text(text, encoding="utf-8")
    assert sharing.durations(str(tmp_path)) == sharing.durations(str(tmp_path / "none"))


def test_a_cache_that_keeps_nothing_fails_no_run(tmp_path: pathlib.Path) -> None:
    sharing.keep(str(tmp_path / "none"), {"hosts a": 1})
    (tmp_path / "durations.json").mkdir()
    sharing.keep(str(tmp_path), {"hosts a": 1})


@pytest.mark.parametrize("brief", [True, False])
def test_each_job_has_a_host(brief: bool, tmp_path: pathlib.Path) -> None:
    found = hosts.jobs(KIND, brief, [])
    known = sharing.durations(str(tmp_path))
    planned = sharing.plan(_hosts(), hosts.in_order(found, known), hosts.fits, functools.partial(_length, known))
    assert sorted(job.label for _, taken in planned for job in taken) == sorted(job.label for job in found)
    assert len({job.label for job in found}) == len(found)
    assert [job.how for job in planned[hosts._PARTNER - 1][1]] == []
    assert all(
        number == hosts._PARTNER - 2
        for number, (_, taken) in enumerate(planned)
        for job in taken
        if job.how == "together"
    )


def test_the_hosts_of_root_are_done_at_about_the_same_time(tmp_path: pathlib.Path) -> None:
    known = sharing.durations(str(tmp_path))
    waiting = hosts.in_order(hosts.jobs(KIND, True, []), known)
    planned = sharing.plan(_hosts(), waiting, hosts.fits, functools.partial(_length, known))
    first, third = planned[0][0], planned[2][0]
    assert abs(first - third) < 60


def test_a_short_run_has_each_runtime_and_each_user() -> None:
    """Of each target and scenario that runs with several at all."""

    def pairs(brief: bool) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {}
        for job in hosts.jobs(KIND, brief, []):
            found.setdefault(job.name, set()).add((job.runtime, job.user))
        return found

    whole, short = pairs(False), pairs(True)
    for name in ("oci_container", "oci_exec", "oci_checkpoint", "reboot", "end of session", "no session", "quickstart"):
        for place in (0, 1):
            assert {pair[place] for pair in short[name]} == {pair[place] for pair in whole[name]}, name


def test_what_is_held_to_a_time_begins_last_where_the_order_is_free(tmp_path: pathlib.Path) -> None:
    waiting = hosts.in_order(hosts.jobs(KIND, True, []), sharing.durations(str(tmp_path)))
    of_one_host = [job.name in hosts.TIMED for job in waiting if job.user == "app"]
    assert of_one_host == sorted(of_one_host)
    assert integration.TIMED == hosts.TIMED


def test_only_what_passed_tells_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    account = report.Report()
    part = account.begin("hosts")
    part.add("a", passed=1, seconds=3)
    part.add("b", failed=1, seconds=4, output="why")
    assert account.took == {"hosts a": 3}


def test_a_failed_part_is_said_once_more_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    account = report.Report()
    failed = [f"TASK [{number}]\nfatal: [host]: FAILED! => {'x' * 5000}\n" + "more\n" * 30 for number in range(20)]
    account.begin("integration").add("oci_exec", failed=1, output="".join(failed))
    account.begin("lint").add("ruff", failed=1, output="\n".join(f"line {number}" for number in range(200)))
    capsys.readouterr()
    assert account.summary() == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) < 60
    assert max(map(len, said)) < 320
    assert {"integration oci_exec:", "      | TASK [19]"} <= set(said)
    assert said[-2:] == ["      | line 199", "0 passed, 2 failed"]
