# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secret values out of logs and results: one policy for all modules.

* The options in SECRET have no_log, so Ansible logs nothing of them. A test holds every module to that.
* The parameters that a module returns show their names and structure, and no value. Of ``hooks`` and ``spec`` only what is called
  ``env`` is secret.
* No result of the engine has a secret value, a diff neither. Ansible would still blank out each value wherever it appears by
  chance: the value ``1`` would cost every number its ones, the value ``running`` the status of the container. So it is told to
  mask nothing in a result that tells of success, nor in the output of a command.
* The message and the logs of a failure have words of other programs (conmon, skopeo, a hook). Values of some length are masked
  there (secret_values.py).
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

SECRET = ("conmon_env", "env", "hooks", "password", "spec", "stdin")


def conceal(module: AnsibleModule) -> dict[str, t.Any]:
    """Return the parameters as they are, and hide the secret values in the module."""
    params = dict(module.params)
    for name in SECRET:
        if params.get(name) is not None and not isinstance(params[name], bool):  # stdin of a container is a switch
            from . import secret_values

            module.no_log_values = module.no_log_values - secret_values.leaves(params[name])
            module.params[name] = secret_values.hidden(name, params[name])
    return params


def in_failures(params: t.Mapping[str, t.Any]) -> set[str]:
    """Return what is masked in the words of a failure, of the parameters as they are."""
    from . import secret_values

    return secret_values.masked(params, [name for name in SECRET if not isinstance(params.get(name), bool)])
