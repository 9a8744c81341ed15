# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of networks on disk.

STATE/networks/NAME.json   the record: what it is, with the addresses that it was given; for good
RUN/network.json           what we changed of the host since its boot: namespaces, sysctls, rules
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
    """``sysctls``: old and new value by path. ``rules``: the digests of the table as text and as the kernel lists it. ``namespaces``:
    those that we made, by name, with their inodes; 0 for one that is just being made."""

    sysctls: t.Mapping[str, tuple[str, str]] = {}
    rules: tuple[str, ...] = ("", "")
    namespaces: t.Mapping[str, int] = {}


class Records:
    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self._directory = f"{state_dir}/networks"
        self._changed = f"{run_dir}/network.json"
        self.rules_file = f"{run_dir}/network.nft"

    def all(self) -> dict[str, Record]:
        """By name. Raises EngineError where one cannot be understood: what it has could be given away twice."""
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            names = sorted(name[:-5] for name in os.listdir(self._directory) if name.endswith(".json"))
        found = {name: self._load(name) for name in names}
        return {name: record for name, record in found.items() if record}

    def _load(self, name: str) -> Record | None:
        path = f"{self._directory}/{name}.json"
        record = read_json(path)
        if record is None and not os.path.exists(path):
            return None  # Just removed by another task.
        if record is None:
            raise EngineError(
                f"The record {path} is damaged.", hint="Remove it, and run the task of that network again."
            )
        if record.get("format") != RECORD_FORMAT:
            raise EngineError(f"The network {name} was made by another release of longshore.oci.", hint="Use that.")
        return record

    def save(self, record: Record, former: t.Sequence[Record] = ()) -> None:
        """``former``: what the network has been, until all of that is gone from the host."""
        make_directory(self._directory)
        path = f"{self._directory}/{record['name']}.json"
        write_text(path, json.dumps({**record, "former": former} if former else record) + "\n", durable=True)

    @staticmethod
    def former(saved: Record | None) -> list[Record]:
        """What a network is or has been, the latest first."""
        if saved is None:
            return []
        return [{key: value for key, value in saved.items() if key != "former"}, *saved.get("former", ())]

    def forget(self, name: str) -> None:
        remove_file(f"{self._directory}/{name}.json")
        with contextlib.suppress(OSError):  # not the last one, or there never was any
            os.rmdir(self._directory)

    def sweep(self) -> None:
        """Remove what killed tasks were about to put in place. Under the lock of all networks."""
        from .._base import leftovers

        leftovers.clear(self._directory, r".+\.json")
        leftovers.clear(os.path.dirname(self._changed), r"network\.(json|nft)")
        remove_file(self.rules_file)
        with contextlib.suppress(OSError):  # not empty, or there never was any
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
