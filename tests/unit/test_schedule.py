# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bin/test runs beside what, and in which order."""

from __future__ import annotations

import functools
import pathlib
import threading

import pytest

from ansible_collections.longshore.oci.tests.run import hosts, integration, report, sharing
from ansible_collections.longshore.oci.tests.unit import yaml_text

KIND = hosts.DEFAULT_KINDS[0]
COLLECTION = pathlib.Path(__file__).parents[2]
TARGETS = COLLECTION / "tests/integration/targets"
# The runtimes and users with which a run without a word about hosts leaves it out.
NOT_IN_A_SHORT_RUN = {
    "oci_container_info": {"runc", "app"},
    "oci_bundle": {"runc"},
    "oci_network": {"runc", "app"},
    "hostile": {"crun", "runc", "root", "app"},
    "examples": {"runc"},
    "role_runtime": {"runc"},
    "role_container": {"runc", "app"},
    "migrate": {"runc"},
    "publish": {"runc"},
}


def _hosts() -> list[hosts.Host]:
    return [hosts.Host("", {}, KIND, number, True) for number in range(1, len(hosts._HOSTS) + 1)]


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
    assert sorted(job for _worker, job in done) == list(range(9))
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
    assert sorted(job.label for _end, taken in planned for job in taken) == sorted(job.label for job in found)
    assert len({job.label for job in found}) == len(found)
    assert [job.how for job in planned[hosts._PARTNER - 1][1]] == []
    assert all(
        number == hosts._PARTNER - 2
        for number, (_end, taken) in enumerate(planned)
        for job in taken
        if job.how == "together"
    )


def test_the_hosts_of_root_are_done_at_about_the_same_time(tmp_path: pathlib.Path) -> None:
    """All but the campaign, which then is beside little."""
    known = sharing.durations(str(tmp_path))
    waiting = [job for job in hosts.in_order(hosts.jobs(KIND, True, []), known) if job.how != "campaign"]
    planned = sharing.plan(_hosts(), waiting, hosts.fits, functools.partial(_length, known))
    first, third = planned[0][0], planned[2][0]
    assert abs(first - third) < 60


def _pairs(brief: bool) -> dict[str, set[tuple[str, str]]]:
    """Return with which runtimes and users each name runs."""
    found: dict[str, set[tuple[str, str]]] = {}
    for job in hosts.jobs(KIND, brief, []):
        found.setdefault(job.name, set()).add((job.runtime, job.user))
    return found


def test_a_short_run_has_each_runtime_and_each_user() -> None:
    """Of each target and scenario, but for the exceptions."""
    whole, short = _pairs(False), _pairs(True)
    lacking = {
        name: {word for place in (0, 1) for word in {pair[place] for pair in pairs - short.get(name, set())}}
        - {word for pair in short.get(name, set()) for word in pair}
        for name, pairs in whole.items()
    }
    assert {name: words for name, words in lacking.items() if words} == NOT_IN_A_SHORT_RUN


def test_the_exceptions_of_a_short_run_are_documented() -> None:
    said = (COLLECTION / "docs/testing.md").read_text(encoding="utf-8").partition("With runtimes and users")[2]
    assert [name for name in NOT_IN_A_SHORT_RUN if f"`{name}`" not in said.partition("\n\n")[0]] == []


def _that_ask_for_systemd(target: str) -> set[str]:
    """Return the names of the tests of a target that do; "" for the target itself."""
    tasks = TARGETS / target / "tasks"
    texts = {path.relative_to(tasks): path.read_text(encoding="utf-8") for path in tasks.rglob("*.yml")}
    found = set()
    for path in (path for path, text in texts.items() if "setup_bundle_host.systemd" in text):
        users = [path] if path.parts[0] == "tests" else [user for user, text in texts.items() if path.name in text]
        found |= {user.parts[1].partition(".")[0] if user.parts[0] == "tests" else "" for user in users or [path]}
    return found


def test_what_asks_for_systemd_runs_where_it_is() -> None:
    """Also in a short run: on this machine it may be left out."""
    run: dict[str, set[str]] = {}
    for job in hosts.jobs(KIND, True, []):
        # Only root can make a checkpoint: for others the target is that they are refused.
        if job.how == "target" and (job.name, job.user) != ("oci_checkpoint", "app"):
            defaults = TARGETS / job.name / "defaults/main.yml"
            every = yaml_text.load(defaults.read_text(encoding="utf-8")) if defaults.exists() else {}
            chosen = hosts.tests_of(job, True) or every.get(f"{job.name}_tests", [])
            run.setdefault(job.name, {""}).update(chosen)
    asked = {target: _that_ask_for_systemd(target) for target in hosts.TARGETS["root"]}
    assert {"service", "owner"} <= asked["oci_container"]
    missing = {target: names - run.get(target, set()) for target, names in asked.items()}
    # Of hostile one canary of several is a unit.
    assert {target: names for target, names in missing.items() if names} == {"hostile": {""}}


def test_what_is_held_to_a_time_begins_last_where_the_order_is_free(tmp_path: pathlib.Path) -> None:
    waiting = hosts.in_order(hosts.jobs(KIND, True, []), sharing.durations(str(tmp_path)))
    of_one_host = [job.name in hosts.TIMED for job in waiting if job.user == "app"]
    assert of_one_host == sorted(of_one_host)
    assert integration.TIMED == hosts.TIMED


@pytest.mark.parametrize("brief", [True, False])
def test_the_campaign_which_judges_times_begins_last(brief: bool, tmp_path: pathlib.Path) -> None:
    known = sharing.durations(str(tmp_path))
    waiting = hosts.in_order(hosts.jobs(KIND, brief, []), {**known, f"hosts campaign ({KIND}, both, root)": 9999})
    assert [job.how for job in waiting].index("campaign") == len(waiting) - 1


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
