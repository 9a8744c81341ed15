# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why CRIU failed, from lines of its log."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._criu import criu_log

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ([], ""),
        (["(00.000001) Version: 4.1", "(00.000002) Warn  (criu/a.c:1): odd"], ""),
        (["(00.001234)      1: Error (criu/files.c:12): Can't open x."], "Can't open x"),
        (["(00.001234) Error (criu/files.c:12): one", "Error (criu/b.c:3): two"], "one; two"),
        # The same one of several processes, and the last three.
        (["(00.1) Error (a.c:1): one", "(00.2) Error (a.c:1): two", "(00.3) Error (a.c:1): two",
          "(00.4) Error (a.c:1): three", "(00.5) Error (a.c:1): four"], "two; three; four"),
        # Also logged by one that succeeds, or of no use.
        (["(00.1) Error (criu/cr-dump.c:2): Dumping FAILED.", "(00.2) Error (a.c:1): rlimit: no"], ""),
        (["(00.1)      1: Error (criu/mount-v2.c:396): mnt-v2: Can't re-create deleted file /a: File exists",
          "(00.2) Error (criu/mount.c:3635): mnt: Can't remove the directory /tmp/.criu.mntns.R8IPwU: Device or resource busy",
          "(00.3) Error (criu/cgroup.c:1998): cg: cgroupd: recv req error: No such file or directory",
          "(00.4) Error (criu/cr-restore.c:2324): Restoring FAILED."], "mnt-v2: Can't re-create deleted file /a: File exists"),
    ],
)  # fmt: skip
def test_the_reason(log: list[str], reason: str) -> None:
    assert criu_log.criu_error(log) == reason


def errors(*texts: str) -> list[str]:
    """A log of CRIU with these errors between other lines, and with what it says at the end of each failure."""
    lines = [f"(00.00{number})      1: Error (criu/some-file.c:{number}): {text}" for number, text in enumerate(texts)]
    last = ["(00.2) Error (criu/mount.c:3635): mnt: Can't remove the directory /tmp/.criu.mntns.R8IPwU: Device or resource busy",
            "(00.3) Error (criu/cgroup.c:1998): cg: cgroupd: recv req error: No such file or directory",
            "(00.4) Error (criu/cr-restore.c:2324): Restoring FAILED."]  # fmt: skip
    return ["(00.1) cg: Preparing cgroups yard (cgroups restore mode 0x4)", *lines, *last]


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        # Named by CRIU.
        (["inet: Connected TCP socket, consider using --tcp-established option."], "Use the option tcp_established."),
        (["inet: In-flight connection (l) for 1a", "inet: In-flight connections can be ignored with the --skip-in-flight option."],
         "Use the option tcp_skip_in_flight."),
        (["Can't create link remap for /a. Use link-remap option."], "Use the option link_remap."),
        (["sk unix: External socket is used. Consider using --ext-unix-sk option."], "Use the option ext_unix_sk."),
        (["Some file locks are hold by dumping tasks! You can try --file-locks to dump them."], "Use the option file_locks."),
        (["Found a session leader 7. Consider using --shell-job option"], "Use the option shell_job."),
        # Of cgroups: not the disk.
        (["cg: Failed writing 0-3 to /c/cpuset.cpus: No space left on device"], "Set manage_cgroups_mode: ignore"),
        (["cg: Restoring cpuset.cpus special property failed"], "Set manage_cgroups_mode: ignore"),
        (["cg: Can't move 1 into unified//machine.slice/a (-1/9): No such file or directory"], "Set manage_cgroups_mode: ignore"),
        (["write to cgroup.subtree_control: Device or resource busy"], "Set manage_cgroups_mode: ignore"),
        (["page-xfer: Unable to spice data: No space left on device"], "Free space"),
        (["Can't write 4096 bytes to image: ENOSPC", "cg: Can't move 1 into a"], "Free space"),
        # Of the kernel and the rights of root.
        (["sockets: Can't get 1:16 opt: Operation not supported"], "Install criu 4.2 or newer"),
        (["Can't get rlimit 0: Operation not permitted"], "CRIU needs the capability CAP_SYS_RESOURCE."),
        (["mnt: Can't create a temporary directory: Read-only file system"], "A read-only root file system needs a directory /tmp"),
        (["inet: Unsupported proto 262 for socket 1a"], "Set the environment variable GODEBUG=multipathtcp=0"),
        (["cpu: CPU instruction capabilities do not match run time"], "Restore the container on a host with the same kind"),
        # Of files and mounts.
        (["Can't dump ghost file /tmp/a of 2097152 size, increase limit"], "A program has a large deleted file open."),
        (["File srv/a has bad size 3 (expect 9)"], "A file has changed since the checkpoint."),
        (["mnt-v2: Can't re-create deleted file /srv/a: File exists"], "The source of a mount was replaced before the checkpoint"),
        (["mnt-v2: Can't stat mountpoint /tmp/.criu.mntns.a/mnt-1/sub: No such file or directory"], "Create the mount point"),
        (["mnt: 1165:./run/a doesn't have a proper root mount"], "CRIU knows only the mounts in the config"),
        (["Pid 7 do not match expected 8"], "Use a pid namespace"),
        # The cause comes first, and what is not known has no advice.
        (["File srv/a has bad size 3 (expect 9)", "cg: Can't move 1 into a"], "A file has changed since the checkpoint."),
        (["Something else"], ""), ([], ""),
    ],
)  # fmt: skip
def test_what_helps(said: list[str], advice: str) -> None:
    found = criu_log.criu_hint(errors(*said))
    assert found.startswith(advice)
    assert bool(found) == bool(advice)


def test_an_option_that_the_runtime_lacks() -> None:
    log = errors("Can't create link remap for /a. Use link-remap option.")
    found = criu_log.criu_hint(log, lambda option: f"{option} needs runc 1.3 or newer.")
    assert found == "The option link_remap would help. link_remap needs runc 1.3 or newer."
