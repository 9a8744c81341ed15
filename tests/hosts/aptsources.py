# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Which Debian mirror this machine uses, and packages of this machine that the tool needs."""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
import typing as t

from .command import HostsError, run

# command -> the package that has it
_NEEDED = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
}


class Source(t.NamedTuple):
    uri: str
    suite: str
    components: tuple[str, ...]


def parse_one_line(text: str) -> list[Source]:
    """Sources of a file in the old format: `deb [options] URI SUITE COMPONENT...`."""
    found = []
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)", line.split("#")[0].strip())
        if match:
            found.append(Source(match[1], match[2], tuple(match[3].split())))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Sources of a `.sources` file: paragraphs of fields, any of which may have several words."""
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE))
        words = {name.lower(): tuple(value.split()) for name, value in fields.items()}
        if "deb" not in words.get("types", ()) or words.get("enabled") == ("no",):
            continue
        for uri in words.get("uris", ()):
            for suite in words.get("suites", ()):
                found.append(Source(uri, suite, words.get("components", ())))
    return found


def configured_sources(etc_apt: str = "/etc/apt") -> list[Source]:
    found = []
    for path in [f"{etc_apt}/sources.list", *sorted(glob.glob(f"{etc_apt}/sources.list.d/*"))]:
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(os.path.splitext(path)[1])
        if parse and os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                found += parse(stream.read())
    return found


def debian_mirror() -> str:
    """The mirror this machine itself gets its Debian from."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', stream.read(), re.MULTILINE))
    suites = {release.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid"}
    if release.get("ID") == "debian":
        for source in configured_sources():
            if source.suite in suites and "main" in source.components:
                return source.uri
    raise HostsError("no Debian mirror in the apt sources of this machine: name one with --mirror")


def install_missing() -> None:
    missing = sorted(package for command, package in _NEEDED.items() if not shutil.which(command))
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # It fails for any one source that is out of reach, and that need not be the one we want.
    run(["apt-get", "update", "-qq"], seconds=300, extra_env=quiet, check=False)
    run(["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing], seconds=600, extra_env=quiet)


__all__ = ("Source", "configured_sources", "debian_mirror", "install_missing", "parse_deb822", "parse_one_line")
