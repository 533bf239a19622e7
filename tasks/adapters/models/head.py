"""A score head: what turns an embedding into 0-100 once somebody has labelled or judged windows.

In the store a head is a folder with `head.safetensors` (`weight`, one number for each dimension of
an embedding, and `bias`, one number) and `head.json` (`{"kind": "ridge" | "logistic" | "ridge-centred"}`, and
what else is known of it).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tasks.adapters.storage import Store, open_store
from tasks.core.errors import ModelError, StorageError
from tasks.core.records import FastKind, WindowFeatures
from tasks.core.scoring.fast_scores import HEAD_KINDS, head_scores

LATEST = "latest"
"""What `fast.head` says for the head that was promoted last."""

POINTER = "heads/latest.json"

HEAD_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted head; `weight` has the length of the embeddings it was fitted on.

    `fitted_on` is the revision of VideoMAE that made them; empty where nobody said.
    """

    uri: str
    kind: str
    weight: npt.NDArray[np.float32]
    bias: float
    fitted_on: str = ""

    @property
    def revision(self) -> str:
        """`sha256:` and twelve hex digits over what it is made of."""
        made_of = hashlib.sha256(f"{self.kind}\0{self.bias!r}\0{self.weight.dtype}\0".encode())
        made_of.update(self.weight.tobytes())
        return f"sha256:{made_of.hexdigest()[:12]}"

    @property
    def fast_kind(self) -> FastKind:
        """What kind of scores it gives."""
        return "head_percentile" if self.kind == "ridge-centred" else "head"

    def __call__(self, features: WindowFeatures) -> list[int]:
        """Score features, each 0-100; for a centred head, those of all windows of a video.

        Raises:
            ModelError: the head was fitted on another model's embeddings.
        """
        self.check_fits(features.embeddings.shape[1])
        return head_scores(features, weight=self.weight, bias=self.bias, kind=self.kind)

    def check_fits(self, dimensions: int) -> None:
        """Check that the model's embeddings have as many dimensions as those the head was fitted on.

        Raises:
            ModelError: they have not.
        """
        if dimensions != len(self.weight):
            raise ModelError(
                f"fast.head {self.uri} was fitted on embeddings of {len(self.weight)} dimensions, but "
                f"fast.model gives {dimensions}: name the head that belongs to the model"
            )


def load_head(uri: str) -> Head:
    """Read a head from a folder or an `s3://` prefix.

    Raises:
        ModelError: a file is missing or malformed.
    """
    store = open_store(uri)
    try:
        told = json.loads(store.read_bytes("head.json"))
        kind, fitted_on = told["kind"], str(told.get("videomae_revision") or "")
        tensors = load(store.read_bytes("head.safetensors"))
        weight, bias = tensors["weight"].reshape(-1), float(tensors["bias"].reshape(()))
        head = Head(uri, kind, weight, bias, fitted_on)
    except (StorageError, KeyError, TypeError, ValueError, SafetensorError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"fast.head {uri} is not a score head ({why}): it needs head.json with a kind of "
            f"{' or '.join(HEAD_KINDS)}, and head.safetensors with weight and bias"
        ) from error
    if kind not in HEAD_KINDS:
        raise ModelError(f"fast.head {uri} is of kind {kind!r}; known are {', '.join(HEAD_KINDS)}")
    if not (np.isfinite(head.weight).all() and np.isfinite(head.bias)):
        raise ModelError(f"fast.head {uri} holds values that are no numbers: fit it again, or copy it again")
    return head


def find_head(name: str, output: str) -> Head | None:
    """The head that `fast.head` names: `latest` is the one that was promoted last under an output, if any.

    Raises:
        ModelError: it is missing or malformed.
        StorageError: the output cannot be reached.
    """
    if name != LATEST:
        return load_head(name) if name else None
    store = open_store(output)
    promoted = promoted_head(store)
    return load_head(f"{store.uri}/heads/{promoted['head']}") if promoted else None


def promoted_head(store: Store) -> dict[str, str] | None:
    """What `heads/latest.json` says: which head scores, since when, and why; None if none was promoted.

    Raises:
        ModelError: it is no such file.
    """
    if not store.exists(POINTER):
        return None
    try:
        pointer = json.loads(store.read_bytes(POINTER))
        if not HEAD_ID.fullmatch(pointer["head"]):
            raise ValueError(f"{pointer['head']!r} is no id of a head")
        return dict(pointer)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{store.uri}/{POINTER} names no head ({error}): promote one, hookline heads OUTPUT --promote ID"
        ) from error


def kept_heads(store: Store) -> list[str]:
    """The ids of all heads that were fitted under an output, the oldest first: they begin with their time."""
    parts = (name.split("/") for name in store.names("heads"))
    return sorted(part[1] for part in parts if part[2:] == ["head.json"] and HEAD_ID.fullmatch(part[1]))


def told_of(store: Store, name: str) -> dict[str, Any] | None:
    """What `head.json` says of a head that was fitted under an output; None where it cannot be read.

    Raises:
        StorageError: the output cannot be reached.
    """
    try:
        return dict(json.loads(store.read_bytes(f"heads/{name}/head.json")))
    except (TypeError, ValueError):
        return None


def keep_head(store: Store, name: str, head: Head, about: Mapping[str, object], card: str) -> str:
    """Write a head into a folder of its own; `head.json` last, without which it is none. Returns where.

    Raises:
        StorageError: the output cannot be written.
    """
    weights = {"weight": head.weight, "bias": np.array([head.bias], np.float32)}
    told = {"kind": head.kind, "revision": head.revision, "dimensions": len(head.weight), **about}
    store.write_bytes(f"heads/{name}/head.safetensors", save(weights))
    store.write_bytes(f"heads/{name}/card.md", card.encode())
    store.write_bytes(f"heads/{name}/head.json", json.dumps(told, indent=1).encode())
    return f"{store.uri}/heads/{name}"


def promote(store: Store, name: str, revision: str, *, because: str) -> None:
    """Have `fast.head: latest` name this head from now on. Runs that are under way keep theirs.

    Raises:
        StorageError: the output cannot be written.
    """

    def replaced(before: bytes | None) -> bytes:
        replaces = None
        with suppress(ValueError, KeyError, TypeError):
            replaces = json.loads(before or b"null")["head"]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        pointer = {"head": name, "revision": revision, "promoted_at": at}
        return json.dumps({**pointer, "replaces": replaces, "because": because}, indent=1).encode()

    store.update(POINTER, replaced)
