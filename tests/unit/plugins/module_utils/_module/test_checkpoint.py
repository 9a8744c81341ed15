# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import Options
from ansible_collections.longshore.oci.plugins.module_utils._module import checkpoint

pytestmark = pytest.mark.pure


def _request(**given: t.Any) -> Request:
    """Of what Ansible makes of a task's arguments."""
    defaults = {name: spec.get("default") for name, spec in checkpoint.ARGUMENTS.items()}
    return checkpoint.request({**defaults, "name": "web", **given})


def test_a_name_alone() -> None:
    assert _request() == Request("web", Goal.CHECKPOINTED, options=Options(**dict.fromkeys(Options._fields)))


def test_options_of_a_dump() -> None:
    found = _request(
        leave_running=True, pre_dump=True, pre_dump_rounds=3, archive="/a", compression="gzip", include_rootfs=True
    )
    assert (found.options.leave_running, found.options.pre_dump, found.options.pre_dump_rounds) == (True, True, 3)
    assert (found.archive, found.compression, found.include_rootfs) == ("/a", "gzip", True)


def test_a_restore_names_what_it_makes() -> None:
    found = _request(state="restored", new_name="web2", archive="/a", verify=["/key"], trust_config=True, keep=True)
    assert (found.name, found.target, found.verify, found.keep) == ("web", "web2", ("/key",), True)
    assert (found.wanted.name, found.wanted.trust_config) == ("web2", True)
    assert _request(state="restored").target == "web"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tcp_close": True}, "tcp_close cannot be used with state=checkpointed"), ({"keep": True}, "keep cannot be used with"),
        ({"bundle": "/b"}, "bundle cannot be used with state=checkpointed"),
        ({"state": "restored", "leave_running": True}, "leave_running cannot be used with state=restored"),
        ({"state": "restored", "compression": "gzip", "archive": "/a"}, "compression cannot be used with state=restored"),
        ({"state": "absent", "archive": "/a"}, "archive cannot be used with state=absent"),
        ({"state": "absent", "new_name": "x"}, "new_name cannot be used with state=absent"),
        ({"compression": "gzip"}, "compression needs archive"), ({"include_rootfs": True}, "include_rootfs needs archive"),
        ({"sign_key": "/k"}, "sign_key needs archive"), ({"state": "restored", "verify": ["/k"]}, "verify needs archive"),
        ({"archive": "/a", "sign_key": "k"}, "sign_key must be given as an absolute path"),
        ({"state": "restored", "archive": "/a", "verify": ["/k", "k"]}, "verify must be given as an absolute path"),
        ({"state": "restored", "archive": "/a", "verify": []}, "verify is empty"),
        ({"archive": "a"}, "The archive a must be given as an absolute path"),
        ({"state": "restored", "tcp_close": True, "tcp_established": True}, "exclude each other"),
        ({"pre_dump_rounds": 1}, "needs pre_dump"), ({"pre_dump": True, "pre_dump_rounds": 0}, "from 1 to 9"),
        ({"pre_dump": True, "pre_dump_rounds": 10}, "from 1 to 9"), ({"timeout": 0}, "timeout must be more than 0"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        _request(**given)
