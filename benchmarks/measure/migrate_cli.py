# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves a container with 256 MiB of memory between two hosts of bin/hosts, by the role migrate and by bare commands."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import typing as t

# The code that the measurements share needs the engine, which imports nothing of Ansible.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../plugins"))

from . import rounds, table
from .clock import Lap
from .tasks import REPOSITORY, Ansible

LIMIT = 1.5  # what the role may keep the container from its work, in times of dump + raw copy + restore
MEMORY = 256 << 20
BUNDLE, IMAGES = "/srv/migrate-benchmark", "/srv/migrate-benchmark-images"
# One process has the memory, another says all the time that it is there.
WORK = f"""
(head -c {MEMORY} /dev/urandom; sleep 86400) | tail -c {MEMORY} > /dev/null &
trap 'kill 0' TERM
while :; do echo here; sleep 0.01; done
"""
TIMED = """
import subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
print(time.perf_counter() - began)
sys.exit(done.stderr or done.returncode)
"""
DUMP, COPY, RESTORE = "bare: dump", "bare: raw copy over ssh", "bare: restore"
SUM, ROLE = "bare: the sum", "role migrate: silence in the log"
STEP = "256 MiB from host to host"


class Hosts:
    """Two test hosts, and the way from the first to the second."""

    def __init__(self, directory: str, kind: str) -> None:
        self.state, self.names = f"{directory}/hosts", (f"{kind}1", f"{kind}2")

    def __enter__(self) -> Hosts:
        self._bin_hosts("up", *self.names)
        inventory = subprocess.run(
            ["grep", "-A2", f"{self.names[1]}:", f"{self.state}/inventory.yml"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.address = inventory.split("longshore_host_address:")[1].split()[0]
        here, there = self.names
        self.ssh(here, "test -e ~/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")
        key = self.ssh(here, "cat ~/.ssh/id_ed25519.pub").strip()
        self.ssh(there, f"echo {shlex.quote(key)} >> $(sshd -T | sed -n 's/^authorizedkeysfile //p')")
        self.ssh(here, f"ssh-keyscan -t ed25519 {self.address} > ~/.ssh/known_hosts 2>/dev/null")
        return self

    def __exit__(self, *_exc: object) -> None:
        self._bin_hosts("down")

    def ssh(self, host: str, command: str) -> str:
        argv = ["ssh", "-F", f"{self.state}/ssh_config", host, command]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"migrate: on {host}: {command}\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
        return done.stdout

    def timed(self, host: str, *argv: str) -> float:
        """Milliseconds of a command, as the host itself sees it."""
        return 1000 * float(self.ssh(host, shlex.join(["python3", "-c", TIMED, *argv])).split()[0])

    def wait_for_memory(self, host: str) -> None:
        for _try in range(200):
            if int(self.ssh(host, "ps -C tail -o rss= | sort -n | tail -n 1").strip() or 0) * 1024 >= MEMORY:
                return
            time.sleep(0.2)
        raise SystemExit(f"migrate: the container on {host} does not get its memory")

    def _bin_hosts(self, *words: str) -> None:
        subprocess.run(
            [f"{REPOSITORY}/bin/hosts", "--state-dir", self.state, *words], check=True, stdout=subprocess.DEVNULL
        )


class Bare:
    """The runtime's own commands, and tar through ssh."""

    def __init__(self, hosts: Hosts, runtime: str) -> None:
        self._hosts, self._runtime = hosts, [runtime, "--root", "/run/migrate-benchmark"]
        # The hosts of bin/hosts show cgroups of the machine below, which CRIU cannot place.
        self._cgroups = ["--manage-cgroups-mode", "ignore"] if runtime == "crun" else []

    def round(self, lap: Lap) -> None:
        (here, there), hosts = self._hosts.names, self._hosts
        images = ["--image-path", IMAGES, "--work-path", "/root"]
        run = [*self._runtime, "run", "--detach", "--bundle", BUNDLE, "bench"]
        hosts.ssh(here, f"rm -rf {IMAGES}; mkdir {IMAGES}; {shlex.join(run)} < /dev/null > /dev/null 2>&1")
        hosts.wait_for_memory(here)
        hosts.ssh(there, f"rm -rf {IMAGES}; mkdir {IMAGES}")
        copy = f"tar -C {IMAGES} -cf - . | ssh {hosts.address} tar -C {IMAGES} -xf -"
        parts = {
            DUMP: hosts.timed(here, *self._runtime, "checkpoint", *images, *self._cgroups, "bench"),
            COPY: hosts.timed(here, "sh", "-c", copy),
            RESTORE: hosts.timed(
                there, *self._runtime, "restore", "--detach", "--bundle", BUNDLE, *images, *self._cgroups, "bench"
            ),
        }
        for name, milliseconds in parts.items():
            lap.add(STEP, name, milliseconds)
        lap.add(STEP, SUM, sum(parts.values()))
        for host in (here, there):
            hosts.ssh(
                host, f"{shlex.join([*self._runtime, 'delete', '--force', 'bench'])} > /dev/null 2>&1; rm -rf {IMAGES}"
            )


class Role:
    """The role, as a play has it."""

    def __init__(self, hosts: Hosts, ansible: Ansible, directory: str, runtime: str) -> None:
        self._hosts, self._ansible, self._directory, self._runtime = hosts, ansible, directory, runtime
        link = f"{directory}/collections/ansible_collections/longshore/oci"
        os.makedirs(os.path.dirname(link))
        os.symlink(REPOSITORY, link)

    def play(self, host: str, *tasks: dict[str, t.Any]) -> None:
        playbook = f"{self._directory}/playbook.json"
        with open(playbook, "w", encoding="utf-8") as stream:
            json.dump([{"hosts": host, "gather_facts": False, "tasks": tasks}], stream)
        environment = {
            **os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{self._directory}/collections", "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": f"{self._directory}/ansible", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        argv = [self._ansible.python, "-m", "ansible", "playbook", "-i", f"{self._hosts.state}/inventory.yml", playbook]
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"migrate: the playbook failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")

    def round(self, lap: Lap) -> None:
        here, there = self._hosts.names
        container = {"name": "bench", "bundle": BUNDLE, "runtime": self._runtime}
        self.play(here, {"longshore.oci.oci_container": container})
        self._hosts.wait_for_memory(here)
        options = {"manage_cgroups_mode": "ignore"} if self._runtime == "crun" else {}
        variables = {
            "migrate_name": "bench", "migrate_to": there, "migrate_address": self._hosts.address, "migrate_options": options,
            "migrate_include_rootfs": False,
        }  # fmt: skip
        self.play(here, {"ansible.builtin.include_role": {"name": "longshore.oci.migrate"}, "vars": variables})
        time.sleep(1)
        # When conmon got each line: the container's own clock may have been restored too (time namespaces).
        log = self._hosts.ssh(there, "cut -c 1-26 /var/lib/longshore/containers/bench/container.log").split()
        moments = [datetime.datetime.fromisoformat(moment) for moment in log]
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        lap.add(STEP, ROLE, 1000 * max(gaps).total_seconds())
        self.play(there, {"longshore.oci.oci_container": {"name": "bench", "state": "absent", "stop_timeout": 0}})


def main() -> int:
    parser = rounds.options("migrate", rounds=5)
    parser.add_argument("--runtime", choices=["crun", "runc"], default="crun")
    parser.add_argument("--kind", default="trixie", help="kind of the hosts (default: trixie)")
    parser.add_argument("--assert", dest="demand", action="store_true", help=f"fail at more than {LIMIT} times the sum")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("migrate: this needs root")
    ansible = Ansible()
    ansible.install()
    lap = Lap()
    with (
        tempfile.TemporaryDirectory(prefix="longshore-benchmark-") as directory,
        Hosts(directory, options.kind) as hosts,
    ):
        role, bare = Role(hosts, ansible, directory, options.runtime), Bare(hosts, options.runtime)
        variables = {"demo_bundle_path": BUNDLE, "demo_bundle_args": ["/bin/sh", "-c", WORK]}
        role.play(
            ":".join(hosts.names),
            {"ansible.builtin.include_role": {"name": "longshore.oci.demo_bundle"}, "vars": variables},
        )
        for number in range(options.rounds):
            for candidate in (bare, role) if number % 2 else (role, bare):
                candidate.round(lap)
    names = (SUM, ROLE, DUMP, COPY, RESTORE)
    print(table.times({(STEP, name): lap.samples[STEP, name] for name in names}))
    ratio = t.cast(float, lap.median(STEP, ROLE)) / t.cast(float, lap.median(STEP, SUM))
    print(f"\nThe container stands still for {ratio:.2f} times the sum of dump, raw copy and restore (limit {LIMIT}).")
    return int(options.demand and ratio > LIMIT)
