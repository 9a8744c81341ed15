# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a program directly in a cgroup of version 2 (CLONE_INTO_CGROUP, Linux 5.7). Python has no call for that."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import typing as t

# Its children must not.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def spawn_into(
    cgroup: str, argv: t.Sequence[str], *, directory: str, environment: t.Mapping[str, str], output: int,
    inherited: t.Sequence[int],
) -> int:  # fmt: skip
    """Start the program as ``program.spawn`` does. Return its pid, or 0 or less if it cannot start in the cgroup."""
    # Descriptors whose FD_CLOEXEC flag must be the opposite of what it is now.
    turned = [number for number in _descriptors() if os.get_inheritable(number) != (number in inherited)]
    born = _spawn_into if hasattr(ctypes.pythonapi, "posix_spawnattr_setcgroup_np") else _fork_into
    directory_of_cgroup = os.open(cgroup, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return born(directory_of_cgroup, argv, directory, environment, output, turned)
    finally:
        os.close(directory_of_cgroup)


def _descriptors() -> list[int]:
    """Return the open descriptors except the first three."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return [number for number in numbers if number > 2 and os.path.lexists(f"/proc/self/fd/{number}")]


def _spawn_into(
    cgroup: int, argv: t.Sequence[str], directory: str, environment: t.Mapping[str, str], output: int, turned: t.Sequence[int]
) -> int:  # fmt: skip
    """Start it with posix_spawn() of glibc 2.39, which copies no memory. Return 0 if the kernel, seccomp or permissions forbid it."""
    libc, number = ctypes.pythonapi, ctypes.c_int()
    attributes, actions = ctypes.create_string_buffer(1024), ctypes.create_string_buffer(1024)  # 336 and 80 in glibc
    defaults = ctypes.create_string_buffer(128)  # sigset_t
    libc.posix_spawnattr_init(attributes)
    libc.posix_spawn_file_actions_init(actions)
    try:
        libc.posix_spawnattr_setflags(attributes, ctypes.c_short(0x04 | 0x80 | 0x100))  # SETSIGDEF, SETSID, SETCGROUP
        libc.posix_spawnattr_setcgroup_np(attributes, cgroup)
        for ignored in _IGNORED_BY_PYTHON:
            libc.sigaddset(defaults, ignored)
        libc.posix_spawnattr_setsigdefault(attributes, defaults)
        libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(directory))
        libc.posix_spawn_file_actions_addopen(actions, 0, os.devnull.encode(), os.O_RDONLY, 0)
        for descriptor in turned:
            if os.get_inheritable(descriptor):
                libc.posix_spawn_file_actions_addclose(actions, descriptor)
            else:
                libc.posix_spawn_file_actions_adddup2(actions, descriptor, descriptor)  # this clears FD_CLOEXEC
        for standard in (1, 2):
            libc.posix_spawn_file_actions_adddup2(actions, output, standard)
        words = (ctypes.c_char_p * (len(argv) + 1))(*map(os.fsencode, argv), None)
        settings = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
        variables = (ctypes.c_char_p * (len(settings) + 1))(*settings, None)
        error = libc.posix_spawn(ctypes.byref(number), words[0], actions, attributes, words, variables)
    finally:
        libc.posix_spawn_file_actions_destroy(actions)
        libc.posix_spawnattr_destroy(attributes)
    return 0 if error else number.value


def _fork_into(
    cgroup: int, argv: t.Sequence[str], directory: str, environment: t.Mapping[str, str], output: int, turned: t.Sequence[int]
) -> int:  # fmt: skip
    """Do the same with an older glibc, with a raw fork. Return 0 or less if that fails.

    Never in a program with threads: the child might inherit a locked lock that no thread can release."""
    if len(os.listdir("/proc/self/task")) > 1:
        return 0
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
    # cgroup. The number of the call is the same on all architectures (Linux 5.3).
    arguments = struct.pack("=11Q", 0x2_0000_0000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    # A call through ctypes.pythonapi keeps the interpreter's lock, which the child needs. The kernel copies each page that the child
    # writes to, so the child does little.
    pid = int(ctypes.pythonapi.syscall(435, arguments, len(arguments)))
    if pid == 0:
        _exec(argv, directory, environment, output, turned)
    return pid


def _exec(
    argv: t.Sequence[str], directory: str, environment: t.Mapping[str, str], output: int, turned: t.Sequence[int]
) -> t.NoReturn:
    """Replace this process by the program, as subprocess does."""
    try:
        os.setsid()
        os.chdir(directory)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in turned:
            os.set_inheritable(descriptor, not os.get_inheritable(descriptor))
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        os.execve(argv[0], list(argv), environment)
    except BaseException as exc:  # no caller can catch it
        os.write(2, f"cannot run {argv[0]}: {exc}\n".encode())
    finally:
        os._exit(127)
