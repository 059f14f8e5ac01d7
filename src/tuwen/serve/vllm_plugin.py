"""Tuwen's model in vLLM, found by the entry point ``vllm.general_plugins``: `vllm serve FOLDER` works as it is.

vLLM loads plug-ins in every one of its processes, so this registers names alone. The model is run by vLLM's
Transformers backend, which calls ``TuwenModel`` and ``TuwenProcessor`` by the protocols that they follow, and puts its
own attention into the language model. No code of the folder is run.
"""

from __future__ import annotations

from importlib import import_module

ARCHITECTURE = "TuwenForConditionalGeneration"
# By name, so that no process touches a GPU before it is forked.
BACKEND = "vllm.model_executor.models.transformers:TransformersMultiModalForCausalLM"


def register() -> None:
    """Make Tuwen's model, processor and parts known to `transformers` and vLLM; more than once is no mistake."""
    for name in ("tuwen.models.modeling", "tuwen.models.processing"):
        import_module(name)
    models = import_module("vllm").ModelRegistry
    if ARCHITECTURE not in models.get_supported_archs():
        models.register_model(ARCHITECTURE, BACKEND)
