# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the options of mounts, and translate those of podman and docker for the runtimes. Pure.

A runtime passes a word that it does not know to the file system as data. For a bind mount, the kernel ignores data: ``RO`` would
mount with write access, without an error. So each word for a bind mount or a tmpfs is in a table here, and both runtimes know it
(crun since 1.8, runc since 1.1). Of older ones, oci_container refuses what they would ignore (recursive_mounts.py). So are the words
for other file systems that ignore what they do not know.
"""

from __future__ import annotations

import re
import typing as t

from .._base.errors import InvalidOption

PROPAGATION = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")
# The opposites among the flags of one mount. Each also has a recursive form with an r in front (mount_setattr(2)).
_PAIRS = (
    ("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("noatime", "atime"), ("nodiratime", "diratime"),
    ("relatime", "norelatime"), ("strictatime", "nostrictatime"),
)  # fmt: skip
RECURSIVE = frozenset(f"r{word}" for pair in _PAIRS for word in pair)
# The opposites among the flags of a file system. They have no effect on a bind mount.
_OF_FILE_SYSTEMS = (("sync", "async"), ("mand", "nomand"))
# The kernel reads a number with a 0 in front as octal (memparse), and ignores what is above 64 bits.
_COUNT, _ID = r"0|[1-9][0-9]{0,18}[kmgtpe]?", r"0|[1-9][0-9]{0,9}"
_SIZE, _MOST, _UNITS = rf"{_COUNT}|[0-9]{{1,3}}%", {_COUNT: 2**63 - 1, _ID: 2**32 - 2}, "kmgtpe"
_TMPFS = {
    "size": _SIZE, "nr_blocks": _COUNT, "nr_inodes": _COUNT, "mode": "0?[0-7]{1,4}", "uid": _ID, "gid": _ID,
    "huge": "never|always|within_size|advise", "mpol": r"[a-z][a-z0-9=:,-]*",
}  # fmt: skip
_NOT_PASSED = ("notmpcopyup", "defaults")  # of a new file system: runc gives defaults to the kernel, which refuses it
_MODE = "0?[0-7]{1,4}"
_OWNED = {"uid": _ID, "gid": _ID, "mode": _MODE}
_CGROUP2 = {
    "nsdelegate",
    "favordynmods",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
}
_DELEGATED = ("delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs")
# Of types whose file systems ignore a word that they do not know: single words besides flags, and patterns of the values of others.
# The runtimes make the mount of a cgroup from its flags alone, and a mqueue has nothing else.
_OWN: dict[str, tuple[set[str], dict[str, str]]] = {
    "devpts": ({"newinstance"}, {**_OWNED, "ptmxmode": _MODE, "max": r"[0-9]+"}),
    "cgroup": (set(), {}), "cgroup2": (_CGROUP2, {}), "mqueue": (set(), {}), "ramfs": (set(), {"mode": _MODE}),
    "debugfs": (set(), _OWNED), "tracefs": (set(), _OWNED), "pstore": (set(), {"kmsg_bytes": r"[0-9]{1,9}"}),
    "bpf": (set(), {**_OWNED, **dict.fromkeys(_DELEGATED, r"[\w:]+")}),
}  # fmt: skip
# Of podman and docker for a bind mount, and what they mean. An empty one has no meaning on Linux.
_TRANSLATED = {
    "bind-nonrecursive": "bind", "bind-recursive=enabled": "rbind", "bind-recursive=disabled": "bind",
    "bind-recursive=readonly": "rro", "nocopy": "", "cached": "", "delegated": "", "consistent": "", "consistency=default": "",
    "consistency=cached": "", "consistency=delegated": "", "consistency=consistent": "",
}  # fmt: skip
# Of podman and docker for any mount, by key: what yes and no mean. Their values are those of Go's ParseBool.
_SWITCHES = {"ro": ("ro", "rw"), "readonly": ("ro", "rw"), "rw": ("rw", "ro"), "readwrite": ("rw", "ro")}
_YES, _NO = ("true", "True", "TRUE", "t", "T", "1"), ("false", "False", "FALSE", "f", "F", "0")
WRITABLE = "bind-recursive=writable"  # docker's: ro, but not for the file systems below
_RELABEL = ("The module neither relabels nor chowns the source of a mount", "Use chcon, chown.")
_VOLUMES = ("It is for named volumes, which are not supported", "Mount a directory of the host.")
_IDMAP = ("runc before 1.2 ignores it", "Use userns, or chown the source.")
_NOT_SUPPORTED = {
    "z": _RELABEL, "Z": _RELABEL, "U": _RELABEL, "chown": _RELABEL, "relabel": _RELABEL,
    "copy": _VOLUMES, "subpath": _VOLUMES, "volume-opt": _VOLUMES, "volume-subpath": _VOLUMES, "nocreate": _VOLUMES,
    "idmap": _IDMAP, "ridmap": _IDMAP, "O": ("There are no temporary overlays", "Use a mount with the type overlay."),
    "remount": ("It is not for a new mount", ""),
}  # fmt: skip
# The types with an own meaning, for hints: any other is that of a file system, which the kernel knows.
TYPES = ("bind", "tmpfs", "overlay", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs")


def check_type(kind: t.Any, where: str) -> str:
    """Return the type of a mount. Refuse those that are not for the kernel, and misspelled ones."""
    if kind in ("volume", "image", "npipe", "cluster", "glob", "artifact"):
        raise InvalidOption(
            f"The type {kind} of the mount at {where} is not supported.", hint="Mount a directory of the host."
        )
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", kind):
        raise InvalidOption(f"The type of the mount at {where} cannot be {str(kind)[:100]!r}.", hint="Leave it out.")
    near = "" if kind in TYPES else _near(kind, TYPES, 0.8)
    if near:
        raise InvalidOption(f"The type {kind} of the mount at {where} does not exist.", hint=f"Did you mean {near}?")
    return kind


def is_bind(kind: str, options: t.Sequence[str]) -> bool:
    """Tell whether the runtimes make a bind mount of it: fstab(5) and docker write the type none, and an option decides for any type.
    A tmpfs has no such option."""
    words = {part for word in options if "=" not in word for part in word.split(",")}
    return kind in ("bind", "none") or (kind != "tmpfs" and not words.isdisjoint(("bind", "rbind")))


def checked(kind: str, given: t.Sequence[str], where: str) -> list[str]:
    """Return the options of a mount for the runtimes. Raises InvalidOption for a word that is not known, for opposites, and for a
    word or a value that is given twice.

    A bind mount with ``ro`` also has ``rro``, which makes the file systems below it read-only, unless it has no such file
    systems (``bind``).
    """
    words = [
        part
        for word in given
        for part in (word.split(",") if kind in _OWN or (kind in ("bind", "tmpfs") and "=" not in word) else [word])
    ]
    found: list[str] = []
    chosen: dict[str, tuple[str, str]] = {}
    for word in words:
        word = _of_both(kind, word)
        if kind == "bind":
            if _TRANSLATED.get(word) == "":
                continue
            _check_recursion(chosen, word, where)
            word = _propagation(_TRANSLATED.get(word, word), where)
        _check_word(kind, word, where)
        if word in found:
            raise InvalidOption(f"The mount at {where} cannot have {word} twice.")
        for subject, choice in _choices(word):
            other, first = chosen.setdefault(subject, (word, choice))
            if choice != first:
                raise InvalidOption(f"The mount at {where} cannot have both {other} and {word}.")
        found.append(word)
    if WRITABLE in found and "ro" not in found:  # as in docker
        raise InvalidOption(f"The mount option {WRITABLE} at {where} needs ro.", hint="Any other mount is writable.")
    return _with_recursion(found) if kind == "bind" else [word for word in found if word not in _NOT_PASSED]


def _of_both(kind: str, word: str) -> str:
    """Return an option of podman and docker as a word for the runtimes, and any other as it is."""
    key, _equals, value = word.partition("=")
    if kind == "tmpfs" and key in ("tmpfs-size", "tmpfs-mode"):
        return word[6:]
    if word in _SWITCHES:
        return _SWITCHES[word][0]
    if key in _SWITCHES and value in (*_YES, *_NO):
        return _SWITCHES[key][value in _NO]
    return word


def _check_recursion(chosen: dict[str, tuple[str, str]], word: str, where: str) -> None:
    """Refuse two different values of ``bind-recursive``. ``rro`` is its value ``readonly``."""
    key, _equals, value = word.partition("=")
    choice = "readonly" if word == "rro" else value
    other, first = (
        chosen.setdefault("bind-recursive", (word, choice))
        if choice and key in ("rro", "bind-recursive")
        else ("", choice)
    )
    if choice != first:
        raise InvalidOption(f"The mount at {where} cannot have both {other} and {word}.")


def _propagation(word: str, where: str) -> str:
    """Return the value of ``bind-propagation``, and any other word as it is."""
    key, equals, value = word.partition("=")
    if key != "bind-propagation" or not equals:
        return word
    if value not in PROPAGATION:
        near = _near(value, PROPAGATION)
        hint = f"Did you mean {near}?" if near else f"Use one of {', '.join(PROPAGATION)}."
        raise InvalidOption(f"The mount option {value[:100]!r} at {where} is not known as bind-propagation.", hint=hint)
    return value


def _with_recursion(words: list[str]) -> list[str]:
    """Return the words of a bind mount with ``bind`` or ``rbind``, and with ``rro`` if all below has to be read-only."""
    writable = WRITABLE in words
    words = [word for word in words if word != WRITABLE and not (word == "ro" and "rro" in words)]
    if "bind" not in words and "rbind" not in words:
        words = ["rbind", *words]
    return [*words, "rro"] if "ro" in words and "rbind" in words and not writable else words


def complete(words: t.Sequence[str], *, recursive: bool) -> list[str]:
    """Return the words of a bind mount for the runtimes. Each recursive one follows its plain form: a runtime that does not know
    the recursive one ignores it, and the mount itself would be writable. Without ``recursive``, only the plain forms are left."""
    found: list[str] = []
    for word in words:
        if word in RECURSIVE:
            found.append("" if word in ("rsuid", "rdev", "rexec") else word[1:])  # what a mount without the opposite is
        if recursive or word not in RECURSIVE:
            found.append(word)
    return [word for word in dict.fromkeys(found) if word]


def ordered(kind: str, words: t.Sequence[str]) -> list[str]:
    """Return the words of a mount in one order, without those that say what each mount has anyway. Words of a file system that are not
    known here keep their order, because only the kernel knows whether it has a meaning."""
    pairs = [word for pair in (*_PAIRS[1:], *_OF_FILE_SYSTEMS) for word in pair]
    flags = ["bind", "rbind", *_PAIRS[0], *PROPAGATION, *pairs]

    def place(word: str) -> tuple[int, bool, str]:
        plain = word[1:] if word in RECURSIVE else word
        index = flags.index(plain) if plain in flags else -1 if "=" in word else len(flags)
        return index, plain != word, word if kind in ("bind", "tmpfs", *_OWN) else ""

    said = ("defaults",) if "rrw" in words else ("defaults", "rw")
    return sorted((word for word in words if word not in said), key=place)


def _check_word(kind: str, word: str, where: str) -> None:
    flags, values = _known(kind)
    key, equals, value = word.partition("=")
    if word in flags or (equals and key in values and _is_value(values[key], value)):
        return
    what = f"The mount option {word[:100]!r} at {where}"
    if kind not in ("bind", "tmpfs", *_OWN) and "\0" not in word:
        # The kernel refuses a word that the file system does not know.
        if equals or (re.fullmatch(r"\S+", word) and word.lower() not in (*flags, *_SWITCHES)):
            return
    if equals and key in values:
        raise InvalidOption(f"{what} has a value that is not valid.", hint=_like(key))
    if key in _NOT_SUPPORTED:
        why, hint = _NOT_SUPPORTED[key]
        raise InvalidOption(f"{what} is not supported. {why}.", hint=hint)
    tmpfs_flags, tmpfs_values = _known("tmpfs")
    if kind == "bind" and (word in tmpfs_flags or key in tmpfs_values):
        raise InvalidOption(
            f"{what} has no effect on a bind mount.", hint="Options of a file system are for a new one."
        )
    if word in values:
        raise InvalidOption(f"{what} needs a value.", hint=_like(key))
    if kind in _OWN and key in tmpfs_values:
        raise InvalidOption(f"{what} has no effect on the type {kind}.", hint="A tmpfs has it.")
    known = (*flags, *values, *_SWITCHES, *(_TRANSLATED if kind == "bind" else ()))
    near = (_near(key, (*values, *_SWITCHES)) if equals else "") or _near(word, known)
    raise InvalidOption(
        f"{what} is not known.", hint=f"Did you mean {near}?" if near else "See the documentation of mounts."
    )


def _is_value(pattern: str, value: str) -> bool:
    """Tell whether a value has the form of a pattern, and is a number that the kernel can hold."""
    if not re.fullmatch(pattern, value, re.IGNORECASE):
        return False
    unit = _UNITS.find(value[-1].lower()) + 1
    most = _MOST.get(_COUNT if pattern == _SIZE else pattern)
    return most is None or value.endswith("%") or int(value.rstrip(value[-1]) if unit else value) << 10 * unit <= most


def _known(kind: str) -> tuple[set[str], dict[str, str]]:
    """Return the words of a type, and patterns of the values of others."""
    flags = {word for pair in _PAIRS for word in pair} | {*RECURSIVE, *PROPAGATION, "defaults"}
    if kind == "bind":
        return flags | {"bind", "rbind", WRITABLE}, {}
    flags |= {word for pair in _OF_FILE_SYSTEMS for word in pair} | {"dirsync"}
    if kind == "tmpfs":
        return flags | {"tmpcopyup", "notmpcopyup", "noswap", "inode32", "inode64"}, _TMPFS
    own, values = _OWN.get(kind, (set(), {}))
    return flags | own, values


def _choices(word: str) -> list[tuple[str, str]]:
    """Return the subjects of a word, and its choice. Two different choices for a subject exclude each other."""
    plain = word[1:] if word in RECURSIVE else word
    others = (("bind", "rbind"), ("tmpcopyup", "notmpcopyup"), ("inode32", "inode64"), PROPAGATION)
    # When the kernel writes the time of an access has one value (mount_setattr(2)), and each value a word for not having it.
    found = [(words[0], plain) for words in (*_PAIRS, *_OF_FILE_SYSTEMS, *others) if plain in words]
    found += [("the time of access", plain)] if plain in ("noatime", "relatime", "strictatime") else []
    key, equals, value = word.partition("=")
    return found or [(f"{key}=", value) if equals else (word, word)]


def _like(key: str) -> str:
    examples = {
        "size": "size=64m or size=50%",
        "mode": "mode=1777",
        "ptmxmode": "ptmxmode=0666",
        "huge": "huge=advise",
        "mpol": "mpol=local",
    }
    return f"Write {examples.get(key, f'{key}=1000')}."


def _near(word: str, known: t.Iterable[str], cutoff: float = 0.7) -> str:
    """Return the known word that is nearest to another, or an empty text."""
    import difflib

    words = sorted(known)
    exact = [each for each in words if each.lower() == word.strip().lower()]
    return next(iter(exact or difflib.get_close_matches(word.strip().lower(), words, n=1, cutoff=cutoff)), "")
