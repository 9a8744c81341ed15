# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that are too long for the kernel: the limits here are those that execve(2) really has."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._base.program import MOST_WORD
from ansible_collections.longshore.oci.plugins.module_utils._config import program_words

pytestmark = pytest.mark.pure


def process(
    args: t.Sequence[str], env: t.Sequence[str] = (), cwd: str = "/", stack: int | None = None
) -> dict[str, t.Any]:
    limits = [] if stack is None else [{"type": "RLIMIT_STACK", "soft": stack, "hard": stack}]
    return {"args": list(args), "env": list(env), "cwd": cwd, "rlimits": limits}


@pytest.mark.parametrize(
    "given",
    [
        process(["sh"]), process(["sh", "x" * 131071]), process(["sh"], ["A=" + "x" * 131069]), process(["/" + "a" * 4094]),
        process(["sh"], cwd="/" + "a" * 4094), process(["sh", *["x" * 1000] * 2000]), process(["sh", "x" * 100000], stack=1),
        {}, {"args": None, "env": 5, "cwd": 7, "rlimits": "x"},
        process(["sh", *["x" * 100000] * 40], stack=16 << 20), process(["sh", "\udcff"]),
    ],
)  # fmt: skip
def test_words_that_fit(given: dict[str, t.Any]) -> None:
    program_words.check(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (process(["sh", "x" * 131072]), r"argument 1 of the program has 131072 bytes\. The kernel takes at most 131071"),
        (process(["sh", "-c", "\u20ac" * 50000]), "argument 2 of the program has 150000 bytes"),
        (process(["sh"], ["B=1", "SECRET=" + "x" * 140000]), "variable SECRET has 140007 bytes"),
        (process(["/" + "a" * 70000]), "name of the program .* has 70001 bytes"), (process(["a" * 4096]), "name of the program .* has 4096 bytes"),
        (process(["sh"], cwd="/" + "b" * 70000), "working directory .* has 70001 bytes"),
        (process(["sh", *["x" * 1000] * 2100]), "have 2118.* bytes together"), (process(["sh"], [f"V{n}=" + "x" * 100000 for n in range(25)]), "together"),
        (process(["sh", *["x" * 100000] * 2], stack=1), "kernel takes at most 131072"),
        (process(["sh", *["x" * 100000] * 70], stack=1 << 40), "kernel takes at most 6291456"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit(given: dict[str, t.Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said) as caught:
        program_words.check(given)
    assert len(str(caught.value)) < 300
    assert "xxx" not in str(caught.value)


@pytest.mark.impure
def test_the_kernel_agrees() -> None:
    def runs(*args: str) -> bool:
        try:
            return subprocess.run([sys.executable, "-I", "-c", "", *args], env={}, check=False).returncode == 0
        except OSError as exc:
            if exc.errno != errno.E2BIG:
                raise
            return False

    assert runs("x" * MOST_WORD)
    assert not runs("x" * (MOST_WORD + 1))
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    stack = soft if soft != resource.RLIM_INFINITY else 1 << 40
    fits = ["x" * 999] * 7000
    while True:
        given = process([sys.executable, "-I", "-c", "", *fits], stack=stack)
        try:
            program_words.check(given)
            break
        except InvalidOption:
            fits = fits[:-10]
    assert runs(*fits[:-1])  # The kernel also counts the path of the program.
    assert not runs(*fits, *["x" * 999] * 12)
