# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import json
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import PHASES, Phase, check_transition
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

# phase | what may follow
TABLE = """
creating      | created restoring
created       | starting running stopping removed checkpointing
starting      | created running stopping removed checkpointing
running       | starting stopping removed checkpointing
stopping      | stopped starting running removed checkpointing
stopped       | running stopping removed
removed       |
checkpointing | checkpointed running
checkpointed  | removed
restoring     | running checkpointed
"""
FOLLOWS = {Phase(old.strip()): {Phase(new) for new in words.split()} for old, _bar, words in
           (line.partition("|") for line in TABLE.strip().splitlines())}  # fmt: skip


def test_the_table_has_every_phase() -> None:
    assert list(FOLLOWS) == list(Phase)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(Phase, Phase)))
def test_what_may_follow(old: Phase, new: Phase) -> None:
    record = builders.record(phase=old)
    if new in FOLLOWS[old] or new is old:
        check_transition("web", old, new)
        assert record.replace(phase=new).phase is new
        return
    with pytest.raises(LongshoreError, match=rf"The container web cannot go from {old.value} to {new.value}\."):
        record.replace(phase=new)


def test_nothing_ends_in_creating_and_all_phases_can_be_removed() -> None:
    assert [old for old in Phase if Phase.CREATING in FOLLOWS[old]] == []
    reached = {Phase.REMOVED}
    for _round in Phase:
        reached |= {old for old in Phase if FOLLOWS[old] & reached}
    assert reached == set(Phase)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_record_is_written_as_before(tmp_path: pathlib.Path, phase: Phase) -> None:
    text = json.dumps(builders.record(phase=phase).to_json())
    assert json.loads(text)["phase"] == phase.value
    assert Record.from_json(json.loads(text)).phase is phase


def test_a_phase_of_a_newer_release(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    (tmp_path / "state/containers/web").mkdir(parents=True)
    known = builders.record().to_json()
    written = pathlib.Path(store.paths("web").record)
    written.write_text(json.dumps({**known, "phase": "hibernating"}))
    with pytest.raises(LongshoreError) as caught:
        store.load("web")
    assert caught.value.message == (
        "The record of the container web has the phase 'hibernating', which this release does not know."
    )
    assert store.names() == []
    for damaged in ({**known, "phase": None}, {name: value for name, value in known.items() if name != "phase"}):
        written.write_text(json.dumps(damaged))
        assert store.load("web") is None
    assert "hibernating" not in PHASES
