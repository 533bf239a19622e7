"""Finding a checkpoint: on the Hugging Face hub, in a local folder, or under an s3:// prefix.

Only data is ever read (JSON, safetensors, tokenizer tables): never pickles, never code.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tasks.adapters.models.file_hashes import file_sha256
from tasks.core.errors import ModelError
from tasks.core.uris import split_uri

FILES_READ = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja"]
"""All that is downloaded from the hub; `.bin` (pickles) and `.py` are not among them."""

DESCRIBING = re.compile(r"\w*config\.json")
"""The small files that say what a checkpoint is."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter, as peft writes them."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint on local disk.

    `model` is what the setting named; `revision` the hub commit, or a hash over the files. An `adapter`,
    which is merged into the weights as these are loaded, is described in the same way.
    """

    path: Path
    model: str
    revision: str
    adapter: Checkpoint | None = None


def resolve_checkpoint(model: str, revision: str = "") -> Checkpoint:
    """Bring a checkpoint to local disk and check that it has a config and safetensors weights.

    Args:
        model: a local folder, an `s3://bucket/prefix`, or a hub id (`owner/name`). An existing
            folder wins over a hub id of the same spelling.
        revision: commit, tag or branch on the hub; empty means the newest. Elsewhere it is ignored:
            there the revision is a hash over the names and contents of the files.

    Raises:
        ModelError: it cannot be reached (`model_unavailable`) or is incomplete (`model_invalid`).
        StorageError: the store broke off while an s3:// checkpoint was fetched.
    """
    if model.startswith("s3://"):
        path = _from_store(model)
    elif (folder := Path(model).expanduser()).is_dir():
        path = folder.resolve()
    elif HUB_ID.fullmatch(model):
        return _from_hub(model, revision)
    else:
        raise _no_such_folder(model)
    _check_complete(path, model)
    return Checkpoint(path=path, model=model, revision=_content_hash(path))


def resolve_adapter(uri: str, revision: str = "") -> Checkpoint:
    """Bring an adapter to local disk: from a folder, or an `s3://bucket/prefix`.

    Raises:
        ModelError: there is none (`model_unavailable`), or it is not whole (`model_invalid`).
        StorageError: the store broke off.
    """
    scheme, place = split_uri(uri)
    path = _from_store(uri) if scheme == "s3" else Path(place).expanduser().resolve()
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (path / name).is_file():
            raise ModelError(
                f"deep.adapter {uri} has no {name}: name the folder, or the s3:// prefix, that holds "
                f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}.",
                reason="model_unavailable",
            )
    if fault := _fault(path / ADAPTER_WEIGHTS):
        raise ModelError(f"deep.adapter {uri}: {ADAPTER_WEIGHTS} {fault}.", reason="model_invalid")
    return Checkpoint(path, uri, _content_hash(path, [ADAPTER_CONFIG, ADAPTER_WEIGHTS]))


def outline(model: str, revision: str, folder: Path) -> tuple[Checkpoint, int]:
    """A checkpoint as far as its small files tell, and how many bytes of it are yet to be downloaded.

    What is on this machine is looked at where it is. Elsewhere, the files that describe the checkpoint are
    copied to `folder`; its other files are there under their names, but empty.

    Raises:
        ModelError: as `resolve_checkpoint`.
        StorageError: the store broke off.
    """
    if model.startswith("s3://"):
        from tasks.adapters.storage import open_store

        store = open_store(model)
        names, missing_bytes = [name for name in store.names() if "/" not in name], 0
        for name in filter(DESCRIBING.fullmatch, names):
            (folder / name).write_bytes(store.read_bytes(name))
    elif (path := Path(model).expanduser()).is_dir():
        _check_complete(path, model)
        return Checkpoint(path, model, ""), 0
    elif HUB_ID.fullmatch(model):
        from tasks.adapters.models.hub import describe, in_cache

        cached = in_cache(model, revision, FILES_READ)
        if cached and not _why_incomplete(cached, model):
            return Checkpoint(cached, model, cached.name), 0
        sizes = describe(model, revision, DESCRIBING, folder)
        names = [name for name in sizes if "/" not in name]
        read = (name for name in names if any(fnmatch(name, pattern) for pattern in FILES_READ))
        missing_bytes = sum(sizes[name] for name in read)
    else:
        raise _no_such_folder(model)
    for name in names:
        (folder / name).touch()
    if fault := _what_is_missing(folder, model):
        raise ModelError(fault, reason="model_invalid")
    return Checkpoint(folder, model, revision), missing_bytes


def is_here(model: str, revision: str = "") -> bool:
    """Whether a checkpoint is on this machine, in a folder or the hub cache, so that none is downloaded."""
    if Path(model).expanduser().is_dir():
        return True
    if model.startswith("s3://") or not HUB_ID.fullmatch(model):
        return False
    from tasks.adapters.models.hub import in_cache

    cached = in_cache(model, revision, FILES_READ)
    return cached is not None and not _why_incomplete(cached, model)


@cache
def on_this_machine(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint, where it was brought to the disk of another machine.

    Raises:
        ModelError: it is not there for this machine, or it is not the same.
        StorageError: the store broke off while an s3:// checkpoint was fetched.
    """
    adapter = checkpoint.adapter and _here(checkpoint.adapter, resolve_adapter)
    return replace(_here(checkpoint, resolve_checkpoint), adapter=adapter)


def _here(checkpoint: Checkpoint, resolve: Callable[[str, str], Checkpoint]) -> Checkpoint:
    if checkpoint.path.is_dir():
        return checkpoint
    found = resolve(checkpoint.model, checkpoint.revision)
    if found.revision != checkpoint.revision:
        raise ModelError(
            f"{checkpoint.model!r} is {found.revision} on this worker, but {checkpoint.revision} where the "
            "run began: give all machines the same files.",
            reason="model_invalid",
        )
    return found


def _from_hub(model: str, revision: str) -> Checkpoint:
    from tasks.adapters.models.hub import download  # takes a while to import

    path = download(model, revision, FILES_READ)
    _check_complete(path, model)
    return Checkpoint(path=path, model=model, revision=path.name)


_downloaded: list[Path] = []


@atexit.register
def remove_downloaded() -> None:
    """Remove what was downloaded from stores. Who leaves by `os._exit`, which runs no atexit, calls it."""
    while _downloaded:
        shutil.rmtree(_downloaded.pop(), ignore_errors=True)


@cache
def _from_store(uri: str) -> Path:
    """Download a prefix once per process, into a folder that is removed when the process ends."""
    from tasks.adapters.storage import open_store

    folder = Path(tempfile.mkdtemp(prefix="hookline-model-"))
    _downloaded.append(folder)
    open_store(uri).download_folder(folder)
    return folder


def _no_such_folder(model: str) -> ModelError:
    return ModelError(
        f"There is no folder {model!r}. Name an existing folder, an s3:// prefix, or a hub id like "
        "'DAMO-NLP-SG/VideoLLaMA3-2B'.",
        reason="model_unavailable",
    )


def _check_complete(path: Path, model: str) -> None:
    if fault := _why_incomplete(path, model):
        raise ModelError(fault, reason="model_invalid")


def _why_incomplete(path: Path, model: str) -> str:
    """What is missing or broken, and what to do; empty if nothing is."""
    if fault := _what_is_missing(path, model):
        return fault
    for weights in _weight_files(path):
        if fault := _fault(weights):
            return f"{model!r} is not whole: {weights.name} {fault}. Fetch it again."
    return ""


def _what_is_missing(path: Path, model: str) -> str:
    if not (path / "config.json").is_file():
        return f"{model!r} has no config.json. Name the folder that holds config.json and *.safetensors."
    if any(path.glob("*.safetensors")):
        return ""
    found = next(iter(sorted(path.glob("*.bin"))), None)
    only = f", only {found.name}" if found else ""
    return (
        f"{model!r} has no *.safetensors file{only}. Weights must be safetensors (.bin files are "
        "pickles, which can run code): name a revision that has them, or convert it first."
    )


def _weight_files(path: Path) -> list[Path]:
    """The files with the weights, as transformers looks for them: one, or those that the index names."""
    whole, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return sorted(path.glob("*.safetensors"))
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [index]
    return [path / name for name in sorted(names)]


def _fault(weights: Path) -> str:
    """What is wrong with a file of weights, as far as its header tells; empty if nothing is."""
    if not weights.is_file():
        return "is missing"
    if weights.suffix != ".safetensors":
        return "is broken"
    with weights.open("rb") as stream:
        is_pointer = stream.read(40).startswith(b"version https://git-lfs")
    if is_pointer:
        return "is a pointer of Git LFS (`git lfs pull` replaces it by the file)"
    try:
        with safe_open(weights, framework="numpy"):
            return ""
    except (SafetensorError, OSError) as error:
        return f"is cut short or broken ({error})"


def _content_hash(path: Path, patterns: Sequence[str] = FILES_READ) -> str:
    """`sha256:` and twelve hex digits over the names and contents of the files that are read."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in patterns for file in path.glob(pattern)}):
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode())
    return f"sha256:{digest.hexdigest()[:12]}"


def read_json(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """One of the checkpoint's JSON files.

    Raises:
        ModelError: it is missing or broken.
    """
    try:
        values = json.loads((checkpoint.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{checkpoint.model} has no readable {name} ({error}). Fetch the checkpoint again, whole.",
            reason="model_invalid",
        ) from error
    return values if isinstance(values, dict) else {}


def embedding_size(checkpoint: Checkpoint) -> int:
    """Length of an embedding, read from the config: 768 for VideoMAE base."""
    return int(read_json(checkpoint, "config.json")["hidden_size"])
