# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a key in that can do nothing but write into a pipe, for a while and from some addresses, and say as JSON where that was
written down, and what keys the host itself has. Lines of earlier migrations that were killed are removed.

Arguments: the pipe to make, the public half of the key, seconds, and the addresses, separated by commas. With the addresses
alone, it only checks them."""

from __future__ import annotations

import calendar
import fcntl
import glob
import ipaddress
import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
import time

# The program of the key, in one line. It asks each time whether the directory and the pipe are still those of this user: the line
# may outlive both, and then anybody can put a link there.
RECEIVE = (
    "import os,stat,sys;"
    'os.environ.get("SSH_ORIGINAL_COMMAND")=="probe" and sys.exit(0);'
    "own=lambda found,kind:kind(found.st_mode) and found.st_uid==os.geteuid() and not found.st_mode&0o77;"
    "place,name=os.path.split(sys.argv[1]);"
    "at=os.open(place,os.O_RDONLY|os.O_DIRECTORY|os.O_NOFOLLOW);"
    'own(os.fstat(at),stat.S_ISDIR) or sys.exit("not the directory of this migration");'
    'own(os.stat(name,dir_fd=at,follow_symlinks=False),stat.S_ISFIFO) or sys.exit("not the pipe of this migration");'
    "pipe=os.open(name,os.O_WRONLY|os.O_NOFOLLOW,dir_fd=at);"
    'own(os.fstat(pipe),stat.S_ISFIFO) or sys.exit("not the pipe of this migration");'
    'os.dup2(pipe,1);os.execvp("cat",["cat"])'
)
_PATH = [place for place in os.environ.get("PATH", "").split(":") if place.startswith("/")]
_ENVIRONMENT = {"PATH": ":".join([*_PATH, "/usr/sbin", "/sbin", "/usr/local/sbin"])}
# A line of ours, with the time at which it expires; those of older versions have none, and the pipe tells.
_OURS = re.compile(r'restrict,.*command=".*longshore-migrate-.*" .* longshore-migrate-\w+$')
_PIPE = re.compile(r' exec cat > (/[^\s"\']+)" ')
_EXPIRES = re.compile(r'expiry-time="(?P<time>\d{14})(?P<utc>Z?)"')
_DAY = 86400
# Of an address, with a fixed number at its beginning: sshd compares patterns with all that comes.
_PATTERN = re.compile(r"\d{1,3}\.[\d.*?]*[*?][\d.*?]*|[\da-f]{1,4}:[\da-f:*?]*[*?][\da-f:*?]*", re.ASCII)


def _said(*argv: str) -> str:
    """Return what a program of sshd says, on stdout and stderr."""
    try:
        done = subprocess.run(argv, env=_ENVIRONMENT, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def authorized_keys() -> str:
    """The first file that sshd looks into for this user."""
    user = pwd.getpwuid(os.geteuid())
    name = ".ssh/authorized_keys"
    for line in _said("sshd", "-T", "-C", f"user={user.pw_name},host=localhost,addr=127.0.0.1").splitlines():
        words = line.split()
        if words[:1] == ["authorizedkeysfile"] and words[1:2] not in ([], ["none"]):
            name = words[1]
    name = (
        name.replace("%%", "%").replace("%h", user.pw_dir).replace("%u", user.pw_name).replace("%U", str(user.pw_uid))
    )
    return os.path.join(user.pw_dir, name)


def expiry(version: str, moment: float) -> str:
    """The time as this sshd reads it: of its own zone, before 9.1. Exits where it knows none, before 7.7."""
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", version)
    known = (int(found[1]), int(found[2])) if found else (0, 0)
    if known < (7, 7):
        sys.exit("sshd is older than 7.7, and a key could not expire")
    if known >= (9, 1):
        return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(moment))
    return time.strftime("%Y%m%d%H%M%S", time.localtime(moment))


def is_over(line: str, now: float) -> bool:
    """Whether this is the line of a migration that is no longer under way."""
    expires, old = _EXPIRES.search(line), _PIPE.search(line)
    if not _OURS.match(line) or not (expires or old):
        return False
    if expires:
        when = time.strptime(expires["time"], "%Y%m%d%H%M%S")
        return (calendar.timegm(when) if expires["utc"] else time.mktime(when)) < now
    try:
        pipe = os.lstat(old[1] if old else "")
    except OSError:
        return True
    return not stat.S_ISFIFO(pipe.st_mode) or pipe.st_uid != os.geteuid() or pipe.st_mtime < now - _DAY


def check_addresses(addresses: str) -> None:
    """Exit for a word that is not an address, a network or a pattern of addresses, and for one that lets every address in."""
    for word in addresses.split(","):
        what = word[1:] if word.startswith("!") else word
        if _PATTERN.fullmatch(what):
            continue
        try:
            # sshd reads neither zones nor masks, and only networks without bits of a host.
            network = ipaddress.ip_network(what if re.fullmatch(r"[\da-fA-F:.]+(/\d+)?", what, re.ASCII) else "")
        except ValueError:
            sys.exit(f"{word!r} is not an address, a network, or a pattern of addresses such as 10.0.0.*")
        if network.prefixlen == 0:
            sys.exit(f"{word!r} would let the key in from every address")


def line_of(pipe: str, key: str, addresses: str, until: str) -> str:
    """The line that lets the key in."""
    command = shlex.join([sys.executable, "-I", "-c", RECEIVE, pipe]).replace('"', '\\"')
    return f'restrict,from="{addresses}",expiry-time="{until}",command="{command}" {key}'


def let_in(path: str, line: str, now: float) -> None:
    """Add the line, and take away those of migrations that are over."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    # Lines as sshd has them. Whatever else Python takes for the end of one may stand in the comment of a key, with a key after it.
    with open(
        os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # Two migrations may come at the same time.
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            sys.exit(f"{path} is not this user's alone")
        lines = [each.rstrip("\n") for each in stream if not is_over(each, now)]
        stream.seek(0)
        stream.write("".join(f"{each}\n" for each in [*lines, line]))
        stream.truncate()


def main() -> None:
    check_addresses(sys.argv[-1])
    if len(sys.argv) == 2:
        return
    pipe, key, seconds, addresses = sys.argv[1:]
    if re.search(r"[\x00-\x1f\x7f]", pipe + key):
        sys.exit("the pipe or the key cannot stand in a line")
    os.environ.pop("TZ", None)  # sshd has the zone of the host.
    time.tzset()
    now = time.time()
    line = line_of(pipe, key, addresses, expiry(_said("sshd", "-V") or _said("ssh", "-V"), now + float(seconds)))
    os.mkfifo(pipe, 0o600)
    path = authorized_keys()
    let_in(path, line, now)
    host_keys = []
    for name in sorted(glob.glob("/etc/ssh/ssh_host_*_key.pub")):
        with open(name, encoding="utf-8") as stream:
            host_keys.append(stream.read().strip())
    print(json.dumps({"authorized_keys": path, "host_keys": host_keys}))


if __name__ == "__main__":
    main()
