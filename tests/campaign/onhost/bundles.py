# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Trials with oci_bundle: made, changed, removed; copied and as an overlay, from an image and from a directory."""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from . import look
from .scenario import Scenario
from .tasks import Ran, Task

_VOLUME_FILE = "of the user"


class Bundles(Scenario):
    """A bundle in some state, and any task about it."""

    name = "bundle"
    goals = ("v1", "v2", "env", "absent")

    def prepare(self) -> None:
        rng = self.rng
        self.mode = rng.choice(("copy", "overlay")) if self.host.user == "root" else "copy"
        self.source = rng.choice(("image", "image", "rootfs"))
        # Now and then nothing is in the cache, so that skopeo and umoci have to work.
        self.cold = rng.random() < 0.3
        self.state = f"{self.place.base}/cold/{self.token}" if self.cold else self.place.state
        self.path = f"{self.place.base}/bundles/{self.token}"
        self.fresh = self._fresh()
        self.start_state = rng.choice(("absent", "v1", "v1", "v1"))
        goals = ("v1", "v2") if self.start_state == "absent" else ("v2", "env", "absent", "absent")
        self.victim = self._task(rng.choice(goals))
        self.following = self._task(rng.choice(("v1", "v1", "v2", "env", "absent")))
        if self.start_state != "absent":
            self.set_up(self._task(self.start_state))
            if self.source == "image":
                with open(f"{self._volume()}/user", "w", encoding="utf-8") as stream:
                    stream.write(_VOLUME_FILE)

    def watched(self) -> list[str]:
        return [
            self.state if self.cold else self.place.state,
            *([self.path] if os.path.isdir(self.path) else [f"{self.place.base}/bundles"]),
        ]

    def _task(self, goal: str, path: str = "") -> Task:
        key = f"bundle:{goal}:{self.source}:{self.mode}:{'cold' if self.cold else 'warm'}"
        params: dict[str, t.Any] = {"path": path or self.path, "state_dir": self.state, "run_dir": self.place.run}
        if goal == "absent":
            return Task(key, "oci_bundle", {**params, "state": "absent"})
        version = "v2" if goal == "v2" else "v1"
        if self.source == "image":
            params["image"] = f"oci:{self.place.base}/layout:{version}"
        else:
            params["rootfs"] = f"{self.place.base}/rootfs-{version}"
        params.update(
            rootfs_mode=self.mode,
            env={"NEW": "value"} if goal == "env" else {},
            argv=["/bin/sleep", "1000"],
            hostname="campaign",
            timeout=120,
        )
        return Task(key, "oci_bundle", params)

    def _fresh(self) -> dict[str, t.Any]:
        """How each one looks when no task is killed; looked at once for each worker."""
        known: dict[str, t.Any] = self.shared.setdefault(f"bundle {self.mode} {self.source}", {})
        for goal in ("v1", "v2", "env") if not known else ():
            path, cold = self.path, self.cold
            self.path, self.cold = f"{self.place.base}/bundles/fresh", False
            state, self.state = self.state, self.place.state
            self.set_up(self._task(goal))
            known[goal] = self._look()
            self.set_up(self._task("absent"))
            self.path, self.cold, self.state = path, cold, state
        return known

    def _config(self) -> dict[str, t.Any]:
        with open(f"{self.path}/config.json", encoding="utf-8") as stream:
            value: dict[str, t.Any] = json.load(stream)
        return value

    def _volume(self) -> str:
        return str(next(each["source"] for each in self._config()["mounts"] if each["destination"] == "/data"))

    def _look(self) -> dict[str, t.Any]:
        """The root file system, and the parts of the config that tell versions apart."""
        config = self._config()
        root = os.path.join(self.path, config["root"]["path"])
        return {
            "files": look.manifest(root),
            "process": {"args": config["process"]["args"], "env": sorted(config["process"]["env"])},
        }

    def check(self, ran: Ran, *, later: bool) -> None:
        goal = ran.task.key.split(":")[1]
        when = "2 s later " if later else ""
        assert ran.said is not None
        if goal == "absent":
            if os.path.lexists(self.path):
                self.find("wrong-state", f"{when}absent succeeded, and there is {sorted(os.listdir(self.path))[:5]}")
            return
        try:
            seen = self._look()
        except (OSError, ValueError, KeyError) as error:
            self.find("incomplete", f"{when}{goal} succeeded (actions {ran.said.get('actions')}), and {error}")
            return
        files = look.difference(self.fresh[goal]["files"], seen["files"])
        if files:
            self.find(
                "incomplete",
                f"{when}{goal} succeeded (actions {ran.said.get('actions')}), and its root file system: {files}",
            )
        if seen["process"] != self.fresh[goal]["process"]:
            self.find("wrong-state", f"{when}{goal} succeeded, and its process is {seen['process']}")
        if self.source == "image":
            self._check_volume(goal, when)

    def _check_volume(self, goal: str, when: str) -> None:
        removed = self.victim.key.split(":")[1] == "absent"
        if self.start_state == "absent" or removed:
            return
        try:
            with open(f"{self._volume()}/user", encoding="utf-8") as stream:
                text = stream.read()
        except OSError as error:
            text = str(error)
        if text != _VOLUME_FILE:
            self.find("lost-data", f"{when}{goal}: a file in the volume: {text}")

    def removal(self) -> list[Task]:
        return [self._task("absent")]

    def removed(self) -> None:
        if os.path.lexists(self.path):
            self.find("wrong-state", f"absent succeeded, and there is {sorted(os.listdir(self.path))[:5]}")
        directory, name = os.path.split(self.path)
        for left in os.listdir(directory):
            if name in left and left != name:
                self.find("leak", f"file {directory}/{left}")
        self._check_cache()
        shutil.rmtree(self.path, ignore_errors=True)

    def _check_cache(self) -> None:
        """Images and root file systems stay in the cache; temporary files do not."""
        for directory, names, files in os.walk(self.state):
            depth = os.path.relpath(directory, self.state).count("/")
            if depth > 2:
                names.clear()
            for each in [*names, *files]:
                if each.startswith(".tmp-"):
                    self.find("leak", f"file {directory}/{each}")
        if self.cold:
            shutil.rmtree(self.state, ignore_errors=True)
