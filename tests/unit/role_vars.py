# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate a variable of a role as Ansible does in a task. That takes too long for a pure test."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.longshore.oci.tests.unit import yaml_text

_ROLES = os.path.join(os.path.dirname(__file__), "../../roles")


def load(role: str, path: str) -> t.Any:
    with open(f"{_ROLES}/{role}/{path}", encoding="utf-8") as stream:
        return yaml_text.load(stream)


def evaluate(role: str, name: str, **given: t.Any) -> t.Any:
    """Return the value of the variable ``name``, where ``given`` are those of a play."""
    from ansible import template

    # Since 2.19, Ansible does not evaluate text that it has not been told to trust.
    trust: t.Callable[[str], str] = getattr(template, "trust_as_template", str)
    own = {**load(role, "defaults/main.yml"), **load(role, "vars/main.yml")}
    own = {key: trust(value) if isinstance(value, str) else value for key, value in own.items()}
    return template.Templar(loader=None, variables={**own, **given}).template(trust("{{ " + name + " }}"))
