# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The changes to a fresh Debian tree so that it boots as a test host (pure data, see tree.py)."""

from __future__ import annotations

import dataclasses
import hashlib

from .kinds import Kind

# The public key of the fleet is put here for each host when it is made; the tree itself has no key.
AUTHORIZED_KEYS = "etc/ssh/authorized_keys"
HOST_KEY = "etc/ssh/ssh_host_ed25519_key.pub"
USER, USER_ID = "app", 1000

_FILES = {
    # Hosts of one kind share their host keys, and every user of a host has the fleet's key.
    "etc/ssh/sshd_config.d/longshore.conf": f"""\
AuthorizedKeysFile /{AUTHORIZED_KEYS}
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
# Many connections at once are a normal thing for tests.
MaxStartups 100:30:200
MaxSessions 100
""",
    # The hard setting: whatever a test starts must not depend on the ssh session it came from.
    # Without a list of whom to spare, or with an empty one, logind spares root, and then a test as root
    # would prove nothing.
    "etc/systemd/logind.conf.d/longshore.conf": "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\n",
    # With this protection logind gets a /proc of its own, where boot_id is that of this machine and not
    # the one systemd-nspawn made up for the boot. systemd 262 then refuses every session: "JSON field
    # 'PID' refers to non-local PID".
    "etc/systemd/system/systemd-logind.service.d/longshore.conf": "[Service]\nProtectControlGroups=no\n",
    f"etc/sudoers.d/{USER}": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
    "etc/subuid": f"{USER}:100000:65536\n",
    "etc/subgid": f"{USER}:100000:65536\n",
    f"var/lib/systemd/linger/{USER}": "",
    # The cgroup v1 controllers of this machine shine through in /proc/PID/cgroup, as "/", and CRIU
    # stumbles over them. crun and runc >= 1.2 have an option for it, runc 1.1 has only this file.
    "etc/criu/runc.conf": "manage-cgroups=ignore\n",
    # Rootless networking and mounts open these; systemd-nspawn copies at most the second one, and with
    # the mode it has on this machine. A node of the host's own leaves that of the machine alone.
    "etc/tmpfiles.d/longshore.conf": """\
c /dev/fuse 0666 root root - 10:229
d /dev/net 0755 root root -
c /dev/net/tun 0666 root root - 10:200
""",
    # Newer than /usr, which tells systemd that nothing is to be updated: else each host would run
    # ldconfig and more in its first boot.
    "etc/.updated": "",
    "var/.updated": "",
    # The hosts reach no name server. With this machine's own file each lookup would wait for one.
    "etc/resolv.conf": "",
    "etc/default/locale": "LANG=C.UTF-8\n",
    # Left empty, so that each host gets its own when it is made.
    "etc/machine-id": "",
    "etc/hostname": "",
}

_DIRECTORIES = ("var/log/journal",)  # makes the journal outlive a reboot

# /proc/sys and /sys are writable in a host (CRIU needs that): these units would then change this
# very machine, or wait for hardware. systemd-modules-load only ever fails here. The timers would
# start work in the middle of a test.
_MASKED_UNITS = (
    "systemd-sysctl.service", "systemd-binfmt.service", "systemd-modules-load.service",
    "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service", "proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount",
    "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "fstrim.timer", "console-getty.service", "netavark-dhcp-proxy.socket", "netavark-dhcp-proxy.service",
    "podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service",
    "podman-clean-transient.service", "podman.socket",
)  # fmt: skip

# systemd runs them all each time it reads its units again, as it does for each service that a test makes or removes. Here they find
# nothing, and took a tenth of the time of all hosts.
_MASKED_GENERATORS = (
    *(
        f"system-generators/systemd-{name}-generator"
        for name in (
            "debug", "fstab", "getty", "gpt-auto", "hibernate-resume", "rc-local", "run", "ssh", "system-update", "sysv", "tpm2",
        )
    ),
    "system-generators/podman-system-generator", "user-generators/podman-user-generator",
    "user-generators/systemd-xdg-autostart-generator",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides what a tree holds; the same recipe gives the same digest."""

    kind: Kind
    files: tuple[tuple[str, str], ...]
    directories: tuple[str, ...]
    # Below /etc/systemd.
    masked: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


def recipe_for(kind: Kind) -> Recipe:
    return Recipe(
        kind=kind,
        files=tuple(sorted(_FILES.items())),
        directories=_DIRECTORIES,
        masked=(*(f"system/{unit}" for unit in _MASKED_UNITS), *_MASKED_GENERATORS),
        # useradd before the files are written: it adds ranges of its own to /etc/subuid.
        commands=(("useradd", "--create-home", "--shell", "/bin/bash", "--uid", str(USER_ID), USER),),
    )


__all__ = ("AUTHORIZED_KEYS", "HOST_KEY", "USER", "USER_ID", "Recipe", "recipe_for")
