# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the log of a container, where the task leaves it to this host (``log_driver: auto``)."""

from __future__ import annotations

import glob
import os
import typing as t

from .._base.errors import LongshoreError
from .._host.detect import Host
from .._state.model import LogDriver
from .._state.store import Store

JOURNAL = "/run/systemd/journal/socket"
_OF_USERS = "/{0}/log/journal/*/user-{1}.journal"
_KEPT = (LogDriver.K8S_FILE, LogDriver.JOURNALD)
_SYMBOL = b"sd_journal_sendv"


def chosen(store: Store, name: str, given: t.Collection[str], *, conmon: str | None) -> LogDriver:
    """Return the log driver for a container.

    ``given`` has the names of the options that are set, ``service`` among them for a service; ``conmon`` None: the one of this host. An
    existing container keeps its own driver, so that no release makes it again. A new service gets the journal, if there is one that
    conmon can write to.
    """
    if "log_path" in given or "log_size_max" in given:
        return LogDriver.K8S_FILE
    if "log_tag" in given:
        return LogDriver.JOURNALD
    record = store.load(name)
    if record is not None and record.definition.log_driver in _KEPT:
        return record.definition.log_driver
    works = "service" in given and _has_journal(os.geteuid()) and writes_to_journal(store, conmon)
    return LogDriver.JOURNALD if works else LogDriver.K8S_FILE


def _has_journal(uid: int) -> bool:
    """Tell whether there is a journal that this user can read. Other users than root read only their own one, if it is kept apart."""
    files = [path for root in ("var", "run") for path in glob.glob(_OF_USERS.format(root, uid))]
    return os.path.exists(JOURNAL) and (uid == 0 or any(os.access(path, os.R_OK) for path in files))


def writes_to_journal(store: Store, wanted: str | None) -> bool:
    """Tell whether conmon was built with the journal. Only its program says so (ctr_logging.c, USE_JOURNALD)."""
    try:
        with open(Host(run_dir=store.run_dir).conmon(wanted).path, "rb") as program:
            return _SYMBOL in program.read()
    except (LongshoreError, OSError):  # The task itself reports it, with the reason.
        return False
