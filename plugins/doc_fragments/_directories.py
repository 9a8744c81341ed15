# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """The directories of Longshore. C(_module/boundary.py) declares the options."""

    DOCUMENTATION = r"""
options:
  state_dir:
    description:
      - Directory for files that must survive a reboot (records, exit codes, logs). If possible, it must not be on the file system of
        O(run_dir). A container cannot be created if one of the two paths has a colon.
      - Default is V(/var/lib/longshore) for root, and C($XDG_STATE_HOME/longshore) (V(~/.local/state/longshore)) for
        other users.
    type: path
  run_dir:
    description:
      - Directory for files that must not survive a reboot (pid files, sockets, locks, the state of the runtimes).
      - Default is V(/run/longshore) for root, and C($XDG_RUNTIME_DIR/longshore) for other users.
    type: path
requirements:
  - Linux 5.3 or newer
  - Python 3.9 or newer on the host
"""
