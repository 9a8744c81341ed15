# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options whose values are secret: no log and no result has them, whatever becomes of the task.

Such an option has no_log in its specification, so Ansible logs nothing of it. Ansible would also blank out each of its
values wherever it appears by chance: a variable with the value 1 would cost every number of the result its ones. So the
values are taken out of what the module returns as its parameters, and Ansible masks only what it is told to.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def conceal(module: AnsibleModule, *names: str, masked: t.Iterable[str] = ()) -> dict[str, t.Any]:
    """Return the parameters as they are, and hide the values of the options ``names`` in the module.

    Of these values Ansible goes on to mask those in ``masked`` wherever they appear. Names of variables are shown.
    """
    params = dict(module.params)
    for name in names:
        value = params[name]
        if value is not None:
            module.no_log_values = module.no_log_values - leaves(value).difference(masked)
            module.params[name] = dict.fromkeys(value, HIDDEN) if isinstance(value, dict) else HIDDEN
    return params


def leaves(value: t.Any) -> set[str]:
    """Return what Ansible would mask of a value: each text and number in it."""
    if isinstance(value, (dict, list)):
        return {leaf for each in (value.values() if isinstance(value, dict) else value) for leaf in leaves(each)}
    return {str(value)}
