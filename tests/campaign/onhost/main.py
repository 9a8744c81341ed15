# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""On the host: finds out what it can do, hands the trials of one user to its workers, and passes their results on.

Argument: a file with the order, as JSON. Results are lines of JSON on standard output.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import typing as t

from . import fixtures, leaks
from .containers import Services
from .networks import Networks
from .scenario import Host
from .trial import draw

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUSYBOX = ("/bin/busybox.static", "/usr/bin/busybox-static", "/usr/bin/busybox", "/bin/busybox", "/usr/sbin/busybox")


def _say(value: dict[str, t.Any]) -> None:
    # Where the controller is gone there is still something to clear away.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def _spec(order: dict[str, t.Any]) -> dict[str, t.Any]:
    """The order, with what this host can do."""
    root = os.geteuid() == 0
    run = "/run" if root else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    spec = {
        **order,
        # An overlay needs another file system below it than the overlay that the root of a host of bin/hosts is.
        "base": f"{'/tmp' if os.path.ismount('/tmp') else '/var/tmp'}/{order['id']}-{order['user']}",
        "run": f"{run}/{order['id']}",
        "busybox": next(path for path in _BUSYBOX if os.path.exists(path)),
        "systemd": os.path.isdir("/run/systemd/system"),
        "criu": root and shutil.which("criu", path=_PATH) is not None and _status("criu", "check") == 0,
    }
    for directory in (spec["base"], spec["run"]):
        os.makedirs(directory, mode=0o755)
    paths = {name: shutil.which(name, path=_PATH) for name in order["runtimes"]}
    works = [
        (name, manager)
        for name, path in paths.items()
        for manager in ("systemd", "cgroupfs")
        if path and (manager == "cgroupfs" or spec["systemd"]) and _try(spec, name, manager)
    ]
    # Only what works with each of them: a trial is drawn from all pairs.
    spec["managers"] = [
        manager
        for manager in ("systemd", "cgroupfs")
        if {name for name, each in works if each == manager} == {name for name, _each in works}
    ]
    spec["runtimes"] = {name: paths[name] for name in sorted({name for name, _manager in works})}
    return spec


def _status(*argv: str) -> int:
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False).returncode
    except OSError:
        return -1


def _try(spec: dict[str, t.Any], runtime: str, manager: str) -> bool:
    """Whether a container can run so; its life is a task of the module, as in the trials."""
    name = f"try-{runtime}-{manager}"
    base = f"{spec['base']}/{name}"
    os.makedirs(base)
    fixtures.make_volume(f"{base}/volume")
    fixtures.make_bundle(f"{base}/bundle", f"{base}/volume", spec["busybox"])
    common = {"name": name, "state_dir": f"{base}/state", "run_dir": f"{spec['run']}/{name}"}
    more = {"bundle": f"{base}/bundle", "runtime": runtime, "cgroup_manager": manager}
    works = True
    for params in (
        {**common, **more, "state": "paused", "stop_timeout": 1},
        {**common, "state": "absent", "stop_timeout": 0},
    ):
        with open(f"{base}/arguments", "w", encoding="utf-8") as stream:
            json.dump({"ANSIBLE_MODULE_ARGS": {**params, "_ansible_remote_tmp": base}}, stream)
        ran = subprocess.run(
            ["python3", "-m", f"{spec['collection']}.plugins.modules.oci_container", f"{base}/arguments"],
            env={**os.environ, "PYTHONPATH": spec["payload"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if ran.returncode != 0 and works:
            works = False
            _say(
                {
                    "note": f"{spec['user']}: {runtime} with {manager} does not work here: {(ran.stdout or ran.stderr).strip()[:300]}"
                }
            )
    return works


class Queue:
    """The numbers of trials.

    Those with networks go to one worker: rules and sysctls are the host's. So do services: each lets systemd reload, which keeps
    everybody waiting.
    """

    def __init__(self, spec: dict[str, t.Any]) -> None:
        host = Host.of(spec)
        alone: list[int] = []
        others: list[int] = []
        for number in spec["trials"]:
            (alone if draw(host, spec["seed"], number)[0] in (Networks, Services) else others).append(number)
        self._alone, self._others = collections.deque(alone), collections.deque(others)
        self._limit = time.monotonic() + spec["minutes"] * 60 if spec["minutes"] else None
        self._lock = threading.Lock()

    def stop_with_controller(self) -> None:
        """Hand out no more when the controller closes standard input, by its end perhaps."""
        sys.stdin.read()
        with self._lock:
            self._limit = 0.0

    def next(self, worker: int) -> int | None:
        with self._lock:
            if self._limit is not None and time.monotonic() > self._limit:
                return None
            # Spread over the whole run, for a run that is cut short.
            due = worker == 0 and self._alone and (not self._others or len(self._alone) * 8 > len(self._others))
            queue = self._alone if due else self._others
            return queue.popleft() if queue else None


def _serve(spec_path: str, number: int, queue: Queue, env: dict[str, str]) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "campaign.onhost.trial", spec_path, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        text=True,
        bufsize=1,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    trial = queue.next(number)
    while trial is not None:
        try:
            worker.stdin.write(f"{trial}\n")
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            _say(
                {
                    "trial": trial,
                    "user": "?",
                    "outcome": "setup",
                    "scenario": "campaign",
                    "findings": [["setup", f"worker {number} died"]],
                }
            )
            break
        _say(json.loads(line))
        trial = queue.next(number)
    worker.stdin.close()
    worker.wait()


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as stream:
        order = json.load(stream)
    os.umask(0o022)
    spec = _spec(order)
    if not spec["runtimes"]:
        _say({"note": f"{spec['user']}: no runtime works here"})
        return 1
    _say({"host": {name: spec[name] for name in ("user", "runtimes", "managers", "systemd", "criu")}})
    path = f"{spec['base']}/spec.json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(spec, stream)
    queue = Queue(spec)
    env = {**os.environ, "PYTHONPATH": spec["payload"]}
    threads = [threading.Thread(target=_serve, args=(path, number, queue, env)) for number in range(spec["workers"])]
    threading.Thread(target=queue.stop_with_controller, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    _say({"host": {"user": spec["user"], "seconds of processors": round(used.ru_utime + used.ru_stime)}})
    leaks.unmount(lambda argv: _status(*argv), (spec["base"], spec["run"]))
    if not spec["keep"]:
        for directory in (spec["base"], spec["run"]):
            _status("rm", "-rf", "--one-file-system", "--", directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
