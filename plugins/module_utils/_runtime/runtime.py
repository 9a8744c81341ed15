# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI runtime, runc or crun: its command line, its answers, and where it keeps its state."""

from __future__ import annotations

import json
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, EngineError, ProgramFailed
from .._base.files import make_directory, read_json, read_text, write_text
from .._base.program import Completed, run
from .._state.model import Record

CALL_SECONDS = 30.0
DELETE_SECONDS = 60.0  # runc itself tries for 10 s, and its hooks may take their time


def parse_bundle(state: t.Mapping[str, t.Any]) -> str | None:
    """From ``state.json`` of runc, which has it among its labels, or ``status`` of crun."""
    labels = (state.get("config") or {}).get("labels") or ()
    found = [label[len("bundle=") :] for label in labels if label.startswith("bundle=")]
    return found[0] if found else state.get("bundle")


def last_error(log: str) -> str | None:
    """The last error of a runtime's JSON log; it may hold warnings before it, and lines that are no JSON. An entry is one
    line, and several with crun 1.28."""
    found, start, decoder = None, log.find("{"), json.JSONDecoder()
    while start >= 0:
        try:
            entry, end = decoder.raw_decode(log, start)
        except ValueError:
            entry, end = {}, start + 1
        if entry.get("level") in ("error", "fatal", "panic"):
            found = str(entry.get("msg") or "").strip() or found
        start = log.find("{", end)
    return found


def global_arguments(record: Record, log: str) -> list[str]:
    """The options before the verb, the same for conmon's calls and ours; the state root is always named."""
    systemd = ["--systemd-cgroup"] if record.cgroup_manager == "systemd" else []
    logging = ["--log", log, "--log-format", "json"]
    return ["--root", record.runtime_root, *logging, *systemd, *record.definition.runtime_args]


class Runtime:
    """The runtime of one container. ``log`` is the file for its JSON log, emptied before each call."""

    def __init__(self, record: Record, log: str) -> None:
        self._record = record
        self._log = log
        self.directory = f"{record.runtime_root}/{record.runtime_id}"

    def call(self, verb: str) -> None:
        """``start``, ``pause`` or ``resume``. Raises ProgramFailed with what the runtime said, or DeadlineExceeded."""
        result = self._run([verb, self._record.runtime_id], CALL_SECONDS)
        if result.rc != 0:
            raise self._failure(verb, result)

    def bundle(self) -> str | None:
        """The bundle of the container that the runtime knows by our id, from the files that it would read itself; None
        where there is none, or one that is only half there."""
        return parse_bundle(read_json(f"{self.directory}/state.json") or read_json(f"{self.directory}/status") or {})

    def delete(self) -> str | None:
        """Delete a container that has ended. None when it is gone, else what the runtime said.

        ``--force`` is the second try, for state that is only half there. A runtime that hangs (crun on a process in
        uninterruptible sleep tries for ever) is cut short. Raises EngineError, before the runtime is run, where something is
        mounted below what it would remove: runc removes state without a status file through a mount.
        """
        from .._base.trees import refuse_mounts

        said = None
        for force in ([], ["--force"]):
            if not os.path.isdir(self.directory):
                return None
            refuse_mounts(self.directory, os.path.dirname(self._log))
            try:
                result = self._run(["delete", *force, self._record.runtime_id], DELETE_SECONDS)
            except (DeadlineExceeded, ProgramFailed) as exc:
                said = str(exc)
                continue
            if result.rc == 0 and not os.path.isdir(self.directory):
                return None
            said = self._said(result)
        return said

    def error_in_log(self) -> str | None:
        return last_error(read_text(self._log) or "")

    def _run(self, words: list[str], seconds: float) -> Completed:
        try:
            make_directory(os.path.dirname(self._log))
            write_text(self._log, "")  # The runtime would let others read it.
            log = self._log
        except EngineError:
            log = os.devnull  # The file system is full or read-only: a container can be deleted nonetheless.
        argv = [self._record.runtime.path, *global_arguments(self._record, log), *words]
        return run(argv, Deadline(seconds), what=words[0])

    def _said(self, result: Completed) -> str:
        return self.error_in_log() or result.stderr.strip()[-2000:] or f"nothing, only exit status {result.rc}"

    def _failure(self, verb: str, result: Completed) -> ProgramFailed:
        return ProgramFailed(
            f"Cannot {verb} the container {self._record.name}: {self._record.runtime.name} says: {self._said(result)}",
            rc=result.rc, stderr=result.stderr[-2000:], runtime_log=(read_text(self._log) or "").splitlines()[-20:],
        )  # fmt: skip
