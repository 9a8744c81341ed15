# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The campaign of random kills: which trials, on which host, and what came of them."""

from __future__ import annotations

import argparse
import json
import os
import random
import threading
import time
import typing as t

from . import ship, summary
from .onhost.trial import MODULES, short

RUNTIMES = ("crun", "runc")
_NOT_FOR_APP = {"oci_checkpoint", "oci_network"}
# Of ten trials.
_OF_APP = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        type=int,
        action="append",
        metavar="K",
        help="just this trial (more than once: these), after a rehearsal without a kill",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="R",
        help="each trial so often (default: 1); with --only, for moments that are hard to hit",
    )
    parser.add_argument("--runtime", choices=(*RUNTIMES, "both"), default="both", help="(default: both)")
    parser.add_argument("--user", choices=("root", "app", "both"), default="both", help="(default: both)")
    parser.add_argument(
        "--modules",
        type=lambda text: text.split(","),
        default=list(MODULES),
        metavar="NAME,...",
        help=f"of {', '.join(MODULES)}",
    )
    parser.add_argument(
        "--workers", type=int, default=8, metavar="N", help="trials at the same time on a host (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the directories of the trials on the host")


def users(args: argparse.Namespace, machine: ship.Machine) -> tuple[str, ...]:
    """Who there is for what was asked for."""
    there = machine.users if set(args.modules) - _NOT_FOR_APP else ("root",)
    return tuple(user for user in there if args.user in ("both", user))


def user_of(seed: int, number: int, there: t.Sequence[str]) -> str:
    """Who does a trial. Does not depend on the other trials."""
    if len(there) == 1:
        return there[0]
    return "app" if random.Random(f"user/{seed}/{number}").randrange(10) < _OF_APP else "root"


def _repeat_command(args: argparse.Namespace, number: int) -> str:
    words = ["bin/campaign kill", f"--seed {args.seed}", f"--only {number}", f"--host {args.host}"]
    if args.runtime != "both":
        words.append(f"--runtime {args.runtime}")
    if args.user != "both":
        words.append(f"--user {args.user}")
    if sorted(args.modules) != sorted(MODULES):
        words.append(f"--modules {','.join(args.modules)}")
    return " ".join(words)


def run(args: argparse.Namespace) -> int:
    unknown = sorted(set(args.modules) - set(MODULES))
    if unknown:
        raise SystemExit(f"bin/campaign: no such module: {', '.join(unknown)}; there are {', '.join(MODULES)}")
    machine = ship.Machine(args.host, args.hosts_state_dir)
    numbers = [number for number in (args.only or range(1, args.count + 1)) for _time in range(args.repeat)]
    there = users(args, machine)
    if not there:
        raise SystemExit(f"bin/campaign: the user {args.user} can do nothing of this there")
    by_user: dict[str, list[int]] = {}
    for number in numbers:
        by_user.setdefault(user_of(args.seed, number, there), []).append(number)
    identity = f"lsc-{short(f'{args.seed} {os.getpid()} {time.time()}')}"
    directory = f"/var/tmp/{identity}-code"
    print(f"seed {args.seed}, {len(numbers)} trials on {args.host}, the collection in {args.collection}", flush=True)
    ship.install(machine, directory, ship.payload(args.collection))
    book = summary.Book(lambda number: _repeat_command(args, number), verbose=args.verbose)
    threads = []
    for user, trials in by_user.items():
        order = {
            "id": identity,
            "user": user,
            "seed": args.seed,
            "trials": trials,
            "minutes": args.minutes,
            "runtimes": list(RUNTIMES) if args.runtime == "both" else [args.runtime],
            "modules": args.modules,
            "workers": max(1, min(len(trials), round(args.workers * len(trials) / len(numbers)))),
            "payload": directory,
            "collection": "ansible_collections.longshore.oci",
            "rehearse": bool(args.only),
            "keep": args.keep,
        }
        threads.append(threading.Thread(target=_follow, args=(ship.begin(machine, directory, order), book)))
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        if not args.keep:
            ship.clear(machine, directory, identity)
    return book.close(args.json, {"kind": "kill", "seed": args.seed, "host": args.host, "asked": len(numbers)})


def _follow(child: t.Any, book: summary.Book) -> None:
    for line in child.stdout:
        try:
            value = json.loads(line)
        except ValueError:
            book.note(line.rstrip())
            continue
        if "trial" in value:
            book.add(value)
        else:
            book.note(str(value.get("note") or f"host: {json.dumps(value.get('host'))}"), failed="note" in value)
    if child.wait() != 0:
        book.broken(f"a session on the host ended with {child.returncode}")
