# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the files of networks on disk.

STATE/networks/NAME.json   the record: the definition, with its allocated addresses; survives a reboot
RUN/network.json           the changes on the host since its boot: namespaces, sysctls, rules
RUN/networks.nft           the rules as loaded, for who has to load them again
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._base.errors import LongshoreError
from .._base.files import has_no_room, make_directory, read_json, remove_file, write_text
from .._base.process import boot_id
from .._network_spec.record import NetworkRecord
from .._network_spec.record_format import RECORD_FORMAT, from_json, to_json

# The current or wanted record of a network, then its former ones, until nothing of them is left on the host.
History = tuple[NetworkRecord, ...]
_WRONG_TYPES = (AttributeError, KeyError, TypeError, ValueError)


class Changed(t.NamedTuple):
    """The changes on the host. ``sysctls``: old and new value by path. ``rules``: the digests of the table as text and as listed by
    the kernel. ``namespaces``: created ones by name, with their inodes, 0 while one is being created."""

    sysctls: t.Mapping[str, tuple[str, str]] = {}
    rules: tuple[str, ...] = ("", "")
    namespaces: t.Mapping[str, int] = {}


class Records:
    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self._directory = f"{state_dir}/networks"
        self._changed = f"{run_dir}/network.json"
        self.rules_file, self.kept_rules = f"{run_dir}/network.nft", f"{run_dir}/networks.nft"

    def all(self) -> dict[str, History]:
        """Return networks by name. Raises LongshoreError if a record cannot be read: its addresses could be allocated
        twice."""
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            names = sorted(name[:-5] for name in os.listdir(self._directory) if name.endswith(".json"))
        found = {name: self._load(name) for name in names}
        return {name: history for name, history in found.items() if history}

    def _load(self, name: str) -> History:
        path = f"{self._directory}/{name}.json"
        saved = read_json(path) or {}
        if not saved and not os.path.exists(path):
            return ()  # Just removed by another task.
        try:
            if saved["format"] != RECORD_FORMAT:
                raise LongshoreError(
                    f"The network {name} was made by another release of longshore.oci.", hint="Use that."
                )
            history = tuple(from_json(each) for each in (saved, *saved.get("former", ())))
            if history[0].name != name:
                raise ValueError(history[0].name)
        except _WRONG_TYPES as exc:
            hint = "Remove it, and run the task of that network again."
            raise LongshoreError(f"The record {path} is damaged.", hint=hint) from exc
        return history

    def save(self, record: NetworkRecord, former: t.Sequence[NetworkRecord] = ()) -> None:
        make_directory(self._directory)
        path, text = f"{self._directory}/{record.name}.json", to_json(record)
        if former:
            text["former"] = [to_json(each) for each in former]
        try:
            write_text(path, json.dumps(text) + "\n", durable=True)
        except LongshoreError as exc:
            # A removal must work on a full file system. If this one is killed, the network is there until the next removal.
            if not (record.removing and has_no_room(exc)):
                raise

    def forget(self, name: str) -> None:
        remove_file(f"{self._directory}/{name}.json")
        with contextlib.suppress(OSError):  # not empty, or it does not exist
            os.rmdir(self._directory)

    def sweep(self) -> None:
        """Remove temporary files of killed tasks. The caller holds the lock of all networks."""
        from .._base import leftovers

        leftovers.clear(self._directory, r".+\.json")
        leftovers.clear(os.path.dirname(self._changed), r"network\.(json|nft)")
        remove_file(self.rules_file)
        with contextlib.suppress(OSError):  # not empty, or it never existed
            os.rmdir(self._directory)

    def changed(self) -> Changed:
        """Return the changes, without any if the file is damaged: the next task then loads the rules again, and
        identifies namespaces by their contents."""
        found = read_json(self._changed) or {}
        try:
            if found["boot"] != boot_id():
                return Changed()
            sysctls = {path: (f"{old:s}", f"{new:s}") for path, (old, new) in found["sysctls"].items()}
            namespaces = {name: int(inode) for name, inode in found["namespaces"].items()}
            return Changed(sysctls, tuple(map(str, found["rules"])), namespaces)
        except _WRONG_TYPES:
            return Changed()

    def save_changed(self, changed: Changed) -> None:
        if changed == Changed():
            remove_file(self._changed)
            return
        text = json.dumps({"boot": boot_id(), **changed._asdict()}) + "\n"
        try:
            write_text(self._changed, text)
        except LongshoreError as exc:
            # A removal makes it shorter, and a damaged one counts as none.
            if not has_no_room(exc) or not os.path.exists(self._changed) or len(text) > os.path.getsize(self._changed):
                raise
            with open(self._changed, "r+b") as stream:
                stream.write(text.encode())
                stream.truncate()
