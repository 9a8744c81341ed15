# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data types: the desired and the observed container, its record, the actions. No behaviour, except that a record refuses a
phase that may not follow.

These are named tuples because dataclasses cost each task 10 ms more, for the import and for generated methods.
"""

from __future__ import annotations

import enum
import typing as t

from .._base.process import ProcessId
from .phase import Phase, check_transition

RECORD_FORMAT = 1  # Increased when an older release could misread a new record.


class Status(str, enum.Enum):
    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CHECKPOINTED = "checkpointed"
    UNKNOWN = "unknown"  # Its processes are alive, but its runtime does not report a state.


class Goal(str, enum.Enum):
    """The states that a task can request."""

    PRESENT = "present"
    STARTED = "started"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    PAUSED = "paused"
    ABSENT = "absent"


class Action(str, enum.Enum):
    """The steps of a plan, with their names in the result."""

    UPDATE = "update"  # changes only the record, for options that need no new container
    STOP = "stop"
    REMOVE = "remove"
    CREATE = "create"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    RESTORE = "restore"  # from its checkpoint
    RECOVER = "recover"  # cleans up after a task that was killed in a checkpoint or restore


class Recreate(str, enum.Enum):
    CHANGED = "changed"
    ALWAYS = "always"
    NEVER = "never"


class CgroupManager(str, enum.Enum):
    AUTO = "auto"  # only in a definition
    SYSTEMD = "systemd"
    CGROUPFS = "cgroupfs"


class LogDriver(str, enum.Enum):
    K8S_FILE = "k8s-file"
    JOURNALD = "journald"
    NONE = "none"
    PASSTHROUGH = "passthrough"


class NetworkHelper(str, enum.Enum):
    NONE = "none"
    SLIRP4NETNS = "slirp4netns"
    PASTA = "pasta"


CHOICES = {"cgroup_manager": CgroupManager, "log_driver": LogDriver, "network_helper": NetworkHelper}

# Fields of a definition whose values are in no result, no difference and no archive.
SECRETS = {"conmon_env"}


class Definition(t.NamedTuple):
    """All requested options of a launch. A difference in any field needs a new container."""

    bundle: str
    runtime: str = "auto"
    runtime_root: str | None = None
    runtime_args: tuple[str, ...] = ()
    conmon: str | None = None
    conmon_env: t.Mapping[str, str] = {}
    cgroup_manager: CgroupManager = CgroupManager.AUTO
    cgroup_parent: str | None = None
    log_driver: LogDriver = LogDriver.K8S_FILE
    log_path: str | None = None
    log_size_max: int | None = None  # bytes
    log_tag: str | None = None
    stdin: bool = False
    no_pivot: bool = False
    no_new_keyring: bool = False
    conmon_pidfile: str | None = None
    exit_command: tuple[str, ...] = ()
    exit_delay: int | None = None  # seconds
    sdnotify: str = "ignore"
    reserve_ports: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    service: bool = False
    restart_policy: str = "no"
    network_helper: NetworkHelper = NetworkHelper.NONE
    publish: tuple[str, ...] = ()
    network_options: tuple[str, ...] = ()  # of the helper

    @classmethod
    def from_json(cls, value: t.Mapping[str, t.Any]) -> Definition:
        return cls(**{name: typed(name, each) for name, each in value.items() if name in cls._fields})


def typed(name: str, value: t.Any) -> t.Any:
    """Return a field of a definition from its JSON value. Raises ValueError for one that is not a choice."""
    return CHOICES[name](value) if name in CHOICES else tuple(value) if isinstance(value, list) else value


class Timeouts(t.NamedTuple):
    """Timeouts in seconds. ``stop`` None: the recorded value, otherwise 10. ``ready`` None: the value of ``create``."""

    stop: float | None = None
    kill: float = 5
    create: float = 240
    ready: float | None = None


class Desired(t.NamedTuple):
    """One container as requested.

    ``definition`` None: the recorded one, with the fields of ``overrides``. ``stop_signal`` None: the recorded one, otherwise
    the one of the image, otherwise TERM. ``restore`` False: recreate a checkpointed container.
    """

    name: str
    goal: Goal = Goal.STARTED
    definition: Definition | None = None
    overrides: t.Mapping[str, t.Any] = {}
    recreate: Recreate = Recreate.CHANGED
    stop_signal: int | None = None
    restore: bool = True
    timeouts: Timeouts = Timeouts()


class Program(t.NamedTuple):
    """conmon or a runtime on this host."""

    name: str
    path: str
    version: str


class Exit(t.NamedTuple):
    """How a container ended. ``reason`` is one of exited, killed, monitor-timeout (code known), or monitor-lost,
    host-rebooted, no-exit-file (code None)."""

    code: int | None
    reason: str
    finished_at: str | None
    oom: bool

    def words(self) -> str:
        """Return the end of a sentence such as "It has ended", for all messages that tell of an end."""
        code = f" with exit code {self.code}" if self.code is not None else ""
        return f"{code} (memory ran out)" if self.oom else code


class Checkpoint(t.NamedTuple):
    """A checkpoint on disk: its directory, with CRIU's images in ``checkpoint``, and the runtime's options for a restore.
    ``once``: remove it when the restored container runs."""

    path: str
    options: t.Sequence[str] = ()
    once: bool = False


class Record(t.NamedTuple):
    """The recorded facts about a container since its last launch. One JSON file, replaced as a whole."""

    name: str
    phase: Phase
    definition: Definition
    config_digest: str
    runtime: Program
    runtime_root: str
    conmon: Program
    cgroup_manager: CgroupManager
    boot: str
    log_path: str | None = None
    cgroup_path: str | None = None
    conmon_cgroup_path: str | None = None
    stop_signal: int = 15
    stop_timeout: float = 10
    init: ProcessId | None = None
    monitor: ProcessId | None = None
    created_at: str | None = None
    started_at: str | None = None
    last_exit: Exit | None = None  # of the previous run, kept until the container is recreated
    # The checkpoint to restore, or in progress. For a running container: the one it was restored from, to be removed.
    checkpoint: Checkpoint | None = None
    helper: ProcessId | None = None  # of the network
    realm: str = ""  # the part of its names that identifies the state directory; empty for the default one
    # Content of conmon_pidfile before conmon wrote there, for a launch that fails. None: no file, or it is conmon's.
    pidfile_before: str | None = None
    overlay: t.Sequence[str] | None = None  # of a service on an overlay: its mount point and mount options
    unit_pending: bool = False  # of a service: unit and script may not match this record yet

    @property
    def runtime_id(self) -> str:
        """Return the name. conmon's journald driver needs ids of more than 12 characters (ctr_logging.c), so extend short ones."""
        short = self.definition.log_driver is LogDriver.JOURNALD and len(self.name) <= 12
        return f"{self.name}.longshore.oci" if short else self.name

    def to_json(self) -> dict[str, t.Any]:
        return {**self._asdict(), "format": RECORD_FORMAT, "definition": self.definition._asdict()}

    @classmethod
    def from_json(cls, value: t.Mapping[str, t.Any]) -> Record:
        """Raises KeyError, TypeError or ValueError if a value is missing or wrong. The caller then treats the record as damaged."""
        known = {name: value[name] for name in cls._fields if name in value}
        for name, read in (("phase", Phase), ("cgroup_manager", CgroupManager), ("definition", Definition.from_json)):
            known[name] = read(value[name])
        kinds = {"runtime": Program, "conmon": Program, "init": ProcessId, "monitor": ProcessId, "last_exit": Exit}
        for name, kind in {**kinds, "checkpoint": Checkpoint, "helper": ProcessId}.items():
            known[name] = kind(*value[name]) if value.get(name) or name in ("runtime", "conmon") else None
        return cls(**known)

    def replace(self, **changes: t.Any) -> Record:
        """Return the record with changes. Raises LongshoreError for a phase that cannot follow."""
        if "phase" in changes:
            check_transition(self.name, self.phase, changes["phase"])
        return self._replace(**changes)


class Observed(t.NamedTuple):
    """One container in its current state."""

    name: str
    status: Status
    record: Record | None = None
    monitored: bool = False
    exit: Exit | None = None  # when stopped
    leftovers: bool = False  # parts of an interrupted run, of an earlier boot or without a record exist
    disconnected: bool = False  # the container runs without its network helper
    unready: bool = False  # no process waits for its readiness any more, unless another task does
    unfinished: bool = False  # a checkpoint or restore is in progress, or its task was killed
    problem: str = ""  # why the status is UNKNOWN

    @property
    def existing(self) -> Record:
        """Return the record of a container that is not absent. Raises LookupError for one that is."""
        if self.record is None:
            raise LookupError(f"The container {self.name} has no record.")
        return self.record


class Plan(t.NamedTuple):
    """The actions in order, and their reasons. ``definition`` is for a create."""

    actions: tuple[Action, ...]
    result: Status
    definition: Definition | None = None
    differences: t.Mapping[str, tuple[t.Any, t.Any]] = {}
    warnings: tuple[str, ...] = ()


class StopReport(t.NamedTuple):
    """How a container was stopped. ``waited`` in seconds."""

    signal: str
    killed: bool
    waited: float


class Outcome(t.NamedTuple):
    """The observed states, the plan and the completed actions. In check mode ``after`` is ``before``."""

    plan: Plan
    before: Observed
    after: Observed
    actions: tuple[Action, ...]
    stop: StopReport | None = None
    warnings: tuple[str, ...] = ()
