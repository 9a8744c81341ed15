# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check rarely used options of a launch for impossible values and combinations."""

from __future__ import annotations

import os

from .._base.errors import InvalidOption
from .._base.program import MOST_WORD
from .model import Definition, LogDriver
from .store import Paths

# The options sdnotify and listen set these.
_NOT_IN_ENVIRONMENT = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def check(definition: Definition, paths: Paths, *, terminal: bool) -> None:
    """Raise InvalidOption for an impossible option. ``terminal``: whether the config requests one."""
    for name in ("runtime_root", "log_path", "conmon_pidfile"):
        value = getattr(definition, name)
        if value is not None and not value.startswith("/"):
            raise InvalidOption(f"{name} must be an absolute path, not {value!r}.")
    for name, value in definition.conmon_env.items():
        # The script of a service exports them, and a shell would run other names.
        is_name = name.isascii() and name.isidentifier()
        if not is_name or "\0" in value or name.startswith("_OCI_") or name in _NOT_IN_ENVIRONMENT:
            raise InvalidOption(f"conmon_env cannot have a variable {name!r}, or not with such a value.")
        if name == "DBUS_SESSION_BUS_ADDRESS" and os.geteuid() == 0:
            # crun (1.8) would put the container into the session of the user who logged in as root.
            raise InvalidOption(f"conmon_env cannot have {name} as root: the container would belong to that session.")
    words = {name: getattr(definition, name) for name in ("runtime_args", "exit_command", "network_options")}
    words["conmon_env"] = [f"{name}={value}" for name, value in definition.conmon_env.items()]
    for name, values in words.items():
        if any(len(os.fsencode(word)) > MOST_WORD for word in values):
            raise InvalidOption(f"{name} has a word of more than {MOST_WORD} bytes, the limit of the kernel.")
    if definition.sdnotify == "container" and len(os.fsencode(paths.ready_socket)) > 107:
        raise InvalidOption(f"{paths.ready_socket} is too long for a socket (107 bytes).", hint="Shorten the name.")
    if terminal and definition.log_driver is LogDriver.PASSTHROUGH:
        raise InvalidOption("The log driver passthrough cannot be used for a container with a terminal.")
