# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the network of a container: the path that it was given, its processes of now, and their namespaces."""

from __future__ import annotations

import os

from .._base.errors import LongshoreError
from .._base.process import ProcessId, is_alive
from .._config.namespace_paths import KINDS
from .._config.namespaces import namespaces_of
from .._host.service_processes import with_service_processes
from .._state.model import Record
from .._state.store import Store


def path_in(store: Store, name: str) -> str:
    """Return the path of the network namespace in the effective config of a container; empty for none."""
    return namespaces_of(store.load_config(name) or {}).get("network", "")


def load(store: Store, name: str) -> Record | None:
    """Return a record; that of a service with the processes of its latest start, which systemd has made."""
    record = store.load(name)
    return with_service_processes(record, store.paths(name)) if record is not None else None


def open_namespace(process: ProcessId | None, kind: str = "network") -> int | None:
    """Open a namespace, or return None if the process has ended. A process that lives before and after lived all the time, so it
    is not that of another process with its pid. Raises LongshoreError."""
    if process is None or not is_alive(process):
        return None
    try:
        descriptor = os.open(f"/proc/{process.pid}/ns/{KINDS[kind]}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise LongshoreError(f"Cannot open the {kind} namespace of process {process.pid}: {exc.strerror}.") from exc
    if is_alive(process):
        return descriptor
    os.close(descriptor)
    return None
