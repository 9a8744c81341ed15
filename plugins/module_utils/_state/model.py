# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vocabulary: what a container shall be, what it is, what can be done about it, and what its cgroups are called. No
behaviour here.

Named tuples rather than dataclasses: those cost each task 10 ms more, to be imported and to write their methods.
"""

from __future__ import annotations

import enum
import typing as t

from .._base.process import ProcessId

RECORD_FORMAT = 1  # Raised when an older release could misread what is written.


class Status(str, enum.Enum):
    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CHECKPOINTED = "checkpointed"


class Goal(str, enum.Enum):
    """The states that can be asked for."""

    PRESENT = "present"
    STARTED = "started"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    PAUSED = "paused"
    ABSENT = "absent"


class Action(str, enum.Enum):
    """The steps of a plan, in the words of the result."""

    UPDATE = "update"  # the record only: what needs no new container
    STOP = "stop"
    REMOVE = "remove"
    CREATE = "create"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    RESTORE = "restore"  # from its checkpoint
    RECOVER = "recover"  # what a task that was killed in a checkpoint or restore has left


class Recreate(str, enum.Enum):
    CHANGED = "changed"
    ALWAYS = "always"
    NEVER = "never"


class Definition(t.NamedTuple):
    """Everything that a launch is made of, as it was asked for. A difference in any field needs a new container."""

    bundle: str
    runtime: str = "auto"
    runtime_root: str | None = None
    runtime_args: tuple[str, ...] = ()
    conmon: str | None = None
    conmon_env: t.Mapping[str, str] = {}
    cgroup_manager: str = "auto"
    cgroup_parent: str | None = None
    log_driver: str = "k8s-file"
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
    network_helper: str = "none"
    publish: tuple[str, ...] = ()
    network_options: tuple[str, ...] = ()  # of the helper

    @classmethod
    def from_json(cls, value: t.Mapping[str, t.Any]) -> Definition:
        known: dict[str, t.Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k in cls._fields
        }
        return cls(**known)


class Timeouts(t.NamedTuple):
    """Seconds. ``stop`` None: as recorded, else 10. ``ready`` None: as long as ``create``."""

    stop: float | None = None
    kill: float = 5
    create: float = 240
    ready: float | None = None


class Desired(t.NamedTuple):
    """One container as it shall be.

    ``definition`` None: as recorded, apart from the fields in ``overrides``. ``stop_signal`` None: as recorded, else what
    the image says, else TERM. ``restore`` False: one that is checkpointed starts afresh.
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
    """conmon or a runtime, as found on this host."""

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


class Checkpoint(t.NamedTuple):
    """A checkpoint on disk: its directory, with CRIU's images in ``checkpoint``, and the runtime's options for a restore. ``once``: it
    goes when the container runs that is restored from it."""

    path: str
    options: t.Sequence[str] = ()
    once: bool = False


class Record(t.NamedTuple):
    """What we know of a container since its last launch; one JSON file, replaced as a whole."""

    name: str
    # creating, created, starting (until it says that it is ready), running, stopping, stopped, removed, checkpointing,
    # checkpointed, restoring
    phase: str
    definition: Definition
    config_digest: str
    runtime: Program
    runtime_root: str
    conmon: Program
    cgroup_manager: str
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
    last_exit: Exit | None = None  # of the previous run, kept while the container waits to be made anew
    # What it goes on from, or is being written. Of one that runs: what it was restored from, and is still to be removed.
    checkpoint: Checkpoint | None = None
    helper: ProcessId | None = None  # of the network
    realm: str = ""  # what its names have of the state directory; nothing for the default one
    # What conmon_pidfile said before conmon wrote there, for a launch that fails. None: there was none, or conmon has it.
    pidfile_before: str | None = None
    overlay: t.Sequence[str] | None = None  # of a service on an overlay: where it is mounted, and the options for that
    unit_pending: bool = False  # of a service: unit and script may not say yet what this says

    @property
    def runtime_id(self) -> str:
        """The name, but for conmon's journald driver, which takes no id of 12 characters or less (ctr_logging.c)."""
        short = self.definition.log_driver == "journald" and len(self.name) <= 12
        return f"{self.name}.longshore.oci" if short else self.name

    def to_json(self) -> dict[str, t.Any]:
        return {**self._asdict(), "format": RECORD_FORMAT, "definition": self.definition._asdict()}

    @classmethod
    def from_json(cls, value: t.Mapping[str, t.Any]) -> Record:
        """Raises KeyError or TypeError where something is missing: the caller takes that for a damaged record."""
        known = {name: value[name] for name in cls._fields if name in value}
        known["definition"] = Definition.from_json(value["definition"])
        kinds = {"runtime": Program, "conmon": Program, "init": ProcessId, "monitor": ProcessId, "last_exit": Exit}
        for name, kind in {**kinds, "checkpoint": Checkpoint, "helper": ProcessId}.items():
            known[name] = kind(*value[name]) if value.get(name) else None
        return cls(**known)

    def replace(self, **changes: t.Any) -> Record:
        return self._replace(**changes)


class Observed(t.NamedTuple):
    """One container as it is."""

    name: str
    status: Status
    record: Record | None = None
    monitored: bool = False
    exit: Exit | None = None  # when stopped
    leftovers: bool = False  # something of an interrupted run, of an earlier boot or without a record is in the way
    disconnected: bool = False  # it runs, and its network helper does not
    unfinished: bool = False  # a checkpoint or restore is under way, or a task was killed in one


class Plan(t.NamedTuple):
    """What has to be done, in order, and why. ``definition`` is what a create uses."""

    actions: tuple[Action, ...]
    result: Status
    definition: Definition | None = None
    differences: t.Mapping[str, tuple[t.Any, t.Any]] = {}
    warnings: tuple[str, ...] = ()


class StopReport(t.NamedTuple):
    """What a stop took. ``waited`` in seconds."""

    signal: str
    killed: bool
    waited: float
