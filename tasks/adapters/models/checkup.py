"""Whether models can be had and GPUs be used, found out without downloading or loading weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tasks.adapters.models.checkpoints import Checkpoint, embedding_size, outline, read_json, resolve_adapter
from tasks.adapters.models.head import find_head
from tasks.adapters.models.videollama3.adapter import check_adapter
from tasks.adapters.models.videollama3.config import check_described
from tasks.adapters.models.whisper.checkpoint import read_tokens
from tasks.core.amounts import size_text
from tasks.core.errors import ModelError
from tasks.core.findings import Finding
from tasks.core.settings import Deep, Fast, Speech
from tasks.core.settings.speech import WITHOUT_WHISPER


def check_fast_model(fast: Fast, *, output: str = "") -> Finding:
    """Whether there is such a VideoMAE, and the head, if one is set, fits it; `latest` is one of the output.

    Raises:
        ModelError: there is not, or it does not.
        StorageError: a store broke off.
    """
    head = find_head(fast.head, output)
    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        checkpoint, missing_bytes = outline(fast.model, fast.revision, Path(folder))
        kind = read_json(checkpoint, "config.json").get("model_type")
        if kind != "videomae":
            raise ModelError(
                f"{fast.model} is a {kind!r} checkpoint, not VideoMAE. Name one whose config.json "
                "has model_type 'videomae', e.g. MCG-NJU/videomae-base-finetuned-kinetics.",
                reason="model_invalid",
            )
        if head:
            head.check_fits(embedding_size(checkpoint))
        return _had("Fast model", checkpoint, missing_bytes)


def check_deep_model(deep: Deep) -> Finding:
    """Whether there is such a VideoLLaMA3, its adapter, and what its quantization needs.

    Raises:
        ModelError: there is not.
        StorageError: a store broke off.
    """
    if not deep.enabled:
        return Finding("Deep model", "ok", "not asked for (deep.enabled is false)")
    if deep.quantization != "none":
        import torch

        from tasks.adapters.models.videollama3.quantization import quantization_config

        quantization_config(deep.quantization, dtype=torch.float32)
    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        checkpoint, missing_bytes = outline(deep.model, deep.revision, Path(folder))
        check_described(checkpoint)
        if deep.adapter:
            check_adapter(resolve_adapter(deep.adapter), checkpoint)
        return _had("Deep model", checkpoint, missing_bytes)


def check_whisper(speech: Speech) -> Finding:
    """Whether there is such a Whisper, and it knows the language that is set.

    Raises:
        ModelError: there is not, or it does not.
        StorageError: a store broke off.
    """
    if not (speech.enabled and speech.transcribe):
        setting = "transcribe" if speech.enabled else "enabled"
        return Finding("Whisper", "ok", f"not asked for (speech.{setting} is false)")
    try:
        with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
            checkpoint, missing_bytes = outline(speech.model, speech.revision, Path(folder))
            read_tokens(checkpoint).check_knows(speech.language, model=speech.model)
            return _had("Whisper", checkpoint, missing_bytes)
    except ModelError as error:
        raise ModelError(f"{error} {WITHOUT_WHISPER}", reason=error.reason) from error


def _had(about: str, checkpoint: Checkpoint, missing_bytes: int) -> Finding:
    """That a checkpoint is there, and whether there is room for what a run downloads of it."""
    if checkpoint.model.startswith("s3://"):
        return Finding(about, "ok", f"{checkpoint.model} can be read, and is fetched when a run begins")
    if not missing_bytes:
        where = f" in the local hub cache (commit {checkpoint.revision})" if checkpoint.revision else ""
        return Finding(about, "ok", f"{checkpoint.model} is whole{where}")
    from tasks.adapters.models.hub import cache_room

    cache, free_bytes = cache_room()
    size, free = size_text(missing_bytes), size_text(free_bytes)
    if missing_bytes > free_bytes:
        raise ModelError(
            f"{checkpoint.model} takes {size}, but only {free} are free in {cache}. Make room there, or set "
            "HF_HOME to a folder of a larger disk."
        )
    return Finding(
        about, "ok", f"{checkpoint.model} is on the hub: {size} to download, {free} free in {cache}"
    )


def check_this_gpu(wanted: str) -> Finding:
    """Whether models can compute where this process would have them; `wanted` is `engine.device`.

    Raises:
        ModelError: a GPU is wanted or seen, and cannot be used.
    """
    import torch  # takes seconds

    from tasks.adapters.models.cpu import cpu_name
    from tasks.adapters.models.devices import pick_device, pick_dtype, why_unusable
    from tasks.adapters.models.gpus import driver_version
    from tasks.adapters.models.kernels import attention_in_words, choose_attention_kernels

    device = pick_device(wanted)
    dtype = pick_dtype(device)
    precision = str(dtype).removeprefix("torch.")
    if device.type == "cpu":
        where = f"models compute on the CPU ({cpu_name()}) in {precision}"
        if wanted == "cpu":
            return Finding("GPU", "ok", f"none is asked for (engine.device is cpu): {where}")
        return Finding(
            "GPU", "note", f"none is seen: {where}, which is slow. If this machine has one: {why_unusable()}"
        )
    choose_attention_kernels()
    free_bytes, all_bytes = torch.cuda.mem_get_info(device)
    major, minor = torch.cuda.get_device_capability(device)
    card = (
        f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}, "
        f"{free_bytes / 2**30:.1f} of {all_bytes / 2**30:.1f} GiB free"
    )
    runs = f"driver {driver_version() or 'unknown'}, CUDA {torch.version.cuda}, {precision}"
    return Finding("GPU", "ok", f"{card}; {runs}, {attention_in_words(device, dtype)}")
