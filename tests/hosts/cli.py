# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""bin/hosts: real hosts for the tests, with systemd, cgroup v2, ssh and a user with a session.

Each host is a Debian of one kind (see kinds.py) that systemd-nspawn boots on this machine, with its
own network, cgroups and process ids. The kind's root tree is made once by debootstrap, from the Debian
mirror of this machine's own apt sources, and kept in ${XDG_CACHE_HOME:-/var/cache}/longshore-hosts; it
is never written to again. A host is an overlay on it, so that it boots in seconds and costs some 30 MB.

Everything about the hosts that are up is in the state directory (--state-dir), and among it:

    inventory.yml     for Ansible: one group for each kind
    ssh_config        for ssh -F, with every host by its name
    hosts/NAME/       its record, its disk (upper/) and what it printed (console.log)

A host that powers off or reboots from inside is off then; bin/hosts reboot switches it on again.

State directories do not know of each other: take another one for hosts that no other user touches.

Which file does what: kinds.py and recipe.py say what a host is (pure data), tree.py makes the tree,
host.py boots one host on an overlay, network.py and cgroup.py are its surroundings, fleet.py is what is
known of the hosts and how everything is called, access.py is ssh, private.py refuses directories that others
can change, lifecycle.py puts these together.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import typing as t

from . import access, inventory, lifecycle, private
from .command import CommandFailed, HostsError
from .fleet import Fleet, check_name
from .kinds import DEFAULT_KIND, KINDS, Kind
from .recipe import USER
from .versions import PROGRAMS, versions_of

_STATE_DIR = "/run/longshore-hosts"

_EPILOG = f"""\
examples:
  bin/hosts up                            one host, {DEFAULT_KIND}1
  bin/hosts up trixie1 trixie2 bookworm1  the kind is taken from the name
  bin/hosts up --kind sid --count 2       sid1 and sid2
  ansible -i {_STATE_DIR}/inventory.yml all -m ping
  ansible -i {_STATE_DIR}/inventory.yml trixie --user {USER} -m ping
  bin/hosts ssh trixie1                   a shell on it
  bin/hosts run --user {USER} trixie1 -- systemctl --user status
  bin/hosts down                          all of them, and whatever a crashed run left

kinds of hosts:
"""


def parser() -> argparse.ArgumentParser:
    kinds = "\n".join(f"  {kind.name:10} {kind.summary}" for kind in KINDS.values())
    top = argparse.ArgumentParser(
        prog="bin/hosts",
        description="Real hosts with systemd on this machine, for the tests. Needs root.",
        epilog=_EPILOG + kinds,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--state-dir",
        default=os.environ.get("LONGSHORE_HOSTS_STATE_DIR") or _STATE_DIR,
        help="where the state of these hosts is kept (default: $LONGSHORE_HOSTS_STATE_DIR or %(default)s)",
    )
    commands = top.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="make and boot hosts that are not up yet; prints the inventory's path")
    up.add_argument("--kind", choices=KINDS, help="kind of the hosts (default: as the name says, else trixie)")
    up.add_argument("--count", type=int, help="so many, named KIND1, KIND2, ... (default: 1)")
    up.add_argument("--mirror", help="Debian mirror for the tree (default: the one in this machine's apt sources)")
    up.add_argument("names", metavar="NAME", nargs="*")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="take hosts down and remove their disks")
    down.add_argument("names", metavar="NAME", nargs="*", help="(default: all)")
    down.set_defaults(run=_down)

    reboot = commands.add_parser("reboot", help="hosts off, if they are on, and on again, with their disks")
    reboot.add_argument("--cut-power", action="store_true", help="without a shutdown before")
    reboot.add_argument("names", metavar="NAME", nargs="+")
    reboot.set_defaults(run=_reboot)

    show = commands.add_parser("list", help="the hosts there are, with their versions")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(run=_list)

    ssh = commands.add_parser("ssh", help="a shell, or a shell command line, on a host")
    command = commands.add_parser("run", help="one program on a host, its words just as given; no terminal")
    for reach, metavar in ((ssh, "COMMAND"), (command, "-- PROGRAM WORD")):
        reach.add_argument("--user", default="root", help=f"root (default) or {USER}")
        reach.add_argument("name", metavar="NAME")
        reach.add_argument("words", metavar=metavar, nargs=argparse.REMAINDER)
        reach.set_defaults(run=_ssh)
    return top


def _wanted(args: argparse.Namespace) -> dict[str, Kind]:
    """The hosts that were asked for, by name."""
    if args.names and args.count is not None:
        raise HostsError("give either names or --count")
    if not args.names:
        kind = KINDS[args.kind or DEFAULT_KIND]
        return {f"{kind.name}{number}": kind for number in range(1, (1 if args.count is None else args.count) + 1)}
    wanted = {}
    for name in args.names:
        by_name = name.rstrip("0123456789-")
        wanted[check_name(name)] = KINDS[args.kind or (by_name if by_name in KINDS else DEFAULT_KIND)]
    return wanted


def _up(fleet: Fleet, args: argparse.Namespace) -> int:
    lifecycle.up(fleet, _wanted(args), mirror=args.mirror)
    print(inventory.path_of(fleet))
    return 0


def _down(fleet: Fleet, args: argparse.Namespace) -> int:
    lifecycle.down(fleet, [check_name(name) for name in args.names])
    return 0


def _reboot(fleet: Fleet, args: argparse.Namespace) -> int:
    lifecycle.reboot(fleet, args.names, cut_power=args.cut_power)
    return 0


def _list(fleet: Fleet, args: argparse.Namespace) -> int:
    rows: list[dict[str, str]] = []
    for host in fleet.hosts():
        state, versions = host.state, dict.fromkeys(PROGRAMS, "-")
        if state == "up":
            try:
                versions = versions_of(fleet, host)
            except CommandFailed as error:
                print(f"bin/hosts: {error}", file=sys.stderr)
                state = "lost"
        rows.append({"name": host.name, "kind": host.kind, "state": state, "address": host.address, **versions})
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    columns = ("name", "kind", "state", "address", *PROGRAMS)
    for row in ({column: column.upper() for column in columns}, *rows):
        print("  ".join(f"{row.get(column, '-'):10}" for column in columns).rstrip())
    return 0


def _ssh(fleet: Fleet, args: argparse.Namespace) -> t.NoReturn:
    host = fleet.running(args.name)
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if args.command == "run":
        if not words:
            raise HostsError("run needs a program: bin/hosts run NAME -- PROGRAM WORD...")
        words = [shlex.join(words)]
    argv = access.ssh_argv(fleet, host, user=args.user, terminal=not words)
    os.execvp(argv[0], [*argv, *words])


def main() -> int:
    args = parser().parse_args()
    try:
        if os.geteuid() != 0:
            raise HostsError("bin/hosts needs root: it mounts, makes network namespaces and boots systemd")
        private.check(args.state_dir)
        return int(args.run(Fleet.at(args.state_dir), args))
    except HostsError as error:
        print(f"bin/hosts: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bin/hosts: interrupted; bin/hosts down clears up", file=sys.stderr)
        return 130


__all__ = ("main", "parser")
