"""A Tuwen folder served by vLLM, whose plug-in entry point finds Tuwen's model: this process becomes `vllm serve`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from tuwen.config import TuwenError
from tuwen.serve.auth import read_keys
from tuwen.serve.limits import Limits
from tuwen.serve.settings import SERVERS, ServeSettings

# Without a list of domains vLLM fetches from everywhere; no host can have this name (RFC 6761).
NOWHERE = "none.invalid"


@SERVERS.register("vllm")
def serve(settings: ServeSettings) -> None:
    """Hand over to vLLM; does not come back.

    Raises:
        TuwenError: when vLLM is not installed, or something is asked for that it is not told here.
    """
    if find_spec("vllm") is None:
        raise TuwenError("--engine vllm: vllm is not installed: run `pip install vllm`, or choose --engine builtin")
    environment = environment_of(settings)
    os.execvpe(sys.executable, [sys.executable, *arguments(settings)], {**os.environ, **environment})


def arguments(settings: ServeSettings) -> list[str]:
    """What `python` is called with.

    Raises:
        TuwenError: for a setting of Tuwen's own engine.
    """
    own = {
        "--quantize": settings.quantize,
        "--device": settings.device,
        "--allow-origin": settings.origins or None,
    }
    said = [*(name for name, value in own.items() if value is not None), *settings.engine]
    # Pictures and the time to end are what both know; every other limit is enforced by Tuwen's own server alone.
    known = {"pictures", "shutdown_seconds"}
    differing = [name for name in Limits.model_fields if getattr(settings.limits, name) != getattr(Limits(), name)]
    said += [name for name in differing if name not in known]
    if said:
        raise TuwenError(f"--engine vllm: {', '.join(said)}: only with --engine builtin; vLLM has options of its own")
    return [
        *("-m", "vllm.entrypoints.cli.main", "serve", str(settings.model)),
        *("--served-model-name", settings.model_name),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--limit-mm-per-prompt", f'{{"image": {settings.limits.pictures}}}'),
        *("--shutdown-timeout", f"{settings.limits.shutdown_seconds:g}"),
        *("--allowed-media-domains", *(settings.remote_media or (NOWHERE,))),
        *(("--dtype", settings.dtype) if settings.dtype is not None else ()),
    ]


def environment_of(settings: ServeSettings) -> dict[str, str]:
    """What vLLM is told where no list of processes shows it.

    Raises:
        TuwenError: for more than one key.
    """
    environment = {"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0", "VLLM_PLUGINS": "tuwen"}
    if settings.api_key_file is not None:
        keys = read_keys(settings.api_key_file)
        if len(keys) > 1:
            raise TuwenError(f"{settings.api_key_file}: {len(keys)} keys; `vllm serve` takes one in secret")
        environment["VLLM_API_KEY"] = keys[0]
    return environment
