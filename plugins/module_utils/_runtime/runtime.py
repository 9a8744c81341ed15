# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI runtime: its command line, its answers, and where it keeps its state."""

from __future__ import annotations

import json
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError, ProgramFailed
from .._base.files import make_directory, read_json, read_text, write_text
from .._base.program import Completed, run
from .._state.model import Record
from .drivers import driver_of

if t.TYPE_CHECKING:
    from .state_command import State

CALL_SECONDS = 30.0


def parse_bundle(state: t.Mapping[str, t.Any]) -> str | None:
    """Return the bundle from ``state.json`` of runc, which has it as a label, or from ``status`` of crun."""
    labels = (state.get("config") or {}).get("labels") or ()
    found = [label[len("bundle=") :] for label in labels if label.startswith("bundle=")]
    return found[0] if found else state.get("bundle")


def last_error(log: str) -> str | None:
    """Return the last error of a runtime's JSON log, which may also have warnings and lines without JSON. An entry is one
    line, but several lines with crun 1.28."""
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
    """Return the options before the verb. They are the same for calls by conmon, and always contain the state root."""
    systemd = ["--systemd-cgroup"] if record.cgroup_manager == "systemd" else []
    logging = ["--log", log, "--log-format", "json"]
    return ["--root", record.runtime_root, *logging, *systemd, *record.definition.runtime_args]


class Runtime:
    """The runtime of one container. ``log`` is the file for its JSON log, which each call empties first."""

    def __init__(self, record: Record, log: str) -> None:
        self._record = record
        self._log = log
        self._driver = driver_of(record.runtime.name)
        self.directory = f"{record.runtime_root}/{record.runtime_id}"

    def call(self, verb: str) -> None:
        """Call ``start``, ``pause`` or ``resume``. Raises ProgramFailed with the error of the runtime, or DeadlineExceeded."""
        result = self._run([verb, self._record.runtime_id], CALL_SECONDS)
        if result.rc != 0:
            raise self._failure(verb, result)

    def state(self) -> State:
        """Return the answer to the command ``state``. Raises LongshoreError. Nothing is written."""
        from . import state_command

        record = self._record
        words = [record.runtime.path, *global_arguments(record, os.devnull), "state", record.runtime_id]
        return state_command.ask(record, words)

    def bundle(self) -> str | None:
        """Return the bundle of the container that the runtime has under this id, from the runtime's own files. None if there is
        no such container, or only a part of its state. Raises LongshoreError if only the runtime can tell, and does not."""
        name = self._driver.state_file
        if name is None:
            return self.state().bundle
        return parse_bundle(read_json(f"{self.directory}/{name}") or {})

    def error_in_log(self) -> str | None:
        return last_error(read_text(self._log) or "")

    def _run(self, words: list[str], seconds: float) -> Completed:
        try:
            make_directory(os.path.dirname(self._log))
            write_text(self._log, "")  # The runtime would create it readable for others.
            log = self._log
        except LongshoreError:
            log = os.devnull  # The file system is full or read-only, which does not prevent a delete.
        argv = [self._record.runtime.path, *global_arguments(self._record, log), *words]
        return run(argv, Deadline(seconds), what=words[0])

    def _said(self, result: Completed) -> str:
        return self.error_in_log() or result.stderr.strip()[-2000:] or f"no message, only exit status {result.rc}"

    def _failure(self, verb: str, result: Completed) -> ProgramFailed:
        return ProgramFailed(
            f"Cannot {verb} the container {self._record.name}: {self._record.runtime.name} says: {self._said(result)}",
            rc=result.rc, stderr=result.stderr[-2000:], runtime_log=(read_text(self._log) or "").splitlines()[-20:],
        )  # fmt: skip
