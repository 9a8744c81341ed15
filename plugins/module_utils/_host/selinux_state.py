# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell whether this host has SELinux. A task on another host does not compile selinux.py."""

from __future__ import annotations

import os


def has_labels() -> bool:
    """Tell whether SELinux is enabled. If not, no code reads labels."""
    return os.path.exists("/sys/fs/selinux/enforce")
