# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_bundle, what they ask for, and what it returns."""

from __future__ import annotations

import shlex
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._base.errors import InvalidOption
from .._base.files import check_text
from .._bundle.bundles import Outcome
from .._bundle_spec import parse
from .._bundle_spec.options import Action, Options, Request
from .boundary import DIRECTORY_ARGUMENTS, check_seconds
from .diff import Pairs, diff

# The options for a config.json, by type. They have no defaults here: these come from the image or from Options.
_TYPES = {
    "str": """user chdir hostname shm_size image_volumes memory memory_reservation memory_swap cpuset_cpus seccomp
        apparmor_profile selinux_label network pid ipc uts cgroup_parent stop_signal""",
    "bool": "tty privileged read_only read_only_tmpfs no_new_privileges",
    "int": "cpu_shares pids_limit oom_score_adj",
    "float": "cpus",
    "list": "argv entrypoint env_files mounts tmpfs capabilities_add capabilities_drop ulimits devices",
    "dict": "env sysctls userns annotations hooks spec",
}
_STRINGS = {"type": "list", "elements": "str"}
_MORE: dict[str, dict[str, t.Any]] = {
    "argv": {"elements": "raw"},
    "entrypoint": {"elements": "raw"},
    "hostname": {"type": "raw"},
    "env": {"no_log": True},
    "hooks": {"no_log": True},
    "spec": {"no_log": True},
    "env_files": {"elements": "path", "aliases": ["env_file"]},
    "chdir": {"aliases": ["workdir", "working_dir"]},
    "mounts": {"elements": "raw", "aliases": ["volumes"]},
    "image_volumes": {"choices": ["directory", "tmpfs", "ignore"]},
    "capabilities_add": {"aliases": ["cap_add"]},
    "capabilities_drop": {"aliases": ["cap_drop"]},
    "ulimits": {"aliases": ["ulimit"]},
    "sysctls": {"aliases": ["sysctl"]},
    "devices": {"aliases": ["device"]},
    "userns": {"options": {"uidmap": {**_STRINGS, "required": True}, "gidmap": _STRINGS}},
}
OPTION_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    name: {**(_STRINGS if kind == "list" else {"type": kind}), **_MORE.get(name, {})}
    for kind, names in _TYPES.items()
    for name in names.split()
}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "image": {"type": "str"},
    "rootfs": {"type": "path"},
    "pull": {"type": "str", "default": "missing", "choices": ["missing", "always", "never"]},
    "platform": {"type": "str"},
    "authfile": {"type": "path"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "tls_verify": {"type": "bool", "default": True},
    "ca_cert_dir": {"type": "path"},
    "timeout": {"type": "float", "default": 1800},
    "rootfs_mode": {"type": "str", "default": "copy", "choices": ["auto", "copy", "overlay"]},
    "command": {"type": "str"},
    **OPTION_ARGUMENTS,
    **DIRECTORY_ARGUMENTS,
}
RULES: dict[str, t.Any] = {
    "mutually_exclusive": [("image", "rootfs"), ("argv", "command"), ("authfile", "username")],
    "required_if": [("state", "present", ("image", "rootfs"), True)],
    "required_together": [("username", "password")],
}


def request(params: t.Mapping[str, t.Any]) -> Request:
    """Return the request. Raises InvalidOption for options that exclude each other."""
    if params["rootfs"] and params["platform"]:
        raise InvalidOption("platform selects an image of an index. It cannot be used with rootfs.")
    if params["timeout"] <= 0:
        raise InvalidOption("timeout must be more than 0 seconds.")
    check_seconds(params, "timeout")
    check_text("path", params["path"])
    check_text("rootfs", params["rootfs"] or "")
    fields = {name: params[name] for name in Request._fields if name in params}
    return Request(
        **{**fields, "path": params["path"].rstrip("/") or "/"},
        absent=params["state"] == "absent",
        options=_options(params),
    )


def _options(params: t.Mapping[str, t.Any]) -> Options:
    given: dict[str, t.Any] = {name: params[name] for name in OPTION_ARGUMENTS if params[name] is not None}
    if params["command"] is not None:
        try:
            given["argv"] = shlex.split(params["command"])
        except ValueError as exc:
            raise InvalidOption(f"command cannot be split into words: {exc}.", hint="Use argv with a list.") from exc
    for name in ("argv", "entrypoint"):
        if name in given:
            given[name] = parse.words(name, given[name])
    if "hostname" in given:
        (given["hostname"],) = parse.words("hostname", [given["hostname"]])
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return Options(**{**given, **lists})


def result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    for warning in outcome.warnings:
        module.warn(warning)
    path, record = module.params["path"].rstrip("/"), outcome.record
    image = record.image
    bundle = {
        "path": path,
        "config_digest": record.config_digest,
        "image": {key: image.get(key) for key in ("reference", "platform", "digest")} if image else None,
        "rootfs": f"{path}/{record.root}" if record.root else None,
        "rootfs_digest": record.rootfs_digest,
    }
    actions = [action.value for action in outcome.actions]
    return {"changed": bool(actions), "actions": actions, "bundle": bundle, "diff": diff(_differences(outcome))}


def _differences(outcome: Outcome) -> Pairs:
    """By JSON path of config.json; of a bundle that comes or goes only that."""
    before = "present" if outcome.existed else "absent"
    after = "absent" if Action.REMOVE in outcome.actions else "present" if outcome.actions else before
    return {"state": (before, after), **(outcome.plan.differences if outcome.existed else {})}
