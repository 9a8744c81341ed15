# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Trials with one container: oci_container, oci_exec, oci_checkpoint, services and network helpers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import tarfile
import time
import typing as t

from . import fixtures, look
from .scenario import Scenario
from .tasks import Fault, Ran, Task


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The actions of the runtime in a task, for one that is slow at it.
_VERBS = {
    "present": ("create",), "started": ("create", "start", "resume", "restore"), "stopped": ("kill", "delete", "create"),
    "restarted": ("delete", "create", "start"), "paused": ("pause", "pause", "start", "create"), "absent": ("delete", "kill"),
    "recreate": ("delete", "create", "start"), "change": ("delete", "create", "start"), "rebundle": ("create", "start"),
    "exec": ("exec",), "exec-long": ("exec",), "session": ("exec",), "dump": ("checkpoint",), "dump-leave": ("checkpoint",),
    "export": ("checkpoint",), "export-leave": ("checkpoint",), "restored": ("restore",), "restored-keep": ("restore",),
    "imported": ("restore",), "imported-other": ("restore",),
}  # fmt: skip

# Tasks that take away a stored checkpoint.
_CONSUMES = _words("started paused restored restarted recreate change rebundle ck-absent absent imported")
_DUMPS = _words("dump dump-leave export export-leave restored restored-keep ck-absent imported imported-other")


class Containers(Scenario):
    """A container in some state, and any task about it."""

    name = "container"
    states = _words("absent created running running running paused stopped")
    goals = _words("present started started stopped stopped restarted paused paused absent recreate change rebundle")
    next_goals = _words("present started started stopped restarted paused absent recreate exec")
    slowness = ""
    # Of the trials: how many have a runtime that is slow at something.
    slow_share = 0.45

    # Bringing the state about

    def prepare(self) -> None:
        rng = self.rng
        self.runtime = self.host.runtimes[rng.choice(sorted(self.host.runtimes))]
        self.manager = rng.choice(self.host.managers)
        self.c = f"{self.token}c"
        self.bundles = [f"{self.place.base}/bundles/{self.token}{end}" for end in "ab"]
        self.volume = f"{self.place.base}/volumes/{self.token}"
        self.slow = f"{self.place.base}/slow/{self.token}"
        fixtures.make_volume(self.volume)
        # The program writes nothing there. But then conmon, and what mounts for it, are in a mount namespace of their own.
        read_only = rng.random() < 0.3
        for bundle in self.bundles:
            fixtures.make_bundle(
                bundle,
                self.volume,
                f"{self.place.base}/busybox",
                environment=os.path.basename(bundle),
                read_only=read_only,
            )
        self.launch = {}
        self._draw()
        goal, following = (self.goal_of(task) for task in (self.victim, self.following))
        self.launch = self._launch(self._verbs(goal))
        # Now that it is known what they are launched with.
        victim = self.task(goal)
        self.victim = dataclasses.replace(victim, key=f"{victim.key}@{self.start_state}")
        self.following = self.task(following)
        self.manifests = {path: look.manifest(path) for path in self.bundles}
        self.kept = look.manifest(self.volume, leave_out=("lives",))
        self.set_up(*self._way_to(self.start_state))
        self.lives_before = self._await_lives() if self.start_state in ("running", "paused", "session") else None
        if self.lives_before is None:
            self.lives_before = look.lives(self.volume)

    def _draw(self) -> None:
        self.start_state = self.rng.choice(self.states)
        self.victim = self.task(self.rng.choice(self.goals))
        self.following = self.task(self.rng.choice(self.next_goals))

    def _launch(self, verbs: t.Sequence[str]) -> dict[str, t.Any]:
        rng = self.rng
        found: dict[str, t.Any] = {"runtime": self.runtime, "cgroup_manager": self.manager}
        if rng.random() < self.slow_share:
            verb, seconds = rng.choice(verbs), rng.choice((0.2, 0.4, 0.8))
            self.slowness = f"{verb} takes {seconds} s longer"
            found["runtime"] = fixtures.make_slow(self.slow, self.runtime, verb, seconds)
        if rng.random() < 0.2:
            found["conmon_pidfile"] = f"{self.place.base}/given/{self.c}.pid"
        if rng.random() < 0.1:
            found["stdin"] = True
        return found

    def _verbs(self, goal: str) -> tuple[str, ...]:
        known = {
            ("paused", "started"): ("resume",),
            ("running", "paused"): ("pause",),
            ("created", "started"): ("start",),
        }
        return known.get((self.start_state, goal)) or _VERBS.get(goal, ("delete",))

    def _way_to(self, state: str) -> list[Task]:
        return [self.task(goal) for goal in {
            "absent": (), "created": ("present",), "running": ("started",), "paused": ("paused",), "stopped": ("started", "stopped"),
            "session": ("started", "session"), "checkpointed": ("started", "dump"), "archive": ("started", "export", "absent"),
            "running-with-checkpoint": ("started", "dump-leave"),
        }[state]]  # fmt: skip

    def _await_lives(self) -> int:
        """Until the program has said that it lives, so that a later line is another life."""
        limit = time.monotonic() + 5
        while not look.lives(self.volume) and time.monotonic() < limit:
            time.sleep(0.01)
        return look.lives(self.volume)

    # Tasks

    def task(self, goal: str) -> Task:
        params: dict[str, t.Any] = {"name": self.c, **self.directories}
        key = f"{self.name}:{goal}:{os.path.basename(self.runtime)}{':slow' if self.slowness else ''}"
        if goal in _EXECS:
            return Task(key, "oci_exec", {**params, **_EXECS[goal]})
        if goal in _DUMPS:
            return Task(key, "oci_checkpoint", {**params, **self._checkpoint(goal)})
        bundle = self.bundles[0]
        if goal == "rebundle":
            goal, bundle = "started", self.bundles[1]
        more: dict[str, t.Any] = {"bundle": bundle, **self.launch}
        if goal == "recreate":
            goal, more["recreate"] = "started", "always"
        if goal == "change":
            goal, more["log_size_max"] = "started", "1M"
        if goal == "absent":
            more = {}
        return Task(key, "oci_container", {**params, **more, "state": goal, "stop_timeout": 1, "kill_timeout": 10})

    def _checkpoint(self, goal: str) -> dict[str, t.Any]:
        return {}

    # The next task

    def excused(self, ran: Ran) -> str:
        if ran.task.module == "oci_exec":
            if not ran.task.key.split(":")[1].startswith("exec"):
                return "what it asks for may be gone"
            if self.truth().status != "running":
                return "the container does not run"
        return ""

    def truth(self) -> look.Truth:
        return look.container(self.programs, self.place, self.c, self.runtime)

    def goal_of(self, task: Task) -> str:
        return task.key.split(":")[1]

    def check(self, ran: Ran, *, later: bool) -> None:
        when = "2 s later " if later else ""
        goal = self.goal_of(ran.task)
        truth = self.truth()
        if truth.detail and truth.status in ("running", "paused"):
            self.find("wrong-state", f"{when}{truth.detail}")
        assert ran.said is not None
        reported = (ran.said.get("container") or {}) if isinstance(ran.said.get("container"), dict) else {}
        if "status" in reported and not _agree(reported["status"], truth.status):
            self.find(
                "wrong-state",
                f"{when}{goal} reported {reported['status']} (actions {ran.said.get('actions')}), it is {truth.status} ({truth.detail})",
            )
            return
        wanted = _WANTED.get(goal)
        if wanted and truth.status not in wanted:
            self.find("wrong-state", f"{when}{goal} succeeded, and the container is {truth.status} ({truth.detail})")
        if reported.get("pid") and truth.pid and reported["pid"] != truth.pid:
            self.find("wrong-state", f"{when}{goal} reported the pid {reported['pid']}, it is {truth.pid}")
        if reported.get("status") == "stopped" and not later:
            self._check_exit(reported)
        if goal == "exec" and not later and ran.said.get("stdout") != "said":
            self.find("wrong-state", f"exec returned {ran.said.get('stdout')!r}")

    def _check_exit(self, reported: dict[str, t.Any]) -> None:
        code, reason = reported.get("exit_code"), reported.get("exit_reason")
        excused = self.fault.scope in ("all", "program") or reason == "checkpoint-deleted"
        if code is None and not excused:
            self.find("lost-data", f"the exit code is lost: {reason}")
        elif code not in (None, fixtures.EXIT_CODE, 137, 143) and not excused:
            self.find("wrong-state", f"the exit code is {code}")

    def repeat(self, ran: Ran) -> bool:
        return self.goal_of(ran.task) in _words("present started stopped paused absent session dump restored")

    def afterwards(self, ran: Ran) -> None:
        self._check_lives(ran)
        self._check_files()

    def _check_lives(self, ran: Ran) -> None:
        """A container that nothing recreated lives its first life."""
        mild = _words(
            "present started paused exec exec-long dump dump-leave export export-leave restored restored-keep session finished session-absent session-stopped"
        )
        goals = (self.goal_of(self.victim), self.goal_of(ran.task))
        if self.start_state not in ("running", "paused", "checkpointed", "session", "running-with-checkpoint"):
            return
        if all(goal in mild for goal in goals) and self.fault.scope in ("task", "tree"):
            lives = look.lives(self.volume)
            assert self.lives_before is not None
            if lives > max(1, self.lives_before):
                self.find(
                    "lost-data", f"the container was recreated by {goals[0]} (killed) and {goals[1]}: {lives} lives"
                )

    def _check_files(self) -> None:
        for bundle, before in self.manifests.items():
            changed = look.difference(before, look.manifest(bundle))
            if changed:
                self.find("lost-data", f"the bundle {os.path.basename(bundle)} was changed: {changed}")
                self.manifests[bundle] = look.manifest(bundle)
        changed = look.difference(self.kept, look.manifest(self.volume, leave_out=("lives",)))
        if changed:
            self.find("lost-data", f"the volume was changed: {changed}")
            self.kept = look.manifest(self.volume, leave_out=("lives",))

    def removal(self) -> list[Task]:
        return [self.task("absent")]

    def removed(self) -> None:
        if self.truth().status != "absent":
            self.find("wrong-state", f"absent succeeded, and the container is {self.truth()}")
        self._check_files()
        for path in (*self.bundles, self.volume, self.slow):
            shutil.rmtree(path, ignore_errors=True)


_EXECS: dict[str, dict[str, t.Any]] = {
    "exec": {"argv": ["/bin/echo", "said"], "timeout": 20},
    "exec-long": {"argv": ["/bin/sleep", "0.7"], "timeout": 20},
    "session": {"argv": ["/bin/sh", "-c", "sleep 0.4; exit 5"], "detach": True, "session": "s"},
    "finished": {"state": "finished", "session": "s", "timeout": 20},
    "session-stopped": {"state": "stopped", "session": "s", "stop_timeout": 1},
    "session-absent": {"state": "absent", "session": "s", "stop_timeout": 1},
}
_WANTED: dict[str, tuple[str, ...]] = {
    "started": ("running",), "restarted": ("running",), "recreate": ("running",), "change": ("running",), "rebundle": ("running",),
    "paused": ("paused",), "absent": ("absent",), "stopped": ("stopped", "created", "checkpointed"),
    "dump": ("checkpointed",), "export": ("checkpointed",), "dump-leave": ("running", "paused"), "export-leave": ("running", "paused"),
    "restored": ("running", "paused"), "restored-keep": ("running", "paused"), "exec": ("running",),
}  # fmt: skip


def _agree(reported: str, truth: str) -> bool:
    """A container that the engine calls stopped or created may be known to the runtime no more, or not yet; a checkpointed one is
    restored afterwards, which tells."""
    return reported == truth or (reported in ("created", "stopped", "checkpointed") and truth == "stopped")


class Execs(Containers):
    """Commands in a container."""

    name = "exec"
    states = _words("running running session session paused")
    goals = _words("exec exec exec-long session finished session-stopped session-absent stopped")
    next_goals = _words(
        "exec exec session finished session-absent session-stopped started stopped paused absent restarted"
    )

    def check(self, ran: Ran, *, later: bool) -> None:
        super().check(ran, later=later)
        if self.goal_of(ran.task) == "finished" and not later:
            assert ran.said is not None
            self._check_session(ran.said.get("rc"))

    def excused(self, ran: Ran) -> str:
        if (
            self.goal_of(ran.task) == "finished"
            and ran.said is not None
            and "rc" in ran.said
            and ran.said["rc"] is not None
        ):
            # As with ansible.builtin.command, another exit code than 0 is a failed task.
            self._check_session(ran.said["rc"])
            return "the command failed"
        if self.goal_of(ran.task) == "finished" and self.start_state == "session" and not self._may_be_gone():
            return ""
        return super().excused(ran)

    def _may_be_gone(self) -> bool:
        return self.goal_of(self.victim) in ("session-stopped", "session-absent", "stopped") or self.fault.scope in (
            "all",
            "program",
        )

    def _check_session(self, code: t.Any) -> None:
        if code != 5 and not self._may_be_gone():
            self.find("lost-data", f"the session ended with 5, and finished says {code}")

    def repeat(self, ran: Ran) -> bool:
        # A session that has ended is started again.
        return self.goal_of(ran.task) in ("session-absent", "session-stopped", "started", "stopped", "paused", "absent")


class Services(Containers):
    """The same, with systemd as its owner."""

    name = "service"

    def _launch(self, verbs: t.Sequence[str]) -> dict[str, t.Any]:
        found = super()._launch(verbs)
        found.pop("conmon_pidfile", None)
        return {
            **found,
            "cgroup_manager": "systemd",
            "service": True,
            "restart_policy": self.rng.choice(("no", "on-failure", "always")),
        }

    def _check_exit(self, reported: dict[str, t.Any]) -> None:
        """systemd may have ended it in its own way."""


class Helpers(Containers):
    """The same, with a network helper, and a port that it publishes."""

    name = "network_helper"
    states = _words("absent running running stopped paused")

    def _launch(self, verbs: t.Sequence[str]) -> dict[str, t.Any]:
        helper = "pasta" if self.host.user == "root" else self.rng.choice(("pasta", "slirp4netns"))
        worker = int(os.path.basename(self.place.base)[1:].partition("g")[0])
        self.port = 20000 + (self.number * 16 + worker) % 30000
        return {**super()._launch(verbs), "network_helper": helper, "publish": [f"127.0.0.1:{self.port}:80"]}

    def removed(self) -> None:
        super().removed()
        _check_port(self, self.port)


def _check_port(scenario: Scenario, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            scenario.find("leak", f"port {port}: {error}")


class Checkpoints(Containers):
    """To disk and back."""

    name = "checkpoint"
    slow_share = 0.7
    states = _words("running running checkpointed checkpointed checkpointed archive archive running-with-checkpoint")
    next_goals = _words(
        "started started stopped paused restarted absent dump restored restored ck-absent export present recreate exec"
    )

    def _draw(self) -> None:
        rng = self.rng
        self.archive = f"{self.place.base}/archives/{self.c}.tar"
        self.archive_options = {
            "compression": rng.choice(("none", "gzip", "zstd")),
            "include_rootfs": rng.random() < 0.4,
        }
        self.start_state = rng.choice(self.states)
        goals = {
            "running": ("dump", "dump", "dump-leave", "export", "export-leave", "stopped", "started"),
            "checkpointed": _words(
                "restored restored restored-keep started started ck-absent ck-absent absent paused restarted export recreate"
            ),
            "archive": ("imported", "imported", "imported-other"),
            "running-with-checkpoint": ("dump", "dump-leave", "ck-absent", "restored", "export-leave", "absent"),
        }[self.start_state]
        if os.path.basename(self.runtime) == "crun" and self.start_state == "archive":
            # It ignores manage_cgroups_mode in a restore, and these hosts need that for another name.
            goals = ("imported",)
        self.victim = self.task(rng.choice(goals))
        following = rng.choice(self.next_goals)
        if self.start_state == "archive" and rng.random() < 0.5:
            following = self.goal_of(self.victim)
        self.following = self.task(following)

    def of_this_kind(self, fault: Fault) -> Fault:
        """A restore mounts the root file system for CRIU, and takes it away again."""
        restores = self.start_state in ("checkpointed", "archive") and self.rng.random() < 0.5
        return dataclasses.replace(fault, mount=True, program=0, change=0) if restores else fault

    def prepare(self) -> None:
        self.other = f"{self.token}o"
        super().prepare()
        self.archived = _digest(self.archive) if self.start_state == "archive" else ""

    def _verbs(self, goal: str) -> tuple[str, ...]:
        """To disk or from there, the runtime or CRIU."""
        verb = "restore" if self.start_state in ("checkpointed", "archive") else "checkpoint"
        return (*super()._verbs(goal), verb, "criu", "criu", "criu", "criu")

    def _checkpoint(self, goal: str) -> dict[str, t.Any]:
        export = {"archive": self.archive, **self.archive_options}
        # The restore of crun leaves the cgroups of hosts like these alone, under the name it had.
        found: dict[str, t.Any] = {"timeout": 60}
        if goal.startswith(("dump", "export")) and os.path.basename(self.runtime) == "crun":
            found["manage_cgroups_mode"] = "ignore"
        if goal.startswith("dump"):
            return {**found, "leave_running": goal.endswith("leave")}
        if goal.startswith("export"):
            return {**found, **export, "leave_running": goal.endswith("leave")}
        if goal.startswith("restored"):
            return {**found, "state": "restored", "keep": goal.endswith("keep")}
        if goal == "ck-absent":
            return {**found, "state": "absent"}
        imported = {**found, "state": "restored", "archive": self.archive, "bundle": self.bundles[0], **self.launch}
        if os.path.basename(self.runtime) == "crun":
            imported["manage_cgroups_mode"] = "ignore"
        if goal == "imported-other":
            imported.update(new_name=self.other, bundle=self.bundles[1])
        return imported

    def excused(self, ran: Ran) -> str:
        goal, victim = self.goal_of(ran.task), self.goal_of(self.victim)
        if goal in ("restored", "restored-keep"):
            if look.stored_checkpoint(self.place, self.c):
                return ""
            if self.start_state == "checkpointed" and victim not in _CONSUMES:
                self.find(
                    "lost-data", f"the checkpoint is gone, and {victim} (killed) does not take it: {ran.message()}"
                )
            return "there is no checkpoint"
        if goal in ("dump", "export", "dump-leave", "export-leave"):
            status = self.truth().status
            return "" if status in ("running", "paused") else f"the container is {status}"
        if goal.startswith("imported") and self.fault.scope == "program":
            return ""
        return super().excused(ran)

    def check(self, ran: Ran, *, later: bool) -> None:
        if self.goal_of(ran.task) == "imported-other":
            truth = look.container(self.programs, self.place, self.other, self.runtime)
            if truth.status != "running":
                self.find("wrong-state", f"{'2 s later ' if later else ''}imported as {self.other}, which is {truth}")
            return
        super().check(ran, later=later)

    def repeat(self, ran: Ran) -> bool:
        return super().repeat(ran) and self.goal_of(ran.task) != "restored"

    def afterwards(self, ran: Ran) -> None:
        reported = ((ran.said or {}).get("container") or {}).get("status")
        if reported == "checkpointed" and (self.truth().status == "stopped" or self.rng.random() < 0.6):
            started = self.runner.run(self.task("started"))
            if self.judge(started, "what is checkpointed cannot be restored:") and self.truth().status != "running":
                self.find("wrong-state", f"restored by started, and it is {self.truth()}")
        if os.path.exists(self.archive):
            self._check_archive()
        super().afterwards(ran)

    def _check_archive(self) -> None:
        if self.archived:
            if _digest(self.archive) != self.archived:
                self.find("lost-data", "the archive was changed by an import")
            return
        try:
            with open(self.archive, "rb") as stream:
                if stream.read(4) == b"\x28\xb5\x2f\xfd":
                    whole = self.programs.run(["zstd", "-qt", self.archive]).status == 0
                else:
                    with tarfile.open(self.archive) as archive:
                        whole = bool(archive.getmembers())
        except (OSError, EOFError, tarfile.TarError) as error:
            whole = False
            self.find("incomplete", f"the archive: {error}")
        if not whole:
            self.find("incomplete", "the archive is not whole")

    def _check_lives(self, ran: Ran) -> None:
        super()._check_lives(ran)

    def removal(self) -> list[Task]:
        other = Task(f"{self.name}:absent:other", "oci_container", {**self.task("absent").params, "name": self.other})
        return [self.task("absent"), other] if self.start_state == "archive" else [self.task("absent")]

    def removed(self) -> None:
        super().removed()
        directory = os.path.dirname(self.archive)
        left = [name for name in os.listdir(directory) if self.token in name and name != os.path.basename(self.archive)]
        for name in left:
            self.find("leak", f"file {directory}/{name}")
        for name in os.listdir(directory):
            if self.token in name:
                with contextlib.suppress(OSError):
                    os.unlink(f"{directory}/{name}")


def _digest(path: str) -> str:
    return json.dumps(look.manifest(os.path.dirname(path)).get(os.path.basename(path)))
