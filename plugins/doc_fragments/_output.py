# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# **PRIVATE** to the collection.
from __future__ import annotations


class ModuleDocFragment:
    """What becomes of the output of a command in a container; the options of C(_module/exec.py)."""

    DOCUMENTATION = r"""
options:
  output_limit:
    description:
      - Size of what is kept of the standard output, and as much of the standard error, such as V(64m). Suffixes are V(k), V(m)
        and V(g). Nothing is lost of what is shorter.
      - The command is not stopped there. The rest is read and dropped, RV(stdout_truncated) or RV(stderr_truncated) is V(true),
        and there is a warning.
      - The default keeps the module below 100 MiB of memory. Each byte takes up to 20 bytes on the host, and more on the
        controller. For more than that use O(stdout_path).
      - At most V(1g).
    type: str
    default: 2m
    version_added: 0.1.0
  stdout_path:
    description:
      - A file on the host, as an absolute path, that gets all of the standard output.
      - It is made with mode 0600. One that is there must be a regular file of this user without other names, and is written
        anew. Symbolic links are refused.
      - Not with O(detach=true). Give it to the task with O(state=finished).
    type: path
    version_added: 0.1.0
  stderr_path:
    description:
      - The same for the standard error. It may be the file of O(stdout_path); then both are in it as they came.
    type: path
    version_added: 0.1.0
  strip_empty_ends:
    description: Whether to strip empty lines from the end of the output.
    type: bool
    default: true
"""
