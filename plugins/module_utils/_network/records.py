# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of networks on disk.

STATE/networks/NAME.json   the record: the definition, with its allocated addresses; survives a reboot
RUN/network.json           the changes on the host since its boot: namespaces, sysctls, rules
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._base.errors import EngineError
from .._base.files import make_directory, read_json, remove_file, write_text
from .._base.process import boot_id
from .._network_spec.parse import RECORD_FORMAT
from .._network_spec.publishing import Record


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
        self.rules_file = f"{run_dir}/network.nft"

    def all(self) -> dict[str, Record]:
        """Return the records by name. Raises EngineError for an unreadable one, because its addresses could be allocated twice."""
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            names = sorted(name[:-5] for name in os.listdir(self._directory) if name.endswith(".json"))
        found = {name: self._load(name) for name in names}
        return {name: record for name, record in found.items() if record}

    def _load(self, name: str) -> Record | None:
        path = f"{self._directory}/{name}.json"
        record = read_json(path)
        if record is None and not os.path.exists(path):
            return None  # Another task has just removed it.
        if record is None:
            raise EngineError(
                f"The record {path} is damaged.", hint="Remove it, and run the task of that network again."
            )
        if record.get("format") != RECORD_FORMAT:
            raise EngineError(f"The network {name} was created by another release of longshore.oci.", hint="Use that.")
        return record

    def save(self, record: Record, former: t.Sequence[Record] = ()) -> None:
        """Save a record. ``former``: earlier records of the network, until all parts of them are removed from the host."""
        make_directory(self._directory)
        path = f"{self._directory}/{record['name']}.json"
        write_text(path, json.dumps({**record, "former": former} if former else record) + "\n", durable=True)

    @staticmethod
    def former(saved: Record | None) -> list[Record]:
        """Return the current and earlier records of a network, the latest first."""
        if saved is None:
            return []
        return [{key: value for key, value in saved.items() if key != "former"}, *saved.get("former", ())]

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
        found = read_json(self._changed) or {}
        if found.get("boot") != boot_id():
            return Changed()
        sysctls = {path: (old, new) for path, (old, new) in found["sysctls"].items()}
        return Changed(sysctls, tuple(found["rules"]), found["namespaces"])

    def save_changed(self, changed: Changed) -> None:
        if changed == Changed():
            remove_file(self._changed)
            return
        write_text(self._changed, json.dumps({"boot": boot_id(), **changed._asdict()}) + "\n")
