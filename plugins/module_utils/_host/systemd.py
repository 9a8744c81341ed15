# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create transient scopes of systemd over D-Bus with libsystemd (sd-bus), which every host with systemd has.

python-systemd has no bus calls. busctl would be one more process for each container, and cannot wait for a job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, LongshoreError, MissingPrerequisite
from .._base.program import user_runtime_directory

SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_UNKNOWN = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.FileNotFound")
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


_Self = t.TypeVar("_Self", bound="Bus")


class _BusError(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("message", ctypes.c_char_p), ("need_free", ctypes.c_int))


@contextlib.contextmanager
def nothing_if_unknown() -> t.Iterator[None]:
    try:
        yield
    except LongshoreError as exc:
        if exc.details.get("bus_error") not in _UNKNOWN:
            raise


class Bus:
    """A connection to the manager of the system or of the user, as a context manager. All its calls share one deadline."""

    def __init__(self, *, user: bool, deadline: Deadline) -> None:
        try:
            self._lib = ctypes.CDLL("libsystemd.so.0")
        except OSError as exc:
            raise MissingPrerequisite("Cannot talk to systemd: libsystemd.so.0 is missing.") from exc
        for function in ("sd_bus_flush_close_unref", "sd_bus_message_unref"):
            getattr(self._lib, function).restype = ctypes.c_void_p
        self._deadline = deadline
        self._bus = ctypes.c_void_p()
        address = f"unix:path={user_runtime_directory()}/bus" if user else "unix:path=/run/dbus/system_bus_socket"
        self._lib.sd_bus_new(ctypes.byref(self._bus))
        self._lib.sd_bus_set_address(self._bus, address.encode())
        self._lib.sd_bus_set_bus_client(self._bus, 1)
        opened = self._lib.sd_bus_start(self._bus)
        if opened < 0:
            raise LongshoreError(f"Cannot reach the bus of systemd ({address}): {os.strerror(-opened)}.")

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lib.sd_bus_flush_close_unref(self._bus)

    def start_scope(self, unit: str, *, pid: int, parent: str, description: str, limit: int) -> None:
        """Move ``pid`` into a new scope in the slice ``parent``, or into the existing scope. ``limit``: microseconds for its stop.

        DefaultDependencies=false as in podman: at shutdown, systemd must not stop the scope before its processes have ended.
        CollectMode: a scope whose process was killed must not remain as a failed unit.
        KillSignal: conmon forwards SIGTERM to its container, which has a stop signal of its own. conmon ends with the container.
        """
        texts = {"Description": description, "Slice": parent, "CollectMode": "inactive-or-failed"}
        properties: list[str | int | ctypes.c_uint64] = [
            word for name, value in texts.items() for word in (name, "s", value)
        ]
        properties += ["Delegate", "b", 1, "DefaultDependencies", "b", 0, "KillSignal", "i", int(signal.SIGCONT)]
        properties += ["TimeoutStopUSec", "t", ctypes.c_uint64(limit), "PIDs", "au", 1, pid]
        self._watch_jobs()
        try:
            job = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", 8, *properties, 0, reply=True)
        except LongshoreError as exc:
            if exc.details.get("bus_error") != "org.freedesktop.systemd1.UnitExists":
                raise
            # A killed task has left the scope of this container: join it.
            self.call("AttachProcessesToUnit", "ssau", unit, "", 1, pid)
            return
        result = self.wait_for_job(job)
        if result != "done":
            raise LongshoreError(f"systemd could not start {unit}: the result of its job is {result}.")

    def stop_unit(self, unit: str) -> None:
        """Kill the processes of a unit, stop it and wait for that. Do nothing if the unit does not exist."""
        with nothing_if_unknown():
            self.call("KillUnit", "ssi", unit, "all", 9)
        self.wait_for_job(self.begin_job("StopUnit", unit))

    def begin_job(self, method: str, unit: str) -> str | None:
        """Call StartUnit or StopUnit. Return the job, or None for a unit that systemd does not know."""
        self._watch_jobs()
        try:
            return self.call(method, "ss", unit, "replace", reply=True)
        except LongshoreError as exc:
            if exc.details.get("bus_error") in _UNKNOWN:
                return None
            raise

    def call(
        self, method: str, types: str, *values: str | int | ctypes.c_uint64, to: tuple[str, ...] = SYSTEMD, reply: bool = False
    ) -> str:  # fmt: skip
        """Call one method. Return the object path of the reply if ``reply`` is set, otherwise an empty string."""
        error, answer = _BusError(), ctypes.c_void_p()
        self._lib.sd_bus_set_method_call_timeout(self._bus, ctypes.c_uint64(self._microseconds()))
        words = [word.encode() if isinstance(word, str) else ctypes.c_int(word) for word in (*to, method)]
        arguments = [
            value.encode() if isinstance(value, str) else ctypes.c_int(value) if isinstance(value, int) else value
            for value in values
        ]
        result = self._lib.sd_bus_call_method(
            self._bus, *words, ctypes.byref(error), ctypes.byref(answer), types.encode(), *arguments
        )
        try:
            if result < 0:
                text = (error.message or os.strerror(-result).encode()).decode()
                raise LongshoreError(f"systemd says: {text}.", bus_error=(error.name or b"").decode())
            return self._read(answer, "o")[0] if reply else ""
        finally:
            self._lib.sd_bus_error_free(ctypes.byref(error))
            self._lib.sd_bus_message_unref(answer)

    def _read(self, message: ctypes.c_void_p, types: str) -> list[str]:
        """Return the fields of a message as text, including numbers (``u``)."""
        fields = [ctypes.c_uint32() if kind == "u" else ctypes.c_char_p() for kind in types]
        result = self._lib.sd_bus_message_read(message, types.encode(), *(ctypes.byref(field) for field in fields))
        if result < 0:
            raise LongshoreError(f"Cannot read the reply of systemd: {os.strerror(-result)}.")
        return [v.decode() if isinstance(v, bytes) else str(v) for v in (field.value for field in fields)]

    def _watch_jobs(self) -> None:
        """Subscribe to the signal before the job exists, because the job may end before its name arrives."""
        rule = "type='signal',sender='org.freedesktop.systemd1',member='JobRemoved',path='/org/freedesktop/systemd1'"
        self.call("AddMatch", "s", rule, to=_BUS)

    def wait_for_job(self, job: str | None) -> str:
        """Return the result of a job: done, canceled, timeout, failed, dependency or skipped (org.freedesktop.systemd1(5)). No
        job is the same as done."""
        if job is None:
            return "done"
        while self._deadline.remaining():
            message = ctypes.c_void_p()
            progress = self._lib.sd_bus_process(self._bus, ctypes.byref(message))
            if progress < 0:
                raise LongshoreError(f"Lost the connection to the bus of systemd: {os.strerror(-progress)}.")
            if not progress:
                self._lib.sd_bus_wait(self._bus, ctypes.c_uint64(self._microseconds()))
            if not message:
                continue
            try:
                if self._lib.sd_bus_message_is_signal(message, None, b"JobRemoved") > 0:
                    _number, path, _unit, result = self._read(message, "uoss")
                    if path == job:
                        return result
            finally:
                self._lib.sd_bus_message_unref(message)
        hint = f"To list its jobs: systemctl {'--user ' if os.geteuid() else ''}list-jobs"
        raise DeadlineExceeded("systemd did not finish its job in time.", hint=hint)

    def _microseconds(self) -> int:
        return int(self._deadline.remaining() * 1_000_000) + 1
