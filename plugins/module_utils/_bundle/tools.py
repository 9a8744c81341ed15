# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run external programs (skopeo, umoci, tar, cp, mount), explain their errors, and give them temporary directories."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import stat
import typing as t

from .._base.deadline import Deadline
from .._base.errors import Conflict, LongshoreError, NotInstalled, ProgramFailed
from .._base.files import make_directory, remove_tree
from .._base.pidfd import kill_and_wait
from .._base.process import ProcessId, boot_id, identify, is_alive
from .._base.program import Completed, find_program, run

# Variables from the environment of the task that a program may need to connect to a registry.
_INHERITED = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "ssl_cert_file",
    "ssl_cert_dir",
    "registry_auth_file",
)
_TEMPORARY = re.compile(r"\.tmp-(\d+)-(\d+)-[0-9a-f]{6}")  # pid and start
_ENTERED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENDING = 10  # seconds for killed programs, which may have to free much memory
_NOISE = re.compile(  # the last lines of tar, by any path to it, and of mount, after the one with the cause
    r"(?:\S*/)?tar(?: \(child\))?: (?:Error is not recoverable|Child returned status|Exiting with failure)|dmesg\(1\) may have"
)
# Messages of tar beside its errors: that there were some, and warnings, which leave no file out.
_ASIDE = re.compile(
    r"tar: (?:Exiting with failure status due to previous errors|Removing leading \S+ from (?:member names|hard link targets)"
    r"|Ignoring unknown extended header keyword '[^']*'|A lone zero block at \d+"
    r"|setxattrat: Cannot set '[^']+' extended attribute for file .*: Operation not (?:permitted|supported)"
    r"|.*: time stamp [\d-]+ [\d:.]+ is [-\d.e+]+ s in the future|.*: implausibly old time stamp [\d-]+ [\d:.]+)$"
)
_FAILED = {"tar": 2, "cp": 1}  # of the ends with an error, the one after the last file
_MOST_SAID = 600
# Texts before skopeo's cause, which have the reference of the image.
_PREFIX = re.compile(
    r'(?:Error parsing image name "(?:[^"\\]|\\.)*"|Error retrieving manifest for image|(?:initializing|Error initializing) source \S+'
    r"): (?=.)"
)
_FULL = "there is no space left on the device"
_NO_SPACE = r"no space left on device|disk quota exceeded"
# Messages of skopeo (1.9 to 1.20), with their meanings and hints. The first match counts.
_MEANINGS = (
    (r"getting username and password|getting credentials", "its credentials cannot be read", "See authfile, or ~/.docker/config.json."),
    (r"x509:|tls: |server gave HTTP response to HTTPS|certificate (signed|is|has)", "its certificate is not trusted, or it does not speak TLS",
     "Put its CA into /etc/containers/certs.d or ca_cert_dir, or set tls_verify: false."),
    (r"unauthorized|authentication required|incorrect username or password|status code 401",
     "the registry does not accept the username and password, or needs them", "Set username and password, or authfile."),
    (r"requested access to the resource is denied|status code 403", "the registry denies access to it", ""),
    (r"does not match provided manifest digest|digest mismatch|digest did not match|does not match expected", "its digest is not the one asked for", ""),
    (r"open(ing)? .*no such file or directory|archive file not found", "there is no such file", "Check the reference."),
    (r"untarring file|loading tar component|archive/tar: ", "it is not an archive of an image", "Check the file."),
    (r"more than one image in oci", "it has more than one image", "Write the name of one behind the path: oci:PATH:NAME."),
    (r"manifest unknown|name unknown|repository .*not found|status code 404|no descriptor found|tag not found|not found: "
     r"|does not resolve to an image ID|identifier is not an image|no such image", "there is no such image", "Check the reference."),
    (r"no image found in (manifest list|image index)|no image found for", "there is no image for this platform", ""),
    (r"cannot connect to the docker daemon", "the Docker daemon cannot be reached", "Check that it runs."),
    (r"connection refused|no such host|no route to host|network is unreachable|i/o timeout|connection reset|(?-i:\bEOF\b)|dial tcp"
     r"|context deadline|status(?: code)?:? 5\d\d|bad gateway|service unavailable",
     "the registry cannot be reached", "Check that it runs and that this host reaches it. Proxy settings come from the task's environment."),
    (r"invalid reference|invalid (source|image) name|unknown transport", "the reference is not valid", ""),
)  # fmt: skip


def find(name: str) -> str:
    path = find_program(name)
    if path is None:
        raise NotInstalled(f"{name} is not on this host.", hint="The role longshore.oci.runtime installs it.")
    return path


def call(
    argv: t.Sequence[str], deadline: Deadline, *, what: str, place: str = "", temporary: str = "", prefix: t.Sequence[str] = (),
    ignored: str = "",
) -> Completed:  # fmt: skip
    """Run a program. The error is one sentence: ``what`` cannot be done, and the reason. ``place`` is the directory where the
    program writes. Files for a container are created with the umask 022, whatever that of the host is. ``prefix`` is a program that
    runs this one. An error of tar or cp counts as a success if each line about a file matches ``ignored``."""
    environment = {
        name: value for name, value in os.environ.items() if name.lower() in _INHERITED and value
    }  # fmt: skip
    if temporary:
        environment["TMPDIR"] = temporary
    before = [find(prefix[0]), *prefix[1:]] if prefix else []
    done = run([*before, find(argv[0]), *argv[1:]], deadline, what=what, env=environment, umask=0o022)
    if done.rc != 0 and not (ignored and _is_complete(done, argv[0], ignored)):
        said = _said(done.stderr) or f"exit code {done.rc}"
        meaning, hint = _meaning(said, argv)
        details: dict[str, t.Any] = {"argv": list(argv), "rc": done.rc, "stderr": done.stderr[-2000:]}
        cause = f": {meaning}" if meaning else ""
        if meaning == _FULL:
            hint = f"Free space in {_file_system(place)}." if place else ""
        raise ProgramFailed(f"Cannot {what}{cause}. {_quote(argv[0], said)}", hint=hint, **details)
    return done


def _is_complete(done: Completed, program: str, ignored: str) -> bool:
    """Tell whether tar or cp has only left out what it may, and has seen all files. One that is killed says nothing of it, and
    of a killed program that decompresses there is a line."""
    lines = [line for line in done.stderr.split("\n") if line.strip() and not _ASIDE.search(line)]
    return done.rc == _FAILED.get(program) and bool(lines) and all(re.search(ignored, line) for line in lines)


def _file_system(place: str) -> str:
    """Return where the file system of a directory is mounted. The directory itself is removed after a failure."""
    while not os.path.ismount(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return place


def _quote(program: str, said: str) -> str:
    if len(said) > _MOST_SAID:  # A path may be that long, with the cause behind it.
        said = f"{said[: _MOST_SAID // 2]} ... {said[-_MOST_SAID // 2 :]}"
    return f"{program} says: {said.rstrip('.')}."


def _meaning(said: str, argv: t.Sequence[str]) -> tuple[str, str]:
    """Return the meaning and a hint, or empty texts. Names say nothing: geoffrey is no EOF, and no file is unauthorized."""
    if re.search(_NO_SPACE, said, re.IGNORECASE):
        return _FULL, ""
    if argv[0] in ("cp", "tar", "mount", "umoci"):
        return "", ""
    for reference in filter(re.compile(r"[a-z-]+:\S").match, argv):
        name = reference.partition("://")[2].partition("@")[0]
        for each in (reference, name, re.sub(r":[^/]*$", "", name)):
            said = said.replace(each, "") if "/" in each else said
    for path in re.findall(r"(?:^|[:@+ ])(/[^/:+\]\n][^:+\]\n]*)", "\n".join(argv), re.MULTILINE):
        path = path.rstrip("/")
        while path.strip("/"):  # skopeo may name a directory above it.
            said = re.sub(rf"(?<!\w){re.escape(path)}(?![\w.-])", "", said)
            path = os.path.dirname(path)
    found = (each[1:] for each in _MEANINGS if re.search(each[0], said, re.IGNORECASE))
    return next(found, ("", ""))


def _told(stderr: str) -> list[str]:
    return [line.strip() for line in stderr.split("\n") if line.strip() and not _NOISE.match(line.strip())]


def _said(stderr: str) -> str:
    """Return the last message of a program, without the format of its log, and without what this task says of the image."""
    lines = _told(stderr)
    fatal = [line for line in lines if "level=fatal" in line or "\u2a2f" in line or line.startswith("panic: ")]
    text = (fatal or lines or [""])[-1]
    found = re.search(r'msg=("(?:[^"\\]|\\.)*")', text)
    if found:
        with contextlib.suppress(ValueError):
            text = str(json.loads(found[1]))
    return _PREFIX.sub("", text.replace("\u2a2f", "").strip(), count=1)


@contextlib.contextmanager
def workspace(parent: str) -> t.Iterator[str]:
    """Yield a temporary directory on the same file system, so that results can be renamed out of it.

    If a task is killed, the next task removes its directory, whose name identifies the task.
    """
    make_directory(parent, mode=0o700)
    sweep(parent)
    me = t.cast(ProcessId, identify(os.getpid()))
    path = f"{parent}/.tmp-{me.pid}-{me.start}-{os.urandom(3).hex()}"
    try:
        make_directory(path, mode=0o700)
        yield path
    except OSError as exc:
        raise LongshoreError(f"Cannot work in {parent}: {exc.strerror}.") from exc
    finally:
        discard(path)


def sweep(parent: str) -> None:
    """Remove the workspaces of ended tasks, after their programs have been ended."""
    for name in os.listdir(parent):
        owner = _TEMPORARY.fullmatch(name)
        if owner and not is_alive(ProcessId(int(owner[1]), int(owner[2]), boot_id())):
            _end_workers(name)
            discard(f"{parent}/{name}")


def _end_workers(name: str) -> None:
    """Kill the programs that have a workspace as TMPDIR, and wait until they have ended."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
            if re.search(rb"(?:^|\0)TMPDIR=[^\0]*/" + re.escape(name).encode() + rb"(?:\0|$)", stream.read(1 << 20)):
                found.append(identify(int(pid)))
    kill_and_wait([process for process in found if process], Deadline(_ENDING))


def discard(path: str) -> None:
    """Remove a tree, including directories that their owner has no permission to enter."""
    remove_tree(path)


def take_over(path: str, group: int, mode: int) -> None:
    """Make this user the owner of a directory, with this group (-1: unchanged) and mode. Raises Conflict if another user has
    created files in it, or replaced it, in the meantime. It gets its former owner and mode then."""
    path = os.path.realpath(path)
    descriptor = os.open(path, _ENTERED)
    try:
        found = os.fstat(descriptor)
        try:
            _take(descriptor, path, found, group, mode)
        except (Conflict, OSError):
            _give(descriptor, found)
            raise
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: str, found: os.stat_result, group: int, mode: int) -> None:
    if found.st_uid != os.geteuid() or group not in (-1, found.st_gid):
        os.fchown(descriptor, os.geteuid(), group)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)
    was_open = found.st_uid != os.geteuid() or found.st_mode & 0o002
    if not was_open and found.st_mode & 0o020:
        from .._trust import untrusted

        was_open = not untrusted.is_private_group(found, path)
    if (was_open and os.listdir(descriptor)) or not os.path.samestat(os.lstat(path), os.fstat(descriptor)):
        raise Conflict(f"Another user also works in {path}.", hint="Choose another path for the bundle.")


def give_back(path: str, found: os.stat_result) -> None:
    """Give a directory its former owner and mode, unless another one is at the path by now. Raises OSError."""
    descriptor = os.open(os.path.realpath(path), _ENTERED)
    try:
        if os.path.samestat(found, os.fstat(descriptor)):
            _give(descriptor, found)
    finally:
        os.close(descriptor)


def _give(descriptor: int, found: os.stat_result) -> None:
    now = os.fstat(descriptor)
    with contextlib.suppress(PermissionError):
        if (now.st_uid, now.st_gid) != (found.st_uid, found.st_gid):
            os.fchown(descriptor, found.st_uid, found.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode))


def flush_directory(path: str) -> None:
    """Flush a directory, so that a rename in it survives a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep(directory: str, path: str) -> None:
    """Rename a complete directory to its final path, after it is on the disk, so that a power cut leaves no partial one.

    If another task has created the same in the meantime, use that.
    """
    mode, is_root = stat.S_IMODE(os.stat(directory).st_mode), os.geteuid() == 0
    if not is_root:
        os.chmod(directory, mode | 0o700)  # rename(2) changes its entry for the parent.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # syncfs(2) flushes only this file system, and not the others of a busy host.
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(descriptor)
    try:
        os.rename(directory, path)
        if not is_root:
            os.chmod(path, mode)
        flush_directory(os.path.dirname(path))
    except OSError:
        if not os.path.isdir(path):
            raise
