# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that networks could leave on this host, as JSON. Arguments: the prefix of the target, its directory and its run
directory. Other targets may come and go meanwhile, in namespaces of their own."""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
import sys
import typing as t

# What the kernel sees a little after a cable is plugged in.
_LATER = {"LOWER_UP", "NO-CARRIER"}


def told(*argv: str) -> t.Any:
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout or "[]")


def read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def main() -> None:
    prefix, state, run = sys.argv[1:]
    links = {
        link["ifname"]: [
            link["mtu"], sorted({*link["flags"]} - _LATER), link.get("master"), link.get("ifalias"), link["address"],
            sorted(f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] != "link"),
        ]
        for link in told("ip", "-j", "address")
    }  # fmt: skip
    names = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", *(f"ipv4/conf/{name}/route_localnet" for name in links)]
    answer = {
        "links": links,
        "namespaces": sorted(os.path.basename(path) for path in glob.glob(f"/run/netns/{prefix}*")),
        "rules": subprocess.run(["nft", "list", "ruleset"], stdout=subprocess.PIPE, check=True, text=True).stdout,
        "sysctls": {name: read(f"/proc/sys/net/{name}") for name in names if os.path.exists(f"/proc/sys/net/{name}")},
        # A namespace that is made again has another number.
        "files": {path: re.sub(r'"namespaces": .*', "", read(path)) for path in glob.glob(f"{state}/state/networks/*") + glob.glob(f"{run}/network*")},
    }  # fmt: skip
    print(json.dumps(answer, sort_keys=True))


if __name__ == "__main__":
    main()
