"""Checkpoints of the Hugging Face hub: downloaded into its local cache, or found there when the hub fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2
from huggingface_hub import get_session, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tasks.core.errors import ModelError

HUB_TIMEOUT_S = 10.0
"""How long the hub may be silent before it counts as out of reach."""

REFUSALS = (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError)
"""The hub's own no (`GatedRepoError` is among them): what lies in the cache is not used instead."""

UNREACHED = (
    "The hub cannot be reached for {named} ({error}).",
    "It is not whole in the local hub cache either: connect this machine, or download the checkpoint "
    "elsewhere and name its folder or s3:// prefix.",
)

FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], tuple[str, str]], ...] = (
    (HFValidationError, ("{named} cannot be a name on the hub ({error}).", "Write it as owner/name.")),
    (
        GatedRepoError,
        (
            "The hub gives {named} only to those it knows ({error_type}).",
            "Ask for access on the model's page, then log in with `hf auth login`.",
        ),
    ),
    (
        (RepositoryNotFoundError, RevisionNotFoundError),
        (
            "The hub has no {named} for you ({error_type}), and there is no such folder here.",
            "Check the name and the revision; for a private one log in with `hf auth login`.",
        ),
    ),
    (DisabledRepoError, ("The hub has switched {named} off ({error}).", "Name another checkpoint.")),
    (
        (
            *(LocalEntryNotFoundError, OfflineModeIsEnabled),
            *(httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError),
        ),
        UNREACHED,
    ),
    (
        HfHubHTTPError,
        (
            "The hub answers with an error for {named} ({error}).",
            "It is not whole in the local hub cache: try again later, or name a folder or an s3:// prefix.",
        ),
    ),
    (
        (httpx2.HTTPError, FileMetadataError),
        (
            "The download of {named} broke off ({error_type}: {error}).",
            "Run it again: what has arrived is kept.",
        ),
    ),
    (
        OSError,
        (
            "{named} cannot be kept in the local hub cache ({error}).",
            "Make room or give write access there, set HF_HOME to another folder, or name a commit that the "
            "cache has as the revision.",
        ),
    ),
    (
        Exception,
        (
            "What answers for {named} does not talk like a hub ({error_type}: {error}).",
            "Look at HF_ENDPOINT and at the proxy of this machine.",
        ),
    ),
)
"""What is said of each way in which the hub can fail, and the fix. The first row that fits counts."""

log = logging.getLogger(__name__)


def download(model: str, revision: str, files: list[str]) -> Path:
    """The folder of a checkpoint in the local hub cache, brought up to date with the hub.

    Where the hub or the cache fails, but the cache has a whole checkpoint of this name and revision, that
    one is used, with a warning.

    Raises:
        ModelError: it cannot be had (`model_unavailable`).
    """
    fetch = partial(
        snapshot_download,
        model,
        revision=revision or None,
        allow_patterns=files,
        ignore_patterns=["*/*"],
    )
    named = f"{model!r} (revision {revision!r})" if revision else repr(model)
    cached = _cached(fetch)  # now: a download that breaks off leaves the newer commit half there
    try:
        _limit_silence()
        return Path(fetch(etag_timeout=HUB_TIMEOUT_S))
    except Exception as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        what, fix = _described(named, cause if isinstance(cause, Exception) else error)
        if cached is None or isinstance(error, REFUSALS):
            raise ModelError(f"{what} {fix}", reason="model_unavailable") from error
        log.warning("%s Commit %s is used, which is in the local hub cache.", what, cached.name)
        with suppress(OSError):  # may name the newer commit by now, and the next run looks there
            (cached.parents[1] / "refs" / (revision or "main")).write_text(cached.name)
        return cached


def _cached(fetch: Callable[..., str]) -> Path | None:
    try:
        return Path(fetch(local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def _limit_silence() -> None:
    """Have every request end that gets no byte for `HUB_TIMEOUT_S`: by itself the library waits for ever."""
    hooks = get_session().event_hooks["request"]
    if _with_timeout not in hooks:
        hooks.append(_with_timeout)


def _with_timeout(request: httpx2.Request) -> None:
    limits = request.extensions.setdefault("timeout", {})
    for phase in ("connect", "read", "write", "pool"):
        limits[phase] = limits.get(phase) or HUB_TIMEOUT_S


def _described(named: str, error: Exception) -> Iterator[str]:
    texts = next(texts for kinds, texts in FAILURES if isinstance(error, kinds))
    about = {"named": named, "error": " ".join(str(error).split()), "error_type": type(error).__name__}
    return (text.format(**about) for text in texts)
