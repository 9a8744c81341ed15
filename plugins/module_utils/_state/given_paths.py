# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that few tasks give: values that conmon must take, and paths and commands, which nobody else may change.

conmon and the runtime open these by name, some of them again and again, and follow what they find there.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .._base.errors import EngineError, InvalidInput
from .._base.files import read_text, remove_file, write_text
from .._trust import trust
from .model import Definition, Record

# The types of conmon's options are gint64 and gint (GOptionEntry in its cli.c). It refuses more when it is run.
_MOST_BYTES, _MOST_SECONDS = 2**63 - 1, 2**31 - 1


def check(definition: Definition, hooks: t.Any) -> None:
    """Raises InvalidInput. ``hooks`` are those of the config, as the bundle has them."""
    _check_values(definition)
    if definition.runtime_root is not None:
        trust.check(definition.runtime_root, "runtime_root", missing=True)
        if definition.service:
            # The script makes it, at boot. Whatever is in a directory like /tmp may be another user's by then.
            trust.check(
                os.path.dirname(definition.runtime_root.rstrip("/")), "runtime_root: the directory", missing=True
            )
    if definition.conmon_pidfile is not None:
        _check_pidfile(definition.conmon_pidfile, definition.log_path)
    if definition.log_path is not None:
        _check_log(definition.log_path, definition.log_driver)
    commands = [*definition.exit_command[:1]]
    for kind, entries in hooks.items() if isinstance(hooks, dict) else ():
        # A hook startContainer is a program of the container's.
        if kind != "startContainer" and isinstance(entries, list):
            commands += [str(each.get("path")) for each in entries if isinstance(each, dict)]
    for path in commands:
        if path.startswith("/"):
            trust.check(path, "The command")


def _check_values(definition: Definition) -> None:
    """Refuse what conmon would refuse, when the container that it replaces is gone already."""
    if definition.log_tag is not None and definition.log_driver != "journald":
        raise InvalidInput("log_tag needs the log driver journald; conmon refuses it with any other.")
    if definition.log_size_max is not None and definition.log_driver != "k8s-file":
        raise InvalidInput("log_size_max needs the log driver k8s-file.")
    if definition.exit_delay is not None and not definition.exit_command:
        raise InvalidInput("exit_delay delays the exit_command, and there is none.")
    for name, most, unit in (("log_size_max", _MOST_BYTES, "bytes"), ("exit_delay", _MOST_SECONDS, "seconds")):
        value = getattr(definition, name)
        if value is not None and not 0 <= value <= most:
            raise InvalidInput(
                f"{name} must be a number of {unit} from 0 to {most}, which is the most that conmon takes."
            )
    for word in definition.exit_command[1:]:
        if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in word):
            raise InvalidInput(f"exit_command cannot have an argument that is not UTF-8, or has a NUL in it: {word!a}.")


def _check_pidfile(path: str, log: str | None) -> None:
    _check_file(path, "conmon_pidfile")
    if log is not None and os.path.realpath(log) == os.path.realpath(path):
        raise InvalidInput(f"conmon_pidfile and log_path are the same file: {path}.", hint="Name another.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidInput(f"The directory of the conmon_pidfile {path} does not exist.")
    if os.path.lexists(path) and _number_in(path) is None:
        raise InvalidInput(
            f"conmon_pidfile: {path} exists, and is not a pid file: conmon would write over it.",
            hint="Name another, or remove it.",
        )


def _number_in(path: str) -> str | None:
    """The text of a pid file; None where there is no file, or another one."""
    try:
        text = read_text(path, limit=64) or ""
    except EngineError:
        return None
    return text if text.isascii() and text.strip().isdecimal() else None


def former_pidfile(path: str, recorded: Record | None) -> str | None:
    """Return the content of a pid file that was there before this container, None where there is none or it is of this
    container: a launch that fails leaves it as it was."""
    if recorded and recorded.phase != "removed" and recorded.definition.conmon_pidfile == path:
        return recorded.pidfile_before
    return _number_in(path)


def put_back(path: str, before: str | None) -> None:
    """Remove the pid file of conmon, or let it say again what it said before. A file that is not a pid file is not conmon's."""
    now = _number_in(path)
    if before is None and now is not None:
        remove_file(path)
    elif before is not None and now != before and (now is not None or not os.path.lexists(path)):
        write_text(path, before, mode=0o644)


def _check_log(path: str, driver: str) -> None:
    if driver not in ("k8s-file", "passthrough"):
        raise InvalidInput(f"log_path does not go with the log driver {driver}, which writes no file.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidInput(f"The directory of the log {path} does not exist.")
    _check_file(path, "log_path")


def _check_file(path: str, what: str) -> None:
    """A file that conmon writes. Its directory must not even be like /tmp: conmon follows a link that another user makes there
    before it does."""
    # conmon opens the log before anything else, and hangs in that for ever on a FIFO that nobody reads.
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise InvalidInput(f"{what}: {path} is not a regular file.", hint="Name another, or remove it.")
    trust.check(os.path.dirname(path), f"{what}: the directory", missing=True, log=True)
    trust.check(path, f"{what}:", missing=True, log=True)
