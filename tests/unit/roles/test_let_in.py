# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key that the role migrate lets in: what it can do, for how long, and what becomes of those that were left."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import threading
import time
import typing as t

import pytest

pytestmark = pytest.mark.pure

_FILE = os.path.join(os.path.dirname(__file__), "../../../roles/migrate/files/let_in.py")
_SPEC = importlib.util.spec_from_file_location("let_in", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
let_in: t.Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(let_in)
NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
KEY = "ssh-ed25519 AAAA longshore-migrate-here"


def _receive(pipe: pathlib.Path, text: str, asked: str = "bring") -> subprocess.CompletedProcess[str]:
    """Let the key in as sshd does: the command goes to the shell of the user."""
    line = let_in.line_of(str(pipe), KEY, "10.0.0.1", "20270101000000Z")
    command = line.partition('command="')[2].rpartition(f'" {KEY}')[0].replace('\\"', '"')
    environment = {"PATH": "/usr/bin:/bin", "SSH_ORIGINAL_COMMAND": asked}
    return subprocess.run(
        ["/bin/sh", "-c", command], input=text, env=environment, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.fixture
def pipe(tmp_path: pathlib.Path) -> pathlib.Path:
    place = tmp_path / 'longshore-migrate-it\'s "there"'
    place.mkdir(0o700)
    os.mkfifo(place / "checkpoint", 0o600)
    return place / "checkpoint"


@pytest.mark.impure
def test_the_key_writes_into_the_pipe_and_can_be_tried(pipe: pathlib.Path) -> None:
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text(encoding="utf-8")))
    assert _receive(pipe, "", "probe").returncode == 0
    reader.start()
    assert _receive(pipe, "the checkpoint").returncode == 0
    reader.join(10)
    assert got == ["the checkpoint"]


def _elsewhere(pipe: pathlib.Path) -> None:
    pipe.unlink()
    pipe.symlink_to(pipe.parent.parent / "victim")


def _file(pipe: pathlib.Path) -> None:
    pipe.unlink()
    os.link(pipe.parent.parent / "victim", pipe)


def _other_place(pipe: pathlib.Path) -> None:
    _elsewhere(pipe)
    os.chown(pipe.parent, 65534, 65534)


def _linked_place(pipe: pathlib.Path) -> None:
    pipe.parent.rename(pipe.parent.parent / "moved")
    pipe.parent.symlink_to("moved")


CHANGES: dict[str, t.Callable[[pathlib.Path], object]] = {
    "gone": lambda pipe: pipe.unlink(), "a link": _elsewhere, "a file": _file, "a directory of another user": _other_place,
    "a link to the directory": _linked_place, "a pipe of another user": lambda pipe: os.chown(pipe, 65534, 65534),
    "a pipe for all": lambda pipe: pipe.chmod(0o620), "a directory for all": lambda pipe: pipe.parent.chmod(0o750),
}  # fmt: skip


@pytest.mark.impure
@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
@pytest.mark.parametrize("change", CHANGES)
def test_a_key_that_was_left_writes_nowhere_else(pipe: pathlib.Path, change: str) -> None:
    victim = pipe.parent.parent / "victim"
    victim.write_text("of root", encoding="ascii")
    CHANGES[change](pipe)
    assert _receive(pipe, "overwritten").returncode != 0
    assert victim.read_text(encoding="ascii") == "of root"


@pytest.mark.parametrize(
    ("version", "until"),
    [
        ("OpenSSH_9.1p1 Debian-2, OpenSSL 3", "20270115080000Z"),
        ("OpenSSH_10.0p2", "20270115080000Z"),
        ("unknown option -- V\nOpenSSH_8.4p1, OpenSSL 1.1.1", "20270115100000"),
        ("OpenSSH_7.7p1", "20270115100000"),
    ],
)
def test_the_time_is_written_as_sshd_reads_it(monkeypatch: pytest.MonkeyPatch, version: str, until: str) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert let_in.expiry(version, NOW) == until
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("version", ["OpenSSH_7.6p1", "OpenSSH_6.9", "", "dropbear 2022"])
def test_a_sshd_that_knows_no_expiry_is_refused(version: str) -> None:
    with pytest.raises(SystemExit, match=r"older than 7\.7"):
        let_in.expiry(version, NOW)


def test_a_line_lasts_as_long_as_it_may(pipe: pathlib.Path) -> None:
    line = let_in.line_of(str(pipe), KEY, "10.0.0.1,2001:db8::1", let_in.expiry("OpenSSH_9.9", NOW))
    assert line.startswith('restrict,from="10.0.0.1,2001:db8::1",expiry-time="20270115080000Z",command="')
    assert "\n" not in line
    assert (let_in.is_over(line, NOW - 1), let_in.is_over(line, NOW + 1)) == (False, True)


GOOD = [
    "10.0.0.1", "10.0.0.0/8", "10.0.0.*", "192.168.1.?", "10.*", "2001:db8::1", "2001:DB8::1", "2001:db8::/32", "2001:db8:*",
    "10.0.0.0/8,!10.0.0.5", "10.0.0.0/8,2001:db8::1,!10.1.*", "127.0.0.1,::1",
]  # fmt: skip
WRONG = [
    "", "*", "?", "*.*", "*.*.*.*", "*:*", "**", "*.1", "?0.0.0.1", "!*", "1", "0", ".", "1,0,.,0", "10.0.0.1,*", "10.0.0.1,,10.0.0.2",
    "10.0.0.1,", "*,10.0.0.1", "0.0.0.0/0", "::/0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.*/24", "10.0.0", "router",
    "router.example.com", "*.example.com", "10.0.0.1 10.0.0.2", "10.0.0.1\n", "fe80::1%eth0", '10.0.0.*"', "256.0.0.1", "!", "!!10.0.0.1",
    "\u0661\u0660.*", "10-20.0.0.1", "None",
]  # fmt: skip


@pytest.mark.parametrize("addresses", GOOD)
def test_addresses_of_the_source(monkeypatch: pytest.MonkeyPatch, addresses: str) -> None:
    monkeypatch.setattr("sys.argv", ["-c", addresses])
    let_in.main()


@pytest.mark.parametrize("addresses", WRONG)
def test_what_is_no_address_lets_no_key_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, addresses: str
) -> None:
    """Text as a list is single characters, and a wildcard among them is every address."""
    for given in ([addresses], [str(tmp_path / "pipe"), KEY, "60", addresses]):
        monkeypatch.setattr("sys.argv", ["-c", *given])
        with pytest.raises(SystemExit, match=r"is not an address|every address"):
            let_in.main()
    assert os.listdir(tmp_path) == []


def _old(place: pathlib.Path) -> str:
    """As earlier versions wrote it, without a time."""
    command = f'test \\"$SSH_ORIGINAL_COMMAND\\" = probe || exec cat > {place}/checkpoint'
    return f'restrict,command="{command}" ssh-ed25519 AAAA longshore-migrate-old'


def test_what_was_left_is_swept_and_nothing_else(tmp_path: pathlib.Path) -> None:
    alive, left, gone = (tmp_path / f"longshore-migrate-{name}" for name in ("alive", "left", "gone"))
    for place in (alive, left):
        place.mkdir()
        os.mkfifo(place / "checkpoint", 0o600)
    os.utime(alive / "checkpoint", (NOW, NOW))
    os.utime(left / "checkpoint", (NOW - 90000, NOW - 90000))
    others = [
        "# a comment longshore-migrate-x", "ssh-ed25519 AAAA me", "", 'restrict,command="/bin/true" ssh-rsa AAAA longshore',
        'restrict,command="cat > /tmp/longshore-migrate-x/y" ssh-rsa AAAA of-another', _old(alive),
        let_in.line_of(f"{alive}/checkpoint", KEY, "10.0.0.1", let_in.expiry("OpenSSH_9.9", NOW + 60)),
    ]  # fmt: skip
    over = [
        _old(left), _old(gone), let_in.line_of(f"{alive}/checkpoint", KEY, "10.0.0.1", let_in.expiry("OpenSSH_9.9", NOW - 60)),
    ]  # fmt: skip
    path = tmp_path / "ssh" / "authorized_keys"
    path.parent.mkdir()
    path.write_text("\n".join([*others, *over]), encoding="utf-8")
    path.chmod(0o600)
    let_in.let_in(str(path), "new line", NOW)
    assert path.read_text(encoding="utf-8").splitlines() == [*others, "new line"]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\udcff"])
def test_a_comment_does_not_become_a_key(tmp_path: pathlib.Path, end: str) -> None:
    """sshd knows one end of a line."""
    before = f"ssh-ed25519 AAAA me{end}ssh-ed25519 BBBB another\n# without an end".encode(errors="surrogateescape")
    path = tmp_path / "authorized_keys"
    path.write_bytes(before)
    path.chmod(0o600)
    let_in.let_in(str(path), "new line", NOW)
    assert path.read_bytes() == before + b"\nnew line\n"


def test_a_first_key(tmp_path: pathlib.Path) -> None:
    path = tmp_path / ".ssh" / "authorized_keys"
    let_in.let_in(str(path), "new line", NOW)
    assert (path.read_text(encoding="utf-8"), oct(path.stat().st_mode & 0o777)) == ("new line\n", "0o600")


@pytest.mark.impure
@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
def test_a_file_of_another_user_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "authorized_keys"
    path.write_text("theirs\n", encoding="ascii")
    os.chown(path, 65534, 65534)
    with pytest.raises(SystemExit, match="not this user's alone"):
        let_in.let_in(str(path), "new line", NOW)
    assert path.read_text(encoding="ascii") == "theirs\n"
