# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign archives and verify signatures with ssh-keygen or GnuPG, depending on the key.

The manifest of an archive is signed, which has the sizes and digests of all other members. OpenSSH binds a signature to a
purpose (PROTOCOL.sshsig), so signatures for other purposes are refused.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import stat
import typing as t

from .._base.deadline import Deadline
from .._base.errors import InvalidOption, LongshoreError, MissingPrerequisite, reason_of
from .._base.files import remove_tree
from .._base.program import Completed, find_program, run
from .._state.unfinished import is_abandoned, own_name
from .._trust import trust

NAMESPACE = "longshore-checkpoint"
_MOST_BYTES = 1 << 20  # of a key, a list of signers, or a signature
_SECONDS = 60.0
_PREFIX = "longshore-sign-"
_PUBLIC = re.compile(rb"(sk-)?(ssh|ecdsa)-\S+ AAAA")
_SSH_PRIVATE = re.compile(rb"-----BEGIN (OPENSSH |RSA |EC |ENCRYPTED )?PRIVATE KEY-----")
_SSH, _PGP = b"-----BEGIN SSH SIGNATURE-----", b"-----BEGIN PGP SIGNATURE-----"
_QUIET = {"SSH_ASKPASS_REQUIRE": "never"}
# The status of GnuPG for a correct signature of a key that must not be used any more.
_NOT_GOOD = re.compile(
    r"^\[GNUPG:\] (EXPSIG|EXPKEYSIG|REVKEYSIG|BADSIG|ERRSIG|KEYREVOKED|KEYEXPIRED|SIGEXPIRED)\b", re.MULTILINE
)


def sign(text: bytes, key: str) -> bytes:
    """Return the signature of a text. Raises InvalidOption for an unusable key. Never ask for a passphrase."""
    found = _read(key, "sign_key", private=True)
    with workspace() as directory:
        path = _write(directory, "text", text)
        if _SSH_PRIVATE.search(found):
            argv = [_program("ssh-keygen"), "-Y", "sign", "-q", "-n", NAMESPACE, "-f", key, path]
            result = run(argv, Deadline(_SECONDS), what="sign", env=_QUIET)
            output = f"{path}.sig"
        elif _is_pgp(found, b"PRIVATE"):
            output = f"{path}.asc"
            result = _sign_pgp(directory, key, path, output)
        else:
            raise InvalidOption(f"{key} is not a private key of OpenSSH or GnuPG.", hint="sign_key needs such a file.")
        if result.rc != 0 or not os.path.exists(output):
            hint = "A key with a passphrase cannot be used."
            raise InvalidOption(f"Cannot sign with {key}: {_said(result)}.", hint=hint)
        with open(output, "rb") as stream:
            return stream.read(_MOST_BYTES)


def check_signers(paths: t.Sequence[str]) -> None:
    """Raises InvalidOption for a file without signers, or that other users can change."""
    for path in paths:
        if not (_PUBLIC.search(_signers(path)) or _is_pgp(_read(path, "verify"), b"PUBLIC")):
            raise InvalidOption(f"{path} contains no public key of OpenSSH or GnuPG, and no allowed signers.")


def verify(text: bytes, signature: bytes, paths: t.Sequence[str], *, what: str) -> None:
    """Raises InvalidOption unless it is a signature of the text by a signer in the files ``paths``."""
    if len(signature) > _MOST_BYTES:
        raise InvalidOption(f"The signature of {what} is not valid.")
    said = "they contain no key of its type"
    with workspace() as directory:
        message, signed = _write(directory, "text", text), _write(directory, "signature", signature)
        for number, path in enumerate(paths):
            is_pgp = _is_pgp(_read(path, "verify"), b"PUBLIC")
            if signature.lstrip().startswith(_SSH) and not is_pgp:
                said = _verify_ssh(_write(directory, f"signers-{number}", _as_allowed(_signers(path))), message, signed)
            elif signature.lstrip().startswith(_PGP) and is_pgp:
                said = _verify_pgp(_write(directory, f"keys-{number}", _binary(_read(path, "verify"))), message, signed)
            else:
                continue
            if not said:
                return
    raise InvalidOption(f"The signature of {what} is not by a key in {' or '.join(paths)}: {said}.")


def _verify_ssh(signers: str, message: str, signed: str) -> str:
    """Return why a signature is refused, or an empty string."""
    program = _program("ssh-keygen")
    argv = [program, "-Y", "find-principals", "-f", signers, "-s", signed]
    result = run(argv, Deadline(_SECONDS), what="find the signer", env=_QUIET)
    for line in result.stdout.split("\n")[:-1]:
        # ssh-keygen reads the message only from its standard input.
        argv = [program, "-Y", "verify", "-n", NAMESPACE, "-f", signers, "-I", line.split(",")[0], "-s", signed]
        result = run(
            ["/bin/sh", "-c", 'exec "$@" <"$0"', message, *argv], Deadline(_SECONDS), what="verify", env=_QUIET
        )
        if result.rc == 0:
            return ""
    return _said(result)


def _lines(text: bytes) -> list[bytes]:
    """Return the lines as ssh-keygen reads them: a carriage return alone does not end a comment."""
    return [line.removesuffix(b"\r") for line in text.split(b"\n")]


def _as_allowed(text: bytes) -> bytes:
    """Return allowed signers as they are, and public keys as allowed signers with any name."""
    return b"\n".join(b"longshore " + line if _PUBLIC.match(line) else line for line in _lines(text)) + b"\n"


def _verify_pgp(keys: str, message: str, signed: str) -> str:
    program = find_program("gpgv")
    argv = [program or _program("gpg"), "--homedir", os.path.dirname(message), "--status-fd", "1", "--keyring", keys]
    if not program:
        argv += ["--batch", "--no-tty", "--no-default-keyring", "--trust-model", "always", "--no-auto-key-retrieve"]
        argv.append("--verify")
    result = run([*argv, signed, message], Deadline(_SECONDS), what="verify")
    good = result.rc == 0 and "\n[GNUPG:] VALIDSIG " in f"\n{result.stdout}" and not _NOT_GOOD.search(result.stdout)
    return "" if good else _said(result)


def _sign_pgp(directory: str, key: str, path: str, output: str) -> Completed:
    common = [_program("gpg"), "--batch", "--no-tty", "--quiet", "--homedir", directory, "--pinentry-mode", "error"]
    result = run([*common, "--import", key], Deadline(_SECONDS), what="read the key")
    if result.rc == 0:
        result = run([*common, "--armor", "--output", output, "--detach-sign", path], Deadline(_SECONDS), what="sign")
    agent = find_program("gpgconf")
    if agent:
        run([agent, "--homedir", directory, "--kill", "gpg-agent"], Deadline(_SECONDS), what="end the agent of GnuPG")
    return result


def _is_pgp(text: bytes, kind: bytes) -> bool:
    """Tell whether a text is an armoured key, or a packet of a key (RFC 9580: tag 5 or 6)."""
    tags = {b"PRIVATE": (0x94, 0x95, 0xC5), b"PUBLIC": (0x98, 0x99, 0xC6)}[kind]
    return b"-----BEGIN PGP " + kind + b" KEY BLOCK-----" in text or (text[:1] != b"" and text[0] in tags)


def _binary(text: bytes) -> bytes:
    """Return keys without armour, as gpgv needs them."""
    if b"-----BEGIN" not in text:
        return text
    blocks = re.findall(
        rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:\S.*\r?\n)*\r?\n([A-Za-z0-9+/=\s]+?)(?:\n=\S{4}\s*)?-----END",
        text,
    )
    with contextlib.suppress(binascii.Error):
        return b"".join(base64.b64decode(block) for block in blocks)
    return b""


def _signers(path: str) -> bytes:
    """Return the lines with signers."""
    text = _read(path, "verify")
    return b"" if b"PGP" in text[:100] else b"\n".join(line for line in _lines(text) if not line.startswith(b"#"))


def _read(path: str, option: str, *, private: bool = False) -> bytes:
    """Return a key. Raises InvalidOption if other users could have written it, or could read a private one."""
    trust.check(path, f"{option}:")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or (private and status.st_mode & 0o077):
                more = " that cannot be read by others" if private else ""
                raise InvalidOption(f"{option}: {path} must be a file{more}.")
            return stream.read(_MOST_BYTES)
    except (OSError, ValueError) as exc:
        raise InvalidOption(f"{option}: {path} cannot be read: {reason_of(exc)}.") from exc


@contextlib.contextmanager
def workspace() -> t.Iterator[str]:
    """Yield a private directory whose name identifies the task. The sockets of GnuPG need a short path."""
    import tempfile

    try:
        parent = tempfile.gettempdir()
        _sweep(parent)
        directory = f"{parent}/{own_name(_PREFIX)}"
        os.mkdir(directory, 0o700)
    except OSError as exc:
        raise LongshoreError(f"Cannot make a temporary directory: {reason_of(exc)}.") from exc
    try:
        yield directory
    finally:
        remove_tree(directory)  # The agent of GnuPG may remove its sockets at the same time.


def _sweep(parent: str) -> None:
    """Remove the directories of ended tasks, in which GnuPG may have left a copy of the key."""
    for name in os.listdir(parent):
        if name.startswith(_PREFIX) and is_abandoned(name[len("longshore-") :]):
            with contextlib.suppress(OSError, LongshoreError):
                if os.lstat(f"{parent}/{name}").st_uid == os.geteuid():
                    remove_tree(f"{parent}/{name}")


def _write(directory: str, name: str, text: bytes) -> str:
    path = f"{directory}/{name}"
    with open(path, "wb") as stream:
        stream.write(text)
    return path


def _program(name: str) -> str:
    path = find_program(name)
    if path is None:
        package = {"ssh-keygen": "the client of OpenSSH 8.1 or newer"}.get(name, "GnuPG")
        raise MissingPrerequisite(f"The program {name} is missing on this host.", hint=f"Install {package}.")
    return path


def _said(result: Completed) -> str:
    lines = [
        line for line in f"{result.stderr}\n{result.stdout}".split("\n") if line.strip() and "[GNUPG:]" not in line
    ]
    return (lines[-1].strip().rstrip(".") if lines else f"exit status {result.rc}")[:200]
