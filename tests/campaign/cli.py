# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""bin/campaign: what the collection makes of faults, at random and repeatable by a seed.

    kill    tasks, and what they have started, are killed at random moments; the next task has to recover

Each kind is a file of its own here. onhost/ is what is copied to the host and runs there: trial.py is one trial from its state to the
leak check, scenario.py what all have in common, containers.py, bundles.py and networks.py what is done to which module,
tasks.py runs and kills, look.py and leaks.py know the truth without the collection.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

from ..hosts.command import HostsError
from . import kill

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_HOSTS_STATE_DIR = os.environ.get("LONGSHORE_HOSTS_STATE_DIR") or "/run/longshore-hosts"
_EPILOG = """\
examples:
  bin/hosts up trixie1
  bin/campaign kill                              a seed of its own, which it says; 2,000 trials
  bin/campaign kill --seed 7 --count 300         300 of them
  bin/campaign kill --seed 7 --only 12 -v        the twelfth of these, alone
  bin/campaign kill --modules oci_checkpoint --runtime runc --user root
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="bin/campaign",
        description="Seeded campaigns of faults on a host of bin/hosts. Needs root.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = top.add_subparsers(dest="kind", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, help="what all choices come from (default: a new one)")
    common.add_argument("--count", type=int, default=2000, metavar="M", help="so many trials (default: %(default)s)")
    common.add_argument(
        "--minutes", type=float, default=0, help="begin no trial after so many minutes (default: no limit)"
    )
    common.add_argument(
        "--host",
        default="trixie1",
        metavar="NAME",
        help="one of bin/hosts that is up, or local, for this machine (default: %(default)s)",
    )
    common.add_argument(
        "--hosts-state-dir",
        default=_HOSTS_STATE_DIR,
        help="of bin/hosts (default: $LONGSHORE_HOSTS_STATE_DIR or %(default)s)",
    )
    common.add_argument("--collection", default=_ROOT, metavar="PATH", help="the checkout to test (default: this one)")
    common.add_argument("--json", metavar="FILE", help="write all results there too")
    common.add_argument("-v", "--verbose", action="store_true", help="tell of each trial")
    one = kinds.add_parser("kill", parents=[common], help="kill tasks and what they have started")
    kill.add_options(one)
    one.set_defaults(run=kill.run)
    return top


def main() -> int:
    args = parser().parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(10**6)
    args.collection = os.path.abspath(args.collection)
    try:
        if os.geteuid() != 0:
            raise HostsError("it needs root, as bin/hosts does")
        return int(args.run(args))
    except HostsError as error:
        print(f"bin/campaign: {error}", file=sys.stderr)
        return 1


__all__ = ("main", "parser")
