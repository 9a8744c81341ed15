# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a plan leaves as it is. Pure."""

from __future__ import annotations

import typing as t

from .._state.model import Observed, Status

Differences = t.Mapping[str, tuple[t.Any, t.Any]]


def plan_warnings(
    observed: Observed, ignored: Differences, *, stays: bool, older: t.Sequence[str] = ()
) -> tuple[str, ...]:
    """Return warnings of differences that are ``ignored``, and of a container that has lost a program and ``stays`` so, or has
    ``older`` facts of the host."""
    found = []
    if ignored:
        what = f"The definition of {observed.name} differs ({_short(ignored)})"
        found.append(f"{what}, but recreate=never keeps the container as it is.")
    if observed.disconnected and stays:
        gone = f"The network helper of {observed.name} has ended, so the container has no network"
        found.append(f"{gone}. state=restarted creates the container again, with network.")
    if stays and observed.status in (Status.RUNNING, Status.PAUSED) and not observed.monitored:
        gone = f"conmon of {observed.name} has ended, so its output is lost, and its exit code will not be known"
        found.append(f"{gone}. state=restarted creates the container again, with conmon.")
    if older and stays:
        changed = f"The host has something else by now than {observed.name} was created with ({_short(older)})"
        found.append(
            f"{changed}. The container stays as it is. state=restarted with its bundle creates it again, with what the host has."
        )
    return tuple(found)


def _short(changes: t.Collection[str]) -> str:
    names = sorted(changes)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
