# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """Where the engine keeps its files; the options of C(_module/boundary.py)."""

    DOCUMENTATION = r"""
options:
  state_dir:
    description:
      - Directory for what must survive a reboot (records, exit codes, logs). Must not be on the same file system as
        O(run_dir), if that can be helped.
      - Default is V(/var/lib/longshore) for root, and C($XDG_STATE_HOME/longshore) (V(~/.local/state/longshore)) for
        other users.
    type: path
  run_dir:
    description:
      - Directory for what must not survive a reboot (pid files, sockets, locks, the state of the runtimes).
      - Default is V(/run/longshore) for root, and C($XDG_RUNTIME_DIR/longshore) for other users.
    type: path
requirements:
  - Linux 5.3 or newer
  - Python 3.9 or newer on the host
"""
