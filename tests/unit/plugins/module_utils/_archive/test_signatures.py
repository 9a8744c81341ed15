# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With ssh-keygen, and GnuPG where it is there, and keys made for the test."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import signatures
from ansible_collections.longshore.oci.plugins.module_utils._base import program
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, MissingPrerequisite
from ansible_collections.longshore.oci.tests.unit import killing

TEXT = b'{"format": 1}'


def ssh_key(path: pathlib.Path, *, passphrase: str = "", kind: str = "ed25519") -> str:
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=60)
    return str(path)


def pgp_keys(home: pathlib.Path, name: str, *, passphrase: str = "") -> tuple[str, str, str]:
    """Private key, public key with armour, and without."""
    home.mkdir(mode=0o700)
    gpg = [
        "gpg",
        "--batch",
        "--no-tty",
        "--quiet",
        "--homedir",
        str(home),
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        passphrase,
    ]

    def run(*words: str) -> None:
        subprocess.run([*gpg, *words], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    files = tuple(str(home / kind) for kind in ("private", "armoured", "binary"))
    try:
        run("--quick-generate-key", f"{name} <{name}@example.com>", "ed25519", "sign")
        run("--armor", "--output", files[0], "--export-secret-keys")
        run("--armor", "--output", files[1], "--export")
        run("--output", files[2], "--export")
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False, timeout=60)
    os.chmod(files[0], 0o600)
    for path in files[1:]:
        os.chmod(path, 0o644)
    return t.cast("tuple[str, str, str]", files)


def verify(text: bytes, signature: bytes, *paths: str) -> None:
    signatures.check_signers(paths)
    signatures.verify(text, signature, paths, what="/srv/web.tar")


def allowed(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_signature_of_openssh(tmp_path: pathlib.Path, kind: str) -> None:
    key, other = ssh_key(tmp_path / "key", kind=kind), ssh_key(tmp_path / "other")
    signature = signatures.sign(TEXT, key)
    public = (tmp_path / "key.pub").read_text()
    verify(TEXT, signature, f"{other}.pub", f"{key}.pub")
    verify(TEXT, signature, allowed(tmp_path / "allowed", f"# ours\n*@example.com {public}"))
    verify(TEXT, signature, allowed(tmp_path / "purpose", f'me@example.com namespaces="longshore-checkpoint" {public}'))
    with pytest.raises(InvalidOption, match=r"The signature of /srv/web.tar is not by a key in"):
        verify(TEXT, signature, f"{other}.pub")
    with pytest.raises(InvalidOption, match="is not by a key in"):
        verify(TEXT + b" ", signature, f"{key}.pub")
    with pytest.raises(InvalidOption, match="is not by a key in"):
        verify(TEXT, signature, allowed(tmp_path / "git", f'me@example.com namespaces="git" {public}'))
    with pytest.raises(InvalidOption, match="is not by a key in"):
        verify(TEXT, signature[:-30] + signature[-29:], f"{key}.pub")


def test_a_signature_for_anything_else_is_none(tmp_path: pathlib.Path) -> None:
    key = ssh_key(tmp_path / "key")
    (tmp_path / "text").write_bytes(TEXT)
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", key, str(tmp_path / "text")], check=True, timeout=60
    )
    with pytest.raises(InvalidOption, match="is not by a key in"):
        verify(TEXT, (tmp_path / "text.sig").read_bytes(), f"{key}.pub")


@pytest.mark.skipif(shutil.which("gpg") is None, reason="This machine has no gpg.")
def test_a_signature_of_gnupg(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, armoured, binary = pgp_keys(tmp_path / "a", "ours")
    _theirs, other, _binary = pgp_keys(tmp_path / "b", "theirs")
    key = ssh_key(tmp_path / "key")
    signature = signatures.sign(TEXT, private)
    find = program.find_program
    for without in ("nothing", "gpgv"):
        monkeypatch.setattr(
            signatures, "find_program", lambda name, without=without: None if name == without else find(name)
        )
        verify(TEXT, signature, armoured)
        verify(TEXT, signature, f"{key}.pub", other, binary)
        for text, paths in ((TEXT, [other]), (TEXT + b" ", [armoured]), (TEXT, [f"{key}.pub"])):
            with pytest.raises(InvalidOption, match="is not by a key in"):
                verify(text, signature, *paths)
    with pytest.raises(InvalidOption, match=r"Cannot sign with .*A key with a passphrase"):
        signatures.sign(TEXT, pgp_keys(tmp_path / "c", "locked", passphrase="secret")[0])


def test_a_key_with_a_passphrase_fails_at_once(tmp_path: pathlib.Path) -> None:
    key = ssh_key(tmp_path / "key", passphrase="secret")
    with pytest.raises(InvalidOption, match=r"Cannot sign with .*A key with a passphrase cannot be used"):
        signatures.sign(TEXT, key)


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        ("nonsense", 0o600, "is not a private key of OpenSSH or GnuPG"),
        ("", 0o600, "is not a private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", 0o600, "Cannot sign with"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n", 0o600, "Cannot sign with|gpg is missing"),
        ("whatever", 0o644, "cannot be read by others"),
    ],
)  # fmt: skip
def test_what_is_no_key(tmp_path: pathlib.Path, content: str, mode: int, error: str) -> None:
    (tmp_path / "key").write_text(content)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InvalidOption, match=error):
        signatures.sign(TEXT, str(tmp_path / "key"))


def test_files_that_cannot_be_taken(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (str(tmp_path / "none"), str(tmp_path / "pipe"), str(tmp_path), "/etc/\0"):
        with pytest.raises(InvalidOption, match="sign_key: "):
            signatures.sign(TEXT, path)
        with pytest.raises(InvalidOption, match="verify: "):
            signatures.check_signers([path])
    with pytest.raises(InvalidOption, match="contains no public key"):
        signatures.check_signers([allowed(tmp_path / "empty", "# nobody\n")])
    allowed(tmp_path / "open", "ssh-ed25519 AAAA").encode()
    (tmp_path / "open").chmod(0o666)
    with pytest.raises(InvalidOption, match=r"verify: .* can be changed by users other than"):
        signatures.check_signers([str(tmp_path / "open")])


def test_a_key_in_a_directory_of_another_user_is_none(tmp_path: pathlib.Path) -> None:
    """Who can write there can put another file of root in its place."""
    (tmp_path / "theirs").mkdir()
    signers = f"{ssh_key(tmp_path / 'theirs' / 'key')}.pub"
    signatures.check_signers([signers])
    os.chown(tmp_path / "theirs", 12345, 12345)
    (tmp_path / "link").symlink_to(signers)
    for path in (signers, str(tmp_path / "link")):
        with pytest.raises(InvalidOption, match=r"verify: .* can be changed by users other than"):
            signatures.check_signers([path])
        with pytest.raises(InvalidOption, match=r"sign_key: .* can be changed by users other than"):
            signatures.sign(TEXT, path.replace(".pub", ""))


@pytest.mark.parametrize(
    "signature",
    [b"", b"\0" * 100, b"-----BEGIN SSH SIGNATURE-----\n", b"-----BEGIN PGP SIGNATURE-----\n", b"x" * (2 << 20)],
)
def test_what_is_no_signature(tmp_path: pathlib.Path, signature: bytes) -> None:
    with pytest.raises(InvalidOption, match=r"/srv/web.tar"):
        verify(TEXT, signature, f"{ssh_key(tmp_path / 'key')}.pub")


def test_a_missing_program_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ssh_key(tmp_path / "key")
    monkeypatch.setattr(signatures, "find_program", lambda name: None)
    with pytest.raises(MissingPrerequisite, match="The program ssh-keygen is missing"):
        signatures.sign(TEXT, key)


def test_what_a_killed_task_has_left_is_removed_by_the_next(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GnuPG puts a copy of the key there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / "longshore-sign-of-somebody-else-altogether"
    mine.mkdir()

    def task() -> None:
        with signatures.workspace() as directory:
            pathlib.Path(directory, "key").write_text("secret")
            os.truncate(f"{directory}/key", 6)

    steps = killing.steps(task)
    assert os.listdir(tmp_path) == [mine.name]
    left = 0
    for number in range(len(steps)):
        assert killing.kill(task, at=number).was_killed
        left += len(os.listdir(tmp_path)) - 1
        with signatures.workspace() as directory:
            assert sorted(os.listdir(tmp_path)) == sorted([mine.name, os.path.basename(directory)])
    assert left > 0
