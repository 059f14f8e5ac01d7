"""The page in a process of its own, before an engine that says what it is told: ``python -m tests.serve.demo_server``.

``MODEL SECONDS [SECOND_MODEL]``: the folder whose processor is used, how long a token takes, and a model to compare.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.serve.engines import ScriptedEngine
from tuwen.infer.engine.interface import FinishReason, Request
from tuwen.infer.loading import load
from tuwen.serve.demo.conversation import Speaker
from tuwen.serve.demo.running import private_folder, serve_page

BOXES = "图里有<ref>一只猫</ref><box>(120,180),(480,820)</box>和<ref>一个球</ref><box>(560,500),(880,860)</box>。"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> **bold** [link](javascript:alert(3)) {{ 7*7 }} ${7*7}"


def script(request: Request) -> Sequence[str]:
    """What is said, by what is asked; the seed where it asks for it."""
    asked = request.prompt.rendered.text.rpartition("<|im_start|>user")[2]
    if "hostile" in asked:
        said = HOSTILE
    elif "long" in asked:
        said = "很长的回答。" * 200
    elif "seed" in asked:
        said = f"seed={request.sampling.seed};"
    else:
        said = BOXES
    return [*(said[start : start + 3] for start in range(0, len(said), 3)), ""]


class Telling(ScriptedEngine):
    """Says on the terminal how each answer ended."""

    def _end(self, job: Any, reason: FinishReason) -> None:
        super()._end(job, reason)
        print("ended", reason, flush=True)


def main() -> None:
    """Serve until told to stop."""
    folders = [Path(name).resolve() for name in sys.argv[1::2]]
    seconds = float(sys.argv[2])
    chatters = [load(folder, device="cpu") for folder in folders]
    speakers = [
        Speaker(f"模型{number}", chatter, Telling(script, seconds)) for number, chatter in enumerate(chatters, start=1)
    ]
    with private_folder():
        serve_page(speakers, port=0)


if __name__ == "__main__":
    main()
