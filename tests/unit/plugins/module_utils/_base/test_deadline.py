# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import resource
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import deadline as base_deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline

pytestmark = pytest.mark.pure


class TestDeadline:
    def test_time_goes_by(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        deadline = Deadline(10)
        now[0] = 104
        assert deadline.remaining() == 6
        assert deadline.at_most(4).remaining() == 4
        assert deadline.at_most(60).remaining() == 6
        now[0] = 111
        assert deadline.remaining() == 0
        assert deadline.at_most(60).remaining() == 0


@pytest.fixture
def pipe() -> t.Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


class TestWaitReadable:
    def test_what_has_something_to_say(self, pipe: tuple[int, int]) -> None:
        other = os.pipe()
        os.write(pipe[1], b"x")
        try:
            assert base_deadline.wait_readable([pipe[0], other[0]], Deadline(30)) == {pipe[0]}
        finally:
            os.close(other[0])
            os.close(other[1])

    def test_the_end_of_a_file_is_something(self, pipe: tuple[int, int]) -> None:
        read, write = os.pipe()
        os.close(write)
        assert base_deadline.wait_readable([read], Deadline(30)) == {read}
        os.close(read)

    def test_nothing_in_time(self, pipe: tuple[int, int]) -> None:
        deadline = Deadline(0.05)
        assert base_deadline.wait_readable([pipe[0]], deadline) == set()
        assert deadline.remaining() == 0

    def test_a_deadline_that_has_passed_is_one_look(self, pipe: tuple[int, int]) -> None:
        os.write(pipe[1], b"x")
        assert base_deadline.wait_readable([pipe[0]], Deadline(-1)) == {pipe[0]}

    def test_more_files_than_select_can_take(self, pipe: tuple[int, int]) -> None:
        """A program that converges hundreds of containers in threads has that many."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
        copies = [os.dup(pipe[0]) for _number in range(1100)]
        try:
            os.write(pipe[1], b"x")
            assert copies[-1] >= 1024
            assert base_deadline.wait_readable(copies[-1:], Deadline(30)) == {copies[-1]}
        finally:
            for copy in copies:
                os.close(copy)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    @pytest.mark.parametrize("seconds", [10_000_000, float("inf")])
    def test_very_long_waits(self, pipe: tuple[int, int], seconds: float) -> None:
        os.write(pipe[1], b"x")
        assert base_deadline.wait_readable([pipe[0]], Deadline(seconds)) == {pipe[0]}
