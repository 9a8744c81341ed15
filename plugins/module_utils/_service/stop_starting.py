# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop services during their start. systemd runs no ExecStop for them, so no script asks the container to end, and processes
that wait in the start get no signal until TimeoutStopSec has passed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import typing as t

from .._base.errors import LongshoreError
from .._base.pidfd import PidFd
from .._container.observe import live_status
from .._host import systemd
from .._state.model import Record, Status

# Substates of a service. In the last two, ExecStop has ended, or did not run.
_WITHOUT_STOP = ("start-pre", "start", "start-post", "stop-sigterm", "final-sigterm")
_UNIT = b"org.freedesktop.systemd1.Unit"


class Bus(systemd.Bus):
    """A connection with the calls for a stop during a start."""

    def runs_no_stop(self, unit: str) -> bool:
        """Tell whether the running stop only waits for the unit."""
        return self.substate(unit) in _WITHOUT_STOP

    def substate(self, unit: str) -> str:
        """Return the substate of a unit, empty for one that systemd does not know."""
        found = ""
        with systemd.nothing_if_unknown():
            found = self._substate(self.call("GetUnit", "s", unit, reply=True))
        return found or ""

    def kill(self, unit: str) -> None:
        with systemd.nothing_if_unknown():
            self.call("KillUnit", "ssi", unit, "all", 9)

    def end_start(self, unit: str) -> None:
        """Kill the processes of a unit whose stop only waits."""
        if self.runs_no_stop(unit):
            self.kill(unit)

    def _substate(self, path: str) -> str:
        text = ctypes.c_char_p()
        words = (systemd.SYSTEMD[0].encode(), path.encode(), _UNIT, b"SubState")
        result = self._lib.sd_bus_get_property_string(self._bus, *words, None, ctypes.byref(text))
        if result < 0:
            raise LongshoreError(f"systemd does not return the state of a unit: {os.strerror(-result)}.")
        try:
            return (text.value or b"").decode()
        finally:
            ctypes.CDLL(None).free(text)


@contextlib.contextmanager
def stop_sent(bus: Bus, unit: str, record: Record, init: PidFd, number: int) -> t.Iterator[None]:
    """Send a container the stop signal if no script does so, and kill it after the block if it still runs. A container whose
    program has not started only reacts to SIGKILL."""
    alone = init.fd is not None and bus.runs_no_stop(unit)
    if alone:
        init.send(9 if live_status(record) is Status.CREATED else number)
    yield
    if alone:
        init.send(9)
