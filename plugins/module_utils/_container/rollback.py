# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo a failed create or restore, and return an error with the messages of all programs."""

from __future__ import annotations

import typing as t

from .._base.errors import DeadlineExceeded, LongshoreError, ProgramFailed, Reason
from .._base.files import read_tail, remove_file, write_text
from .._criu.criu_log import criu_error, criu_hint
from .._runtime.failure import error_in
from .._state.model import Record, Timeouts
from .._state.store import CHECKPOINTS, Paths, Store
from . import sweep


def roll_back(
    store: Store, record: Record, previous: Record | None, previous_config: str | None, exc: BaseException,
    timeouts: Timeouts,
) -> BaseException:  # fmt: skip
    """Remove all parts, restore the former record, and return the exception to raise."""
    paths = store.paths(record.name)
    words = last_words(paths, record)
    said = error_in(paths.runtime_log)
    left = ""
    try:
        sweep.sweep_leftovers(store, record, timeouts)
    except LongshoreError as problem:
        left = f"Cleaning up failed too: {problem}"
    finally:
        restore_previous(store, record, previous, previous_config)
    return _explain(exc, record, said, words, left) if isinstance(exc, (ProgramFailed, DeadlineExceeded)) else exc


def restore_previous(store: Store, record: Record, previous: Record | None, previous_config: str | None) -> None:
    """Restore record, config and claim from before a failed launch."""
    if previous is None:
        store.forget(record.name, but=(CHECKPOINTS,))  # and so the claim
        return
    if previous_config is None:
        remove_file(store.paths(record.name).config)
    else:
        write_text(store.paths(record.name).config, previous_config)
    store.save(previous)
    store.release_bundle(record.definition.bundle, record.name)


def _explain(
    exc: LongshoreError, record: Record, said: str | None, words: dict[str, list[str]], left: str
) -> LongshoreError:
    """Return the error with the best reason: the runtime's last error, then conmon's message, then conmon's output."""
    conmon_said = " ".join(words["conmon_log"][-3:])
    reasons = (criu_error(words["restore_log"]), said, exc.message, conmon_said)
    reason = next((text for text in reasons if text), "the runtime ended without a message")
    unreported = isinstance(exc, ProgramFailed) and exc.reason is Reason.UNREPORTED
    if "network_log" in exc.details and not unreported:
        reason = exc.message
    elif unreported or not isinstance(exc, ProgramFailed):
        reason = ": ".join(text for text in (exc.message.rstrip("."), said or conmon_said) if text)
    verb = "restore" if record.checkpoint else "create"
    message = f"Cannot {verb} the container {record.name}: {reason}"
    hint = f"{exc.hint or criu_hint(words['restore_log'])} {left}".strip()
    return type(exc)(message.rstrip(".") + ".", hint=hint, **{**words, **exc.details})


def last_words(paths: Paths, record: Record) -> dict[str, t.Any]:
    """Return the last lines of the logs of a container for an error, before the logs are removed."""
    from .._conmon.log_end import log_end

    return {
        "restore_log": read_tail(f"{paths.bundle}/restore.log", lines=100),
        "runtime_log": read_tail(paths.runtime_log),
        "conmon_log": read_tail(paths.conmon_log),
        "network_log": read_tail(paths.network_log),
        "container_log": log_end(record, lines=20),
    }
