"""A headless Chromium that draws pages: one process for all pictures, spoken to by pipe in its DevTools protocol.

Nothing is fetched and no port is opened: pages are handed over as text, and names of hosts do not resolve.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from multiprocessing import util
from typing import Any

import PIL.Image

from tuwen.chat.grounding import Box
from tuwen.config import TuwenError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ADVICE = "install Chromium (Debian: apt install chromium) or set TUWEN_CHROMIUM to its program"
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-extensions",
    "--disable-lcd-text",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
# Chromium reads commands from file 3 and answers to file 4. It leaves when its commands end, also when this process
# was killed; the shell then takes away its folder, which is its name here.
LAUNCH = '"$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1; rm -rf -- "$0"'
LONGEST_FOLDER = 60
PATIENCE = 60.0
# Of each element below body in document order: its box, and that of what is in it, in CSS pixels. Chromium adds tbody
# to tables, which their code need not have.
PLACES = """(() => {
  const sides = (box) => [box.left, box.top, box.right, box.bottom];
  const places = [...document.querySelectorAll("body :not(tbody)")].map((element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return [sides(element.getBoundingClientRect()), sides(range.getBoundingClientRect())];
  });
  return JSON.stringify([document.documentElement.getBoundingClientRect().bottom, places]);
})()"""
# The characters of TEXT that look like one that no font has.
UNKNOWN = """((text) => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 24;
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  const look = (character) => {
    pen.clearRect(0, 0, 24, 24);
    pen.font = "20px sans-serif";
    pen.fillText(character, 1, 20);
    return pen.getImageData(0, 0, 24, 24).data.join();
  };
  const absent = look("\\u{eff00}");
  return [...text].filter((character) => look(character) === absent).join("");
})(TEXT)"""


@dataclass(frozen=True, slots=True)
class Shot:
    """A drawn page.

    Attributes:
        image: RGB.
        places: of each element below body in document order, tbody left out: its box and the box of what is in it.
    """

    image: PIL.Image.Image
    places: tuple[tuple[Box, Box], ...]


def find_chromium() -> str:
    """The program: ``TUWEN_CHROMIUM``, or the first known name on the path.

    Raises:
        TuwenError: when there is none.
    """
    chosen = os.environ.get("TUWEN_CHROMIUM")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise TuwenError(f"TUWEN_CHROMIUM {chosen}: not found, or no program; {ADVICE}")
        return found
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise TuwenError(f"no Chromium was found on the path, and pages cannot be drawn without: {ADVICE}")


class Browser:
    """A running Chromium with one empty page.

    Args:
        program: see ``find_chromium``.

    Raises:
        TuwenError: when it does not start.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        # Chromium makes a socket there, whose name may have 107 bytes.
        home = tempfile.gettempdir() if len(tempfile.gettempdir()) < LONGEST_FOLDER else "/tmp"
        profile = tempfile.mkdtemp(prefix="tuwen-chromium-", dir=home)
        # Chromium's sandbox does not work for root.
        flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", LAUNCH, profile, program, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env={**os.environ, "TMPDIR": home},
        )
        self._lock = threading.Lock()
        self._unread = b""
        self._number = 0
        self._known: set[str] = set()
        self._session: str | None = None
        self.version: str = self._call("Browser.getVersion")["product"]
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._frame = self._call("Page.getFrameTree")["frameTree"]["frame"]["id"]

    def require_glyphs(self, text: str) -> None:
        """Make sure that every character of ``text`` would be drawn as itself, never as an empty box.

        Raises:
            TuwenError: naming the characters that no font of the system has.
        """
        wanted = {character for character in text if not character.isspace()} - self._known
        if not wanted:
            return
        with self._lock:
            missing = self._evaluate(UNKNOWN.replace("TEXT", json.dumps("".join(sorted(wanted)))))
        self._known |= wanted.difference(missing)
        if missing:
            raise TuwenError(
                f"{self._program}: no font of the system has {missing[:20]!r} ({len(missing)} characters): "
                "install a Chinese one (Debian: apt install fonts-noto-cjk)"
            )

    def draw(self, html: str, room: tuple[int, int], longer: int) -> Shot | None:
        """A page, whole; None where it is taller than the room.

        Args:
            html: of it.
            room: width of the page and its greatest height, in CSS pixels.
            longer: side of the picture, in pixels.
        """
        width, most = room
        with self._lock:
            window = {"width": width, "height": most, "deviceScaleFactor": 1, "mobile": False}
            self._call("Emulation.setDeviceMetricsOverride", **window)
            self._call("Page.setDocumentContent", frameId=self._frame, html=html)
            bottom, places = json.loads(self._evaluate(PLACES))
            height = round(bottom)
            if height > most:
                return None
            scale = longer / max(width, height)
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
            answer = self._call("Page.captureScreenshot", format="png", clip=clip, optimizeForSpeed=True)
        image = PIL.Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB")
        scaled = [[[side * scale for side in box] for box in boxes] for boxes in places]
        return Shot(image, tuple(((a, b, c, d), (e, f, g, h)) for (a, b, c, d), (e, f, g, h) in scaled))

    def close(self) -> None:
        """End the program; its folder goes with it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()

    def _evaluate(self, script: str) -> str:
        return str(self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"]["value"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What Chromium answers to a command; events that come before it are of no interest."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\0")
            while (message := self._read()).get("id") != self._number:
                pass
        except BrokenPipeError:
            raise self._failed("ended") from None
        if "error" in message:
            raise self._failed(f"answered to {method}: {message['error'].get('message')}")
        result: dict[str, Any] = message["result"]
        return result

    def _read(self) -> dict[str, Any]:
        """The next message; messages end with a zero byte."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        while b"\0" not in self._unread:
            ready, _, _ = select.select([source], [], [], PATIENCE)
            if not ready:
                raise self._failed(f"did not answer within {PATIENCE:.0f} s")
            piece = os.read(source, 1 << 20)
            if not piece:
                raise self._failed("ended, or did not start")
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def _failed(self, how: str) -> TuwenError:
        return TuwenError(f"{self._program}: {how}; try `{self._program} --headless --dump-dom about:blank` by hand")


def shared_browser() -> Browser:
    """This process's browser, started on first use and ended with the process.

    Raises:
        TuwenError: when there is no Chromium or it does not start.
    """
    return _browser_of(os.getpid(), find_chromium())


@cache
def _browser_of(process: int, program: str) -> Browser:
    # A forked worker must not speak into its parent's pipe, so the process is part of the key.
    browser = Browser(program)
    # Unlike atexit's, these calls are also made when a worker of multiprocessing ends.
    util.Finalize(None, browser.close, exitpriority=0)
    return browser
