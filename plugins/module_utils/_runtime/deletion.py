# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a runtime delete what it has of a container."""

from __future__ import annotations

import os

from .._base.errors import DeadlineExceeded, LongshoreError, ProgramFailed
from .._base.trees import refuse_mounts
from . import failure
from .runtime import Runtime

DELETE_SECONDS = 60.0  # runc itself tries for 10 s, and its hooks may take their time


class Deletion(Runtime):
    """The runtime of a container that is to be deleted."""

    @property
    def keeps_files(self) -> bool:
        """Whether all that the runtime has of a container is known to be in its directory."""
        return self._driver.state_file is not None

    def delete(self) -> str | None:
        """Delete a container that has ended. None when it is gone, else what the runtime said.

        ``--force`` is the second try, for state that is only half there. A runtime that hangs (crun on a process in
        uninterruptible sleep tries for ever) is cut short. Raises LongshoreError, before the runtime is run, where something is
        mounted below what it would remove: runc removes state without a status file through a mount.
        """
        said = None
        for force in ([], ["--force"]):
            if not self._is_known():
                return None
            refuse_mounts(self.directory, os.path.dirname(self._log))
            try:
                result = self._run(["delete", *force, self._record.runtime_id], DELETE_SECONDS)
            except (DeadlineExceeded, ProgramFailed) as exc:
                said = str(exc)
                continue
            if result.rc == 0 and not os.path.isdir(self.directory):
                return None
            said = failure.said(result, self._log)
        return said

    def _is_known(self) -> bool:
        """Whether the runtime has state of the container. A runtime that cannot be asked has what is in its directory."""
        if os.path.isdir(self.directory) or self.keeps_files:
            return os.path.isdir(self.directory)
        try:
            return self.state().status is not None
        except DeadlineExceeded:
            return True
        except LongshoreError:
            return False
