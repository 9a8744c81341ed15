# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of an owner, with conmon alone. That systemd keeps it is seen on hosts (oci_container, owner)."""

from __future__ import annotations

import os
import pathlib

from ansible_collections.longshore.oci.tests.unit import bundle, owner_contract

# As the first process it has no default action for SIGTERM.
PROGRAM = "trap 'exit 0' TERM; while :; do sleep 0.02; done"


def test_the_contract(tmp_path: pathlib.Path) -> None:
    for number in range(2):
        (tmp_path / f"bundle{number}").mkdir()
    bundles = [bundle.make(tmp_path / f"bundle{n}", "/bin/sh", "-c", PROGRAM, str(n)) for n in range(2)]
    name = f"owner-{os.getpid()}-{os.urandom(3).hex()}"
    asked = owner_contract.Asked(f"{tmp_path}/state", f"{tmp_path}/run", name, "runc", bundles, service=False, most=4)
    assert owner_contract.Contract(asked).check() == []
