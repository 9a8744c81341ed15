# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """The output of a command in a container. C(_module/exec.py) declares the options."""

    DOCUMENTATION = r"""
options:
  output_limit:
    description:
      - Maximum size of the standard output that the module keeps, and of the standard error, such as V(64m). Suffixes are V(k), V(m) and
        V(g). Shorter output is always complete.
      - The command continues after the limit. The module discards the rest of the output, sets RV(stdout_truncated) or
        RV(stderr_truncated) to V(true), and warns.
      - With the default, the module needs less than 100 MiB of memory. Each byte takes up to 20 bytes on the host, and more on the
        controller. For large output, use O(stdout_path).
      - At most V(1g).
    type: str
    default: 2m
    version_added: 0.1.0
  stdout_path:
    description:
      - Absolute path of a file on the host to which the module writes the complete standard output.
      - The module creates the file with mode 0600. An existing file must be a regular file of this user with no other hard link, and is
        overwritten. The module refuses symbolic links.
      - Cannot be used with O(detach=true). Use it in the task with O(state=finished).
    type: path
    version_added: 0.1.0
  stderr_path:
    description:
      - The same for the standard error. It can be the file of O(stdout_path). The file then has both outputs in the order of their arrival.
    type: path
    version_added: 0.1.0
  strip_empty_ends:
    description: Whether to strip empty lines from the end of the output.
    type: bool
    default: true
"""
