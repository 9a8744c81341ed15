# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback of Ansible that writes the time of each task to a file: a line with the task's name and milliseconds."""

from __future__ import annotations

import os
import time
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_times
type: aggregate
short_description: Write the time of each task to the file in LONGSHORE_TASK_TIMES
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._began = 0.0

    def v2_playbook_on_task_start(self, task: object, is_conditional: bool) -> None:
        self._began = time.perf_counter()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        milliseconds = (time.perf_counter() - self._began) * 1000
        name = (getattr(result, "task", None) or result._task).get_name(include_role_fqcn=False)
        with open(os.environ["LONGSHORE_TASK_TIMES"], "a", encoding="utf-8") as stream:
            stream.write(f"{milliseconds}\t{name}\n")
