# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import capabilities
from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Facts, Options
from ansible_collections.longshore.oci.plugins.module_utils._exec import process_spec

pytestmark = pytest.mark.pure

NAMES = {
    "NET_ADMIN": "CAP_NET_ADMIN", "net_admin": "CAP_NET_ADMIN", "CAP_NET_ADMIN": "CAP_NET_ADMIN", "cap_Net_Admin": "CAP_NET_ADMIN",
    "checkpoint_restore": "CAP_CHECKPOINT_RESTORE", "Chown": "CAP_CHOWN",
}  # fmt: skip
# By name that is refused: the hint.
REFUSED = {
    "NET_ADMN": "Did you mean NET_ADMIN?", "cap_sysadmin": "Did you mean SYS_ADMIN?", "SYS-PTRACE": "Did you mean SYS_PTRACE?",
    " KILL": "Did you mean KILL?", "KILL ": "Did you mean KILL?", "CAP_CAP_KILL": "Did you mean KILL?", "KILL,CHOWN": None, "": None,
    "21": None, "0x200000": None, "CAP_": None, "everything": None, "\u017fys_admin": None, "-KILL": "Did you mean KILL?",
}  # fmt: skip
_FACTS = Facts("amd64", capabilities.CAPABILITIES, cgroup2=True, uid=0, gid=0)


@pytest.mark.parametrize(("name", "full"), NAMES.items())
def test_names(name: str, full: str) -> None:
    assert capabilities.full_names([name, name]) == [full, full]
    made = spec.make(ImageConfig(cmd=("true",)), Options(capabilities_add=(name,)), _FACTS, User(), "/b")
    assert full in made["process"]["capabilities"]["bounding"]
    process_spec.check(process_spec.Command(("true",), capabilities=(name,)))


@pytest.mark.parametrize(("name", "hint"), REFUSED.items())
def test_names_that_are_refused_alike(name: str, hint: str | None) -> None:
    said = []
    for refuse in (
        lambda: capabilities.full_names([name], all_allowed=True),
        lambda: process_spec.check(process_spec.Command(("true",), capabilities=(name,))),
        lambda: spec.make(ImageConfig(cmd=("true",)), Options(capabilities_drop=(name,)), _FACTS, User(), "/b"),
    ):
        with pytest.raises(InvalidOption) as caught:
            refuse()
        said.append((caught.value.message, caught.value.hint))
    assert said == [(f"There is no capability {name!r}.", hint or said[0][1])] * 3
    assert hint or said[0][1].startswith(("See capabilities(7)", "Did you mean"))


def test_all() -> None:
    for name in ("CAP_ALL", "cap_all", "ALL ", "Cap_All"):
        with pytest.raises(InvalidOption) as caught:
            capabilities.full_names([name], all_allowed=True)
        assert caught.value.hint == "Did you mean ALL?"
    for name in ("", "CAP_", "cap_", " "):
        with pytest.raises(InvalidOption) as caught:
            capabilities.full_names([name], all_allowed=True)
        assert caught.value.hint == "See capabilities(7); NET_ADMIN is one."
    assert capabilities.full_names(["all", "ALL"], all_allowed=True) == ["ALL", "ALL"]
    with pytest.raises(InvalidOption, match="no capability 'all'"):
        capabilities.full_names(["all"])


def test_what_a_process_may_have() -> None:
    assert capabilities.bounding("Name:\tx\nCapBnd:\t0000000000000021\n") == ["CAP_CHOWN", "CAP_KILL"]
    assert capabilities.bounding("CapBnd:\t000001ffffffffff\n") == list(capabilities.CAPABILITIES)
    # A kernel with more of them than there are names for.
    assert capabilities.bounding("CapBnd:\tffffffffffffffff\n") == list(capabilities.CAPABILITIES)
    assert capabilities.bounding("") == []


def test_what_a_kernel_has() -> None:
    assert capabilities.known_to(None) == capabilities.known_to("63\n") == capabilities.CAPABILITIES
    assert capabilities.known_to("37\n")[-1] == "CAP_AUDIT_READ"
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(capabilities.known_to(str(last))) == min(last, 40) + 1


def test_the_table() -> None:
    assert len(capabilities.CAPABILITIES) == 41
    assert capabilities.CAPABILITIES[21] == "CAP_SYS_ADMIN"
    assert capabilities.CAPABILITIES[40] == "CAP_CHECKPOINT_RESTORE"
