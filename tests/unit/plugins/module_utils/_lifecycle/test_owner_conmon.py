# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of an owner, with conmon alone. That systemd keeps it is seen on hosts (oci_container, owner)."""

from __future__ import annotations

import os
import pathlib
import random

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._container.create import Launch
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import owners
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, bundle, owner_contract

# As the first process it has no default action for SIGTERM.
PROGRAM = "trap 'exit 0' TERM; while :; do sleep 0.02; done"


def test_systemd_alone_starts_a_container_again(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for policy in ("on-failure", "always"):
        record = builders.record(definition=builders.definition(restart_policy=policy))
        with pytest.raises(InvalidOption, match="restart_policy needs service"):
            owners.owner_of(record.definition).check(store, Launch(record, builders.config()))


def test_the_contract(tmp_path: pathlib.Path) -> None:
    for number in range(2):
        (tmp_path / f"bundle{number}").mkdir()
    bundles = [bundle.make(tmp_path / f"bundle{n}", "/bin/sh", "-c", PROGRAM, str(n)) for n in range(2)]
    name = f"owner-{os.getpid()}-{os.urandom(3).hex()}"
    # Other steps in each run. What failed is repeated with the seed that is said.
    seed = int(os.environ.get("LONGSHORE_SEED") or random.randrange(1 << 31))
    print(f"LONGSHORE_SEED={seed}")
    asked = owner_contract.Asked(
        f"{tmp_path}/state", f"{tmp_path}/run", name, "runc", bundles, False, most=4, seed=seed
    )
    assert owner_contract.Contract(asked).check() == []


def test_another_seed_strikes_at_other_steps() -> None:
    def steps(most: int, seed: int) -> list[tuple[int, int]]:
        asked = owner_contract.Asked("/state", "/run", "a", "runc", (), False, most, seed)
        return [(number, at) for number in range(2) for at in owner_contract.chosen(asked, 30, number)]

    assert steps(4, 1) == steps(4, 1)
    assert len({tuple(steps(4, seed)) for seed in range(9)}) > 1
    assert [at for _number, at in steps(0, 1)] == [*range(30)] * 2
