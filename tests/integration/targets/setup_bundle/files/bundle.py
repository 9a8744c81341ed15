# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a bundle from another one. Arguments: that one, the new one, and JSON to merge into config.json (null takes away)."""

from __future__ import annotations

import json
import os
import sys
import typing as t


def merge(value: dict[str, t.Any], change: dict[str, t.Any]) -> dict[str, t.Any]:
    result = dict(value)
    for name, new in change.items():
        if new is None:
            result.pop(name, None)
        elif isinstance(new, dict):
            result[name] = merge(result.get(name) or {}, new)
        else:
            result[name] = new
    return result


def main() -> None:
    base, bundle, change = sys.argv[1:]
    with open(f"{base}/config.json", encoding="utf-8") as stream:
        config = json.load(stream)
    # Shared, for it is read-only: a copy for each of the many bundles would cost time and prove nothing.
    config["root"]["path"] = f"{base}/rootfs"
    os.makedirs(bundle, exist_ok=True)
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as stream:
        json.dump(merge(config, json.loads(change)), stream, indent=2)


if __name__ == "__main__":
    main()
