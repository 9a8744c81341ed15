# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Trials with oci_network. Only one of them at a time on a host: rules and sysctls are the host's."""

from __future__ import annotations

import json
import os
import typing as t

from .scenario import Scenario
from .tasks import Ran, Task


class Networks(Scenario):
    """A network in some state, perhaps with another one on the same bridge, and any task about it."""

    name = "network"
    network = True

    def prepare(self) -> None:
        rng = self.rng
        self.names = [f"{self.token}n", f"{self.token}m"]
        self.bridge = f"ls{self.number % 100000}b"
        self.start_state = rng.choice(("absent", "one", "one", "beside", "beside-alone"))
        there = self.start_state in ("one", "beside")
        goals = ("changed", "changed", "absent", "lonely", "other-bridge") if there else ("one", "changed", "lonely")
        self.victim = self._task(rng.choice(goals))
        self.following = self._task(rng.choice(("one", "one", "changed", "absent", "lonely", "other-bridge")))
        self.beside = self.start_state.startswith("beside")
        if self.beside:
            self.set_up(self._task("one", 1))
        if there:
            self.set_up(self._task("one"))
        self.kept = self._addresses(self.names[1]) if self.beside else []

    def _task(self, goal: str, which: int = 0) -> Task:
        params: dict[str, t.Any] = {"name": self.names[which], "state_dir": self.place.state, "run_dir": self.place.run}
        port = 8000 + which
        if goal == "absent":
            params["state"] = "absent"
        elif goal != "lonely":
            bridge = f"{self.bridge[:-1]}c" if goal == "other-bridge" else self.bridge
            subnet = "10.98.0.0/24" if goal == "other-bridge" else "10.97.0.0/24"
            params.update(bridge=bridge, subnet=[subnet, "fd00:97:1::/64"] if goal == "changed" else [subnet])
            params["publish"] = (
                [f"{port}:80"] if goal != "changed" else [f"{port + 100}:80", f"127.0.0.1:{port + 200}:53/udp"]
            )
            if goal == "changed":
                params["mtu"] = 1400
        return Task(f"network:{goal}", "oci_network", params)

    def _addresses(self, name: str) -> list[str]:
        asked = self.programs.run(["ip", "-n", name, "-j", "address", "show", "dev", "eth0"])
        if asked.status != 0:
            return []
        found = [
            f"{each['local']}/{each['prefixlen']}"
            for link in json.loads(asked.output)
            for each in link.get("addr_info", ())
        ]
        return sorted(each for each in found if not each.startswith("fe80"))

    def check(self, ran: Ran, *, later: bool) -> None:
        when = "2 s later " if later else ""
        goal, name = ran.task.key.split(":")[1], self.names[0]
        assert ran.said is not None
        there = os.path.exists(f"/run/netns/{name}")
        if there != (goal != "absent"):
            self.find("wrong-state", f"{when}{goal} succeeded, and /run/netns/{name} is {'' if there else 'not '}there")
        elif there:
            reported = sorted(each for link in ran.said["network"]["interfaces"] for each in link["addresses"])
            if reported != self._addresses(name):
                self.find("wrong-state", f"{when}{goal} reported {reported}, there is {self._addresses(name)}")
            self._check_links(ran.said["network"]["interfaces"], when)
        if self.beside and self._addresses(self.names[1]) != self.kept:
            self.find("lost-data", f"{when}the other network had {self.kept}, has {self._addresses(self.names[1])}")

    def _check_links(self, interfaces: list[dict[str, t.Any]], when: str) -> None:
        # Not from /sys, which may be that of another network namespace on a host that is itself a container.
        asked = self.programs.run(["ip", "-j", "link", "show"])
        masters = {link["ifname"]: link.get("master") for link in json.loads(asked.output)}
        for each in interfaces:
            if masters.get(each["host_interface"]) != each["bridge"]:
                self.find("wrong-state", f"{when}{each['host_interface']} is not on {each['bridge']}")

    def afterwards(self, ran: Ran) -> None:
        """Nothing is to be done for the one beside it."""
        if self.beside:
            again = self.runner.run(self._task("one", 1))
            if self.judge(again, "the network beside it:") and again.said and again.said.get("changed"):
                self.find("wrong-state", f"the network beside it needed {again.said.get('actions')}")

    def removal(self) -> list[Task]:
        return [self._task("absent"), *([self._task("absent", 1)] if self.beside else [])]

    def removed(self) -> None:
        for name in self.names:
            if os.path.exists(f"/run/netns/{name}"):
                self.find("leak", f"namespace {name}")
