# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check rarely used options: values that conmon must accept, and paths and commands that no other user may change.

conmon and the runtime open these paths by name, some of them several times, and follow links.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .._base.errors import InvalidOption, LongshoreError
from .._base.files import read_text, remove_file, write_text
from .._trust import trust
from .model import Definition, LogDriver, Record
from .phase import Phase

# The types of conmon's options are gint64 and gint (GOptionEntry in its cli.c). conmon refuses larger values.
_MOST_BYTES, _MOST_SECONDS = 2**63 - 1, 2**31 - 1


def check(definition: Definition, hooks: t.Any) -> None:
    """Check the options of a definition and the ``hooks`` of the bundle. Raises InvalidOption."""
    _check_values(definition)
    if definition.runtime_root is not None:
        trust.check(definition.runtime_root, "runtime_root", missing=True)
    if definition.conmon_pidfile is not None:
        _check_pidfile(definition.conmon_pidfile, definition.log_path)
    if definition.log_path is not None:
        _check_log(definition.log_path, definition.log_driver)
    commands = [*definition.exit_command[:1]]
    for kind, entries in hooks.items() if isinstance(hooks, dict) else ():
        # A hook startContainer is a program of the container.
        if kind != "startContainer" and isinstance(entries, list):
            commands += [str(each.get("path")) for each in entries if isinstance(each, dict)]
    for path in commands:
        if path.startswith("/"):
            trust.check(path, "The command")


def _check_values(definition: Definition) -> None:
    """Refuse values that conmon would refuse only after the existing container has been removed."""
    if definition.log_tag is not None and definition.log_driver is not LogDriver.JOURNALD:
        raise InvalidOption("log_tag needs the log driver journald; conmon refuses it with any other.")
    if definition.log_size_max is not None and definition.log_driver is not LogDriver.K8S_FILE:
        raise InvalidOption("log_size_max needs the log driver k8s-file.")
    if definition.exit_delay is not None and not definition.exit_command:
        raise InvalidOption("exit_delay needs exit_command.")
    for name, most, unit in (("log_size_max", _MOST_BYTES, "bytes"), ("exit_delay", _MOST_SECONDS, "seconds")):
        value = getattr(definition, name)
        if value is not None and not 0 <= value <= most:
            raise InvalidOption(f"{name} must be a number of {unit} from 0 to {most}, the limit of conmon.")
    for word in definition.exit_command[1:]:
        if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in word):
            raise InvalidOption(f"exit_command cannot have an argument that is not UTF-8 or contains NUL: {word!a}.")


def _check_pidfile(path: str, log: str | None) -> None:
    _check_file(path, "conmon_pidfile")
    if log is not None and os.path.realpath(log) == os.path.realpath(path):
        raise InvalidOption(f"conmon_pidfile and log_path are the same file: {path}.", hint="Use another path.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidOption(f"The directory of the conmon_pidfile {path} does not exist.")
    if os.path.lexists(path) and _number_in(path) is None:
        what = f"conmon_pidfile: {path} exists, and is not a pid file. conmon would overwrite it."
        raise InvalidOption(what, hint="Use another path, or remove the file.")


def _number_in(path: str) -> str | None:
    """Return the text of a pid file, or None if the file does not exist or is not a pid file."""
    try:
        text = read_text(path, limit=64) or ""
    except LongshoreError:
        return None
    return text if text.isascii() and text.strip().isdecimal() else None


def former_pidfile(path: str, recorded: Record | None) -> str | None:
    """Return the content of a pid file from before this container, for a launch that fails. None if there is none, or if it
    belongs to this container."""
    if recorded and recorded.phase is not Phase.REMOVED and recorded.definition.conmon_pidfile == path:
        return recorded.pidfile_before
    return _number_in(path)


def put_back(path: str, before: str | None) -> None:
    """Remove the pid file of conmon, or restore its former content. A file that is not a pid file stays."""
    now = _number_in(path)
    if before is None and now is not None:
        remove_file(path)
    elif before is not None and now != before and (now is not None or not os.path.lexists(path)):
        write_text(path, before, mode=0o644)


def _check_log(path: str, driver: LogDriver) -> None:
    if driver not in (LogDriver.K8S_FILE, LogDriver.PASSTHROUGH):
        raise InvalidOption(f"log_path cannot be used with the log driver {driver.value}, which writes no file.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidOption(f"The directory of the log {path} does not exist.")
    _check_file(path, "log_path")


def _check_file(path: str, what: str) -> None:
    """Check a file that conmon writes. Its directory must not be like /tmp, where another user could create a link that conmon
    follows."""
    # conmon opens the log first, and hangs forever on a FIFO without a reader.
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise InvalidOption(f"{what}: {path} is not a regular file.", hint="Use another path, or remove it.")
    trust.check(os.path.dirname(path), f"{what}: the directory", missing=True, log=True)
    trust.check(path, f"{what}:", missing=True, log=True)
