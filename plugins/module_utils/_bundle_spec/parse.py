# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse single values in the notation of podman and docker. Pure. Each function raises InvalidOption."""

from __future__ import annotations

import os
import re
import typing as t

from .._base.errors import InvalidOption
from .._base.files import split_lines
from .._config.sizes import NO_LIMIT

UNLIMITED = 2**64 - 1  # RLIM_INFINITY in a config.json
_IDS = 2**32 - 1  # of users: the last number means no user
_LIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
# Where an image of this host changes, below the path of the reference. The other ones are in stores.
_FILES = {"oci": "/index.json", "dir": "/manifest.json", "oci-archive": "", "docker-archive": ""}
_DENIED = {"suid": "nosuid", "dev": "nodev", "exec": "noexec"}


class IdMap(t.NamedTuple):
    container: int
    host: int
    size: int


def destination(path: t.Any, name: str) -> str:
    """Return a normalized absolute path in the container."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidOption(f"{name}: the destination must be an absolute path in the container, not {path!r}.")
    clean = os.path.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidOption(f"{name}: nothing can be mounted over the root file system itself.")
    return clean


def host_path(path: str) -> str:
    """Return an absolute path of the host in one form. After a symbolic link, ``..`` leads elsewhere, so it stays."""
    return f"/{'/'.join(word for word in path.split('/') if word not in ('', '.'))}"


def mount(value: t.Any) -> dict[str, t.Any]:
    """Parse ``SOURCE:DESTINATION[:OPTION,...]``, or a dictionary with type, source, destination and options."""
    if isinstance(value, str):
        words = value.split(":")
        if len(words) not in (2, 3):
            raise InvalidOption(f"The mount {value!r} is not valid.", hint="Write SOURCE:DESTINATION:OPTIONS.")
        value = {"source": words[0], "destination": words[1], "options": [w for w in words[2:3] for w in w.split(",")]}
    if not isinstance(value, dict) or not value.keys() <= {"type", "source", "destination", "options"}:
        raise InvalidOption(f"The mount {value!r} is not valid.", hint="It has type, source, destination, options.")
    from . import mount_options

    where = destination(value.get("destination"), "mounts")
    options = [] if value.get("options") is None else value["options"]
    if not isinstance(options, list) or not all(isinstance(word, str) for word in options):
        raise InvalidOption(f"The options of the mount at {where} must be a list of words.")
    kind, source = value.get("type"), value.get("source")
    kind = mount_options.check_type("bind" if kind is None else kind, where)
    source = "" if source is None else source
    if not isinstance(source, str) or "\0" in source:
        hint = "Leave it out, or write the name of what is mounted there."
        raise InvalidOption(f"The source of the mount at {where} must be text, not {source!r}.", hint=hint)
    if not mount_options.is_bind(kind, options):
        words = mount_options.checked(kind, options, where)
        return {"destination": where, "type": kind, "source": source or kind, "options": words}
    if not source.startswith("/"):
        hint = "Named volumes are not supported. Use the absolute path of a directory."
        raise InvalidOption(f"The mount at {where} needs an absolute path of the host, not {source!r}.", hint=hint)
    source, options = host_path(source), mount_options.checked("bind", options, where)
    if not {*mount_options.PROPAGATION} & {*options}:
        options = [*options, "rprivate"]
    return {"destination": where, "type": "bind", "source": source, "options": guarded(options, "nosuid", "nodev")}


def asked_recursive(options: t.Sequence[str]) -> list[str]:
    """Return the recursive options of a bind mount that the task has given. ``rro`` beside ``ro`` is the default of this module."""
    from . import mount_options

    return [word for word in options if word in mount_options.RECURSIVE and (word != "rro" or "ro" not in options)]


def guarded(options: t.Sequence[str], *defaults: str) -> list[str]:
    """Return the options with these defaults, unless the options contain the opposite."""
    opposite = {no: yes for yes, no in _DENIED.items()}
    undone = {word: {word, opposite.get(word, word), f"r{opposite.get(word)}"} for word in defaults}
    more = [word for word in defaults if not undone[word] & {*options}]
    return [*[word for word in options if word and word not in _DENIED], *more]


def tmpfs(value: str) -> dict[str, t.Any]:
    """Parse ``DESTINATION[:OPTION,...]``."""
    from . import mount_options

    path, colon, options = value.partition(":")
    where, words = destination(path, "tmpfs"), options.split(",") if colon else []
    more = [] if "notmpcopyup" in words else ["tmpcopyup"]
    words = guarded(mount_options.checked("tmpfs", words, where), "nosuid", "nodev", "noexec", *more)
    return {"destination": where, "type": "tmpfs", "source": "tmpfs", "options": words}


def ulimit(value: str) -> dict[str, t.Any]:
    """Parse ``NAME=SOFT[:HARD]`` (podman) or ``NAME:SOFT[:HARD]`` (docker modules). -1, unlimited and infinity mean no limit."""
    word = "-1|[0-9]+|unlimited|infinity"
    found = re.fullmatch(f"(?:rlimit_)?([a-z]+)[=:]({word})(?::({word}))?", value.strip().lower())
    if not found or found[1] not in _LIMITS.split():
        hint = f"Write NAME=SOFT:HARD. The names are {_LIMITS}."
        raise InvalidOption(f"The ulimit {value[:100]!r} is not valid.", hint=_near_limit(value) or hint)
    soft, hard = (UNLIMITED if word in NO_LIMIT else int(word) for word in (found[2], found[3] or found[2]))
    if max(soft, hard) > UNLIMITED:
        raise InvalidOption(f"The ulimit {value[:100]!r} is too large for the kernel.", hint="-1 means no limit.")
    if soft > hard:
        raise InvalidOption(f"The ulimit {value!r} has a soft limit above its hard limit.")
    return {"type": f"RLIMIT_{found[1].upper()}", "soft": soft, "hard": hard}


def _near_limit(value: str) -> str:
    import difflib

    name = re.split("[=:]", value.strip().lower().replace("rlimit_", "", 1))[0].strip()
    near = difflib.get_close_matches(name, _LIMITS.split(), n=1)
    return f"Did you mean {near[0]}?" if near and name not in _LIMITS.split() else ""


def device(value: str) -> tuple[str, str, str]:
    """Parse ``HOST[:CONTAINER][:ACCESS]``. Return the path on the host, the path in the container and the access."""
    words = value.split(":")
    access = words.pop() if len(words) > 1 and not words[-1].startswith("/") else "rwm"
    if not re.fullmatch("[rwm]{1,3}", access) or len({*access}) < len(access):
        raise InvalidOption(
            f"The device {value[:300]!r} cannot have the access {access[:100]!r}.",
            hint="It is one or more of r (read), w (write) and m (mknod), such as rw.",
        )
    if len(words) not in (1, 2) or not words[0].startswith("/") or "\0" in value:
        raise InvalidOption(f"The device {value[:300]!r} is not valid.", hint="Write /dev/HOST:/dev/CONTAINER:rwm.")
    return host_path(words[0]), destination(words[-1], "devices"), "".join(each for each in "rwm" if each in access)


def id_maps(userns: t.Mapping[str, t.Any], name: str) -> tuple[IdMap, ...]:
    """Parse ``CONTAINER:HOST:SIZE`` for users and groups. The mappings of users also apply to groups by default."""
    maps = []
    for value in userns.get(name) or userns.get("uidmap") or ():
        found = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10}):([1-9][0-9]{0,9})", str(value))
        one = IdMap(*map(int, found.groups())) if found else IdMap(0, 0, _IDS + 1)
        if max(one.container, one.host) + one.size > _IDS:
            raise InvalidOption(
                f"The mapping {str(value)[:100]!r} in userns is not valid.", hint="Write CONTAINER:HOST:SIZE."
            )
        maps.append(one)
    if not maps:
        raise InvalidOption("userns needs mappings of users (uidmap).", hint="For example 0:100000:65536.")
    return tuple(sorted(maps))


def mapped(number: int, maps: t.Sequence[IdMap]) -> int | None:
    """Return the id on the host for an id in the container, or None if it is not mapped."""
    for one in maps:
        if one.container <= number < one.container + one.size:
            return one.host + number - one.container
    return None


def environment(values: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the variables by name."""
    for name in values:
        if not isinstance(name, str) or not name.isprintable() or not name or "=" in name:
            raise InvalidOption(f"env: {str(name)[:100]!r} cannot be the name of a variable.")
    return texts("env", values)


def texts(option: str, values: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Accept only strings and integers, because YAML turns an unquoted yes, null or 1.10 into another value."""
    for name, value in values.items():
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidOption(f"{option}: {str(name)[:100]!r} cannot be a name.", hint="Put it in quotes.")
        if isinstance(value, bool) or not isinstance(value, (str, int)) or "\0" in str(value):
            hint = "A NUL cannot be in it." if isinstance(value, str) else "Put it in quotes."
            raise InvalidOption(f"{option}: the value of {name[:100]} must be text.", hint=hint)
    return {name: str(value) for name, value in values.items()}


def words(option: str, values: t.Sequence[t.Any]) -> list[str]:
    """Accept only strings and integers, as ``texts``. The caller has no type for them, which would make the text True of a yes."""
    for number, value in enumerate(values, 1):
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            which = f"word {number}" if len(values) > 1 else "the value"
            raise InvalidOption(f"{option}: {which} must be text.", hint="Put it in quotes.")
    return [str(value) for value in values]


def env_file(text: str, path: str) -> list[tuple[str, str]]:
    """Parse lines ``NAME=VALUE``, as podman does. Ignore empty lines and lines that begin with #. Quotes are part of the value.

    Bytes that are not UTF-8 are lone surrogates in ``text``. They may be anywhere but in a variable: crun refuses a config
    with them, and runc changes them.
    """
    found = []
    for number, line in enumerate(split_lines(text), 1):
        line = line.lstrip(" \t")
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            # No message has the line, which may be a secret.
            if not equals or not name or name != name.strip(" \t"):
                raise InvalidOption(f"{path}, line {number}: this is not NAME=VALUE.")
            for part, what in ((name, "the name of a variable"), (value, f"the variable {name}")):
                if "\0" in part:
                    raise InvalidOption(f"{path}, line {number}: {what} has a NUL, which no program can get.")
                if any("\ud800" <= each <= "\udfff" for each in part):
                    why = "is not UTF-8, which a config.json cannot hold"
                    raise InvalidOption(f"{path}, line {number}: {what} {why}.", hint="Convert it with iconv.")
            found.append((name, value))
    return found


def refuse_keys_of_hooks(value: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]) -> None:
    """Raise InvalidOption for a key that no hook has. Of a config that others have made, a runtime ignores it."""
    known = ("path", "args", "env", "timeout")
    for kind, entries in value.items():
        for key in (key for entry in entries for key in entry if key not in known):
            import difflib

            near = difflib.get_close_matches(str(key).lower(), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."
            raise InvalidOption(f"hooks: {str(key)[:100]!r} is no key of a hook ({kind}).", hint=hint)


def image_file(reference: str) -> str | None:
    """Return the file that changes with an image of this host, or None for one in a registry or a store."""
    transport, _colon, rest = reference.partition(":")
    if transport not in _FILES:
        return None
    return (rest if transport == "dir" else rest.partition(":")[0]) + _FILES[transport]


def platform(value: str) -> tuple[str, str, str]:
    """Parse ``OS/ARCHITECTURE[/VARIANT]``."""
    if not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?", value):
        raise InvalidOption(f"The platform {value!r} is not valid.", hint="Use a platform such as linux/arm64.")
    system, architecture, *variant = value.split("/")
    return system, architecture, "".join(variant)
