# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI runtime: its command line, its answers, and where it keeps its state."""

from __future__ import annotations

import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.files import make_directory, read_json, write_text
from .._base.program import Completed, run
from .._state.model import CgroupManager, Record
from .drivers import driver_of

if t.TYPE_CHECKING:
    from .state_command import State

CALL_SECONDS = 30.0


def parse_bundle(state: t.Mapping[str, t.Any]) -> str | None:
    """Return the bundle from ``state.json`` of runc, which has it as a label, or from ``status`` of crun."""
    labels = (state.get("config") or {}).get("labels") or ()
    found = [label[len("bundle=") :] for label in labels if label.startswith("bundle=")]
    return found[0] if found else state.get("bundle")


def global_arguments(record: Record, log: str) -> list[str]:
    """Return the options before the verb. They are the same for calls by conmon, and always contain the state root."""
    systemd = ["--systemd-cgroup"] if record.cgroup_manager is CgroupManager.SYSTEMD else []
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
            from . import failure

            raise failure.of(self._record, verb, result, self._log)

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

    def _run(self, words: list[str], seconds: float) -> Completed:
        try:
            make_directory(os.path.dirname(self._log))
            write_text(self._log, "")  # The runtime would create it readable for others.
            log = self._log
        except LongshoreError:
            log = os.devnull  # The file system is full or read-only, which does not prevent a delete.
        argv = [self._record.runtime.path, *global_arguments(self._record, log), *words]
        return run(argv, Deadline(seconds), what=words[0])
