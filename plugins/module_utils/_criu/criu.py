# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRIU and its use by the runtimes: options by version, whether it works on this host, and its statistics."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import typing as t

from .._base.deadline import Deadline
from .._base.errors import InvalidOption, LongshoreError, MissingPrerequisite
from .._base.program import SEARCH_PATH, Completed, run
from .._base.versions import numbers
from .._state.model import Program
from .criu_support import NEVER, SUPPORT, Support, Version


class Options(t.NamedTuple):
    """The CRIU options. None is not given. A restore then uses the value of the dump."""

    leave_running: bool | None = None
    tcp_established: bool | None = None
    tcp_close: bool | None = None
    tcp_skip_in_flight: bool | None = None
    file_locks: bool | None = None
    ext_unix_sk: bool | None = None
    shell_job: bool | None = None
    link_remap: bool | None = None
    manage_cgroups_mode: str | None = None
    network_lock: str | None = None
    lsm_profile: str | None = None
    lsm_mount_context: str | None = None
    pre_dump: bool | None = None
    pre_dump_rounds: int | None = None

    def at_restore(self, given: Options) -> Options:
        """Return the options for a restore: the ones ``given``, and otherwise these, which are of the dump."""
        kept = {name: value for name, value in self._asdict().items() if name in _RESTORE and name in _CHECKPOINT}
        kept.update((name, value) for name, value in given._asdict().items() if value is not None)
        # The two exclude each other. The option of the task wins.
        if given.tcp_close and given.tcp_established is None:
            kept["tcp_established"] = None
        return Options(**kept)


# The options of each verb. Since when a runtime has one is declared for each.
_CHECKPOINT = (
    "leave_running", "tcp_established", "tcp_skip_in_flight", "file_locks", "ext_unix_sk", "shell_job", "link_remap",
    "manage_cgroups_mode", "network_lock", "pre_dump", "pre_dump_rounds",
)  # fmt: skip
_RESTORE = (
    "tcp_established", "tcp_close", "file_locks", "ext_unix_sk", "shell_job", "manage_cgroups_mode", "network_lock",
    "lsm_profile", "lsm_mount_context",
)  # fmt: skip
VERBS = {"checkpoint": _CHECKPOINT, "restore": _RESTORE}
_PRECISE = ("manage_cgroups_mode: ignore",)  # a value that came later than its option


def _since(verb: str, named: str, support: Support | None) -> Version:
    table: t.Mapping[str, Version] = {}
    if support is not None:
        table = support.checkpoint if verb == "checkpoint" else support.restore
    return table.get(named, ())


def check_options(verb: str, options: Options, runtime: Program) -> None:
    """Raises InvalidOption or MissingPrerequisite for an option that this runtime lacks, naming the version of each runtime that has it."""
    for option, value in options._asdict().items():
        if not value:
            continue
        if option not in VERBS[verb]:
            raise InvalidOption(f"{option} is not an option of a {verb}.")
        precise = f"{option}: {value}"
        named = precise if precise in _PRECISE else option
        if numbers(runtime.version) < _since(verb, named, SUPPORT.get(runtime.name)):
            who = [_who(name, _since(verb, named, support)) for name, support in SUPPORT.items()]
            can = " or ".join(text for text in who if text)
            raise MissingPrerequisite(f"{named} needs {can}; this container has {runtime.name} {runtime.version}.")


def lacks(verb: str, option: str, runtime: Program) -> str:
    """Return why a runtime does not have an option, or an empty string."""
    try:
        check_options(verb, Options(**t.cast(t.Any, {option: True})), runtime)
    except LongshoreError as exc:
        return exc.message
    return ""


def _who(name: str, since: Version) -> str:
    return "" if since == NEVER else f"{name} {'.'.join(map(str, since))} or newer" if since else name


def options_of(runtime: Program) -> dict[str, list[str]]:
    """Return the options of a runtime for a checkpoint and for a restore."""
    support, version = SUPPORT.get(runtime.name), numbers(runtime.version)
    return {
        verb: sorted(name for name in (*options, *_PRECISE) if version >= _since(verb, name, support))
        for verb, options in VERBS.items()
    }


def words(verb: str, options: Options) -> list[str]:
    """Return the options as arguments for both runtimes, with an option and its value as two arguments."""
    found: list[str] = []
    for option, value in options._asdict().items():
        if value and option in VERBS[verb] and not option.startswith("pre_dump"):
            found += [f"--{option.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return found


def find() -> Program | None:
    """Return the criu that the runtimes use, which is the one in the search path of their environment."""
    path = shutil.which("criu", path=SEARCH_PATH)
    if path is None:
        return None
    said = run([path, "--version"], Deadline(10), what="tell its version").stdout
    found = re.search(r"^Version: (\S+)", said, re.MULTILINE)
    return Program("criu", path, found.group(1) if found else "unknown")


def why_not(criu: Program | None, runtime: Program) -> str | None:
    """Return the reason why no container of this runtime can be checkpointed on this host, or None."""
    if os.geteuid() != 0:
        return "CRIU needs root, and this user is not root"
    if criu is None:
        return "criu is not installed (the package is called criu)"
    result = run([criu.path, "check"], Deadline(30), what="check this kernel")
    if result.rc != 0:
        return f"criu {criu.version} does not work with this kernel: {_last_line(result)}"
    if not _is_built_in(runtime):
        return f"{runtime.name} {runtime.version} was built without CRIU"
    return None


def tracks_memory(criu: Program) -> bool:
    """Tell whether a pre-dump is possible: for this, the kernel must track changed pages (soft-dirty)."""
    argv = [criu.path, "check", "--feature", "mem_dirty_track"]
    return run(argv, Deadline(30), what="check this kernel").rc == 0


def _last_line(result: Completed) -> str:
    lines = [line.strip() for line in (result.stderr + result.stdout).split("\n") if line.strip()]
    errors = [line for line in lines if "Error" in line]
    text = (errors or lines or [f"exit status {result.rc}"])[-1]
    return re.sub(r"^(\([\d.]+\) )?\w+\s*\([^)]*\): ", "", text)


def _is_built_in(runtime: Program) -> bool:
    """Tell whether a runtime has CRIU, from ``features`` (runc 1.1, crun 1.8.6) or from the version of an older crun. An older
    runc always has it."""
    support = SUPPORT.get(runtime.name)
    result = run([runtime.path, "features"], Deadline(10), what="list its features")
    if result.rc == 0:
        try:
            annotations = json.loads(result.stdout).get("annotations") or {}
        except (ValueError, AttributeError) as exc:
            raise LongshoreError(f"{runtime.path} features: {exc}.") from exc
        return support is None or annotations.get(support.annotation) == "true"
    if support is not None and support.listed is not None:
        return support.listed in run([runtime.path, "--version"], Deadline(10), what="tell its version").stdout
    return True


# criu/images/stats.proto: the fields of both entries by number. All times are in microseconds.
_DUMP = {
    1: "freezing_time", 2: "frozen_time", 3: "memdump_time", 4: "memwrite_time", 5: "pages_scanned",
    6: "pages_skipped_parent", 7: "pages_written",
}  # fmt: skip
_RESTORED = {
    1: "pages_compared", 2: "pages_skipped_cow", 3: "forking_time", 4: "restore_time", 5: "pages_restored",
}  # fmt: skip
_MAGIC = (0x55105940, 0x57093306)  # of a service file, and of statistics (criu/include/magic.h)


def parse_statistics(data: bytes) -> dict[str, int]:
    """Return the statistics in ``stats-dump`` or ``stats-restore``. Raises ValueError for anything else."""
    if len(data) < 12 or struct.unpack_from("<II", data) != _MAGIC:
        raise ValueError("no statistics of CRIU")
    (size,) = struct.unpack_from("<I", data, 8)
    found: dict[str, int] = {}
    for kind, entry in _fields(data[12 : 12 + size]):
        names = {1: _DUMP, 2: _RESTORED}.get(kind, {})
        if isinstance(entry, bytes):
            for number, value in _fields(entry):
                if number in names and isinstance(value, int):
                    found[names[number]] = value
    return found


def _fields(data: bytes) -> t.Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message of protocol buffers. Only the two kinds of fields that occur here are supported."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        value, position = _varint(data, position)
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2 and position + value <= len(data):
            yield key >> 3, data[position : position + value]
            position += value
        else:
            raise ValueError("damaged statistics of CRIU")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise ValueError("cut off statistics of CRIU")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
