# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a command or session, as a table."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._exec.plan import Action, Plan, plan
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Found, Goal, Request
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_status import Status

pytestmark = pytest.mark.pure

TRUE, FALSE = Command(("true",)), Command(("false",))
RUN = Request("web", command=TRUE)
START = Request("web", command=TRUE, detach=True, session="s")
RUNS = Found(Status.RUNNING, ("true",), has_files=True)


@pytest.mark.parametrize(
    ("request_", "found", "planned"),
    [
        # A command that is waited for.
        (RUN, Found(), Plan((Action.RUN,))),
        (RUN, RUNS, Plan((Action.RUN,))),  # an id that is taken is refused under the lock
        (RUN, Found(creates=True), Plan(unneeded="creates")),
        (RUN, Found(creates=False), Plan((Action.RUN,))),
        (RUN, Found(removes=False), Plan(unneeded="removes")),
        (RUN, Found(removes=True), Plan((Action.RUN,))),
        (RUN, Found(creates=True, removes=False), Plan(unneeded="creates")),
        (RUN, Found(creates=False, removes=True), Plan((Action.RUN,))),
        # A detached one.
        (START, Found(), Plan((Action.START,))),
        (START, RUNS, Plan()),
        (START, RUNS._replace(status=Status.STARTING), Plan((Action.START,))),
        (START, RUNS._replace(status=Status.FINISHED), Plan((Action.START,))),
        (START, RUNS._replace(argv=("false",)), Plan((Action.START,))),
        (START, Found(has_files=True), Plan((Action.START,))),
        (START._replace(command=FALSE), RUNS, Plan((Action.START,))),
        (START, RUNS._replace(creates=True), Plan(unneeded="creates")),
        # A session by its id.
        *[
            (Request("web", goal, session="s"), Found(status, ("true",), has_files), Plan(actions))
            for goal, status, has_files, actions in [
                (Goal.FINISHED, None, False, (Action.WAIT,)),
                (Goal.FINISHED, Status.FINISHED, True, (Action.WAIT,)),
                (Goal.STOPPED, None, False, ()),
                (Goal.STOPPED, None, True, ()),
                (Goal.STOPPED, Status.STARTING, True, (Action.STOP,)),
                (Goal.STOPPED, Status.RUNNING, True, (Action.STOP,)),
                (Goal.STOPPED, Status.FINISHED, True, ()),
                (Goal.ABSENT, None, False, ()),
                (Goal.ABSENT, None, True, (Action.FORGET,)),
                (Goal.ABSENT, Status.RUNNING, True, (Action.FORGET,)),
                (Goal.ABSENT, Status.FINISHED, True, (Action.FORGET,)),
            ]
        ],
    ],
)
def test_plan(request_: Request, found: Found, planned: Plan) -> None:
    assert plan(request_, found) == planned
