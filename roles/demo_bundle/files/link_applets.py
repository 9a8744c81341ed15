# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors
"""Link every applet of a busybox to it. Argument: the busybox, in the directory that gets the links.

busybox --install would do the same, but only inside a chroot, which takes root.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys


def main() -> None:
    busybox = sys.argv[1]
    applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    # sh goes last: it is there only when all are, and the task looks for it.
    for applet in [*(name for name in applets if name not in ("busybox", "sh")), "sh"]:
        with contextlib.suppress(FileExistsError):
            os.symlink("busybox", os.path.join(os.path.dirname(busybox), applet))


main()
