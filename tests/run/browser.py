# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""A headless Chromium that shows pages from the disk, driven by chromedriver (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse
from typing import Any, Callable

# Seconds. A page from the disk takes a fraction of one, and a hundred times as long on a machine that is busy.
_START, _ANSWER, _APPEAR = 180.0, 180.0, 60.0


class BrowserError(Exception):
    """The browser did not start, or refused a command."""


class Browser:
    """A window of a browser of its own, which keeps everything in one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._driver: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._session = ""

    def __enter__(self) -> Browser:
        os.makedirs(self._directory)
        log = os.path.join(self._directory, "chromedriver.log")
        try:
            with open(log, "wb") as stream:
                # Its own session: the browser's processes end with it. Port 0: the system chooses, and the log says.
                self._driver = subprocess.Popen(
                    ["chromedriver", "--port=0"],
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, "HOME": self._directory, "TMPDIR": self._directory},
                )
            self._port = _port(log, self._driver)
            self._session = self._command("POST", "/session", {"capabilities": {"alwaysMatch": self._capabilities()}})[
                "sessionId"
            ]
        except (OSError, BrowserError) as error:
            self._end()
            said = pathlib.Path(log).read_text(encoding="utf-8", errors="replace") if os.path.exists(log) else ""
            raise BrowserError(f"Chromium could not be started: {error}\n{said}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _capabilities(self) -> dict[str, Any]:
        arguments = [
            "--headless=new",
            # Chromium's sandbox does not work for root, nor in most containers. It shows pages of ours only,
            "--no-sandbox",
            # and asks for nothing else: fonts and scripts of other sites would make a test depend on them.
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--no-first-run",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            # /dev/shm of a container is often too small.
            "--disable-dev-shm-usage",
            "--window-size=1400,1000",
            f"--user-data-dir={os.path.join(self._directory, 'profile')}",
        ]
        return {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}, "pageLoadStrategy": "normal"}

    def _end(self) -> None:
        if self._session:
            # Where it does not answer it is killed.
            with contextlib.suppress(OSError, BrowserError, http.client.HTTPException):
                self._command("DELETE", "")
        if self._driver:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._driver.pid, signal.SIGKILL)
            self._driver.wait()

    def open(self, path: str, anchor: str = "", query: str = "") -> None:
        """Show a file, at an anchor of it or with a query."""
        address = pathlib.Path(path).as_uri()
        # A page that is shown already would only be scrolled.
        self._command("POST", "/url", {"url": "about:blank"})
        self._command(
            "POST", "/url", {"url": address + (f"?{query}" if query else "") + (f"#{anchor}" if anchor else "")}
        )

    def click(self, text: str) -> None:
        """Click the first visible link in the page's text whose own text is this, and wait for the page that it leads to."""
        before = self.address()
        script = """
            const link = [...document.querySelectorAll("[role=main] a, .body a")].find(
                each => each.textContent.trim() === arguments[0] && each.getClientRects().length);
            if (link) link.scrollIntoView({block: "center"});
            return link;"""
        found = self._script(script, text)
        if not found:
            raise BrowserError(f"{before} has no visible link {text!r}")
        (identifier,) = found.values()
        self._command("POST", f"/element/{identifier}/click", {})
        _wait(lambda: self.address() != before, f"the click on {text!r} led nowhere")

    def address(self) -> str:
        """Return the address of the page."""
        return str(self._command("GET", "/url"))

    def title(self) -> str:
        """Return the title of the page."""
        return str(self._command("GET", "/title"))

    def text(self, selector: str) -> str:
        """Return the text that a reader sees of the first element that a CSS selector names, or nothing."""
        return str(self._script("return document.querySelector(arguments[0])?.innerText ?? '';", selector)).strip()

    def count(self, selector: str) -> int:
        """Return how many elements a CSS selector names."""
        return int(self._script("return document.querySelectorAll(arguments[0]).length;", selector))

    def cut_off(self, selector: str) -> list[str]:
        """Return how those of the elements begin that are wider than the element around them, so that readers have to scroll."""
        script = """
            return [...document.querySelectorAll(arguments[0])].filter(
                each => each.parentElement.scrollWidth > each.parentElement.clientWidth + 1).map(
                each => each.innerText.slice(0, 40));"""
        return list(self._script(script, selector))

    def is_in_view(self, identifier: str) -> bool:
        """Return whether the element with this id, or what follows it, is in the visible part of the page."""
        script = """
            const place = document.getElementById(arguments[0])?.parentElement.getBoundingClientRect();
            return Boolean(place && place.height && place.top < window.innerHeight && place.bottom > 0);"""
        return bool(self._script(script, identifier))

    def links(self) -> list[tuple[str, str]]:
        """Return the path and the anchor of each link that leads to a file."""
        addresses = self._script("return [...document.links].map(each => each.href);")
        parts = [urllib.parse.urlsplit(address) for address in sorted(set(addresses))]
        return [
            (urllib.parse.unquote(each.path), urllib.parse.unquote(each.fragment))
            for each in parts
            if each.scheme == "file"
        ]

    def wait_for(self, selector: str) -> None:
        """Wait until a CSS selector names an element."""
        _wait(lambda: self.count(selector) > 0, f"{selector} did not appear")

    def _script(self, script: str, *arguments: Any) -> Any:
        return self._command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def _command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the value of a command's answer. Raises BrowserError if the browser refuses it."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER)
        try:
            place = f"/session/{self._session}{path}" if self._session else path
            connection.request(
                method, place, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        finally:
            connection.close()
        if answer.status != 200:
            raise BrowserError(f"{value['error']}: {value['message']}")
        return value


Look = Callable[[Browser, str], None]


def _port(log: str, driver: subprocess.Popen[bytes]) -> int:
    """Return the port that chromedriver listens on, once it says so."""
    found: list[str] = []

    def says_it() -> bool:
        if driver.poll() is not None:
            raise BrowserError(f"chromedriver ended with {driver.returncode}")
        found[:] = re.findall(r"started successfully on port (\d+)", pathlib.Path(log).read_text(encoding="utf-8"))
        return bool(found)

    _wait(says_it, "chromedriver did not start", _START)
    return int(found[0])


def _wait(condition: Callable[[], bool], otherwise: str, seconds: float = _APPEAR) -> None:
    """Return when the condition holds. Raises BrowserError if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BrowserError(otherwise)
        time.sleep(0.05)
