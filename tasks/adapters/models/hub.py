"""Checkpoints of the Hugging Face hub: downloaded into its local cache, or found there when the hub fails."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_download, snapshot_download
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
    named = _named(model, revision)
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


def in_cache(model: str, revision: str, files: list[str]) -> Path | None:
    """The folder of a checkpoint in the local hub cache, which may hold only some of its files."""
    return _cached(partial(snapshot_download, model, revision=revision or None, allow_patterns=files))


def describe(model: str, revision: str, names: re.Pattern[str], folder: Path) -> dict[str, int]:
    """The sizes of a checkpoint's files on the hub in bytes, by name; those that match are put into `folder`.

    The local hub cache is left as it is.

    Raises:
        ModelError: the hub does not give them (`model_unavailable`).
    """
    try:
        _limit_silence()
        said = HfApi().model_info(
            model, revision=revision or None, files_metadata=True, timeout=HUB_TIMEOUT_S
        )
        sizes = {file.rfilename: file.size or 0 for file in said.siblings or ()}
        for name in filter(names.fullmatch, sizes):
            hf_hub_download(
                model, name, revision=revision or None, local_dir=folder, etag_timeout=HUB_TIMEOUT_S
            )
    except Exception as error:
        what_and_fix = " ".join(_described(_named(model, revision), error))
        raise ModelError(what_and_fix, reason="model_unavailable") from error
    return sizes


def cache_room() -> tuple[Path, int]:
    """Where the local hub cache is or would be made, and how many bytes are free there."""
    folder = cache = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    return cache, shutil.disk_usage(folder).free


def _named(model: str, revision: str) -> str:
    return f"{model!r} (revision {revision!r})" if revision else repr(model)


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
