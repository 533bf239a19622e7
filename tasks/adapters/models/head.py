"""A score head: what turns an embedding into 0-100 once somebody has labelled or judged windows.

In the store a head is a folder with `head.safetensors` (`weight`, one number for each dimension of
an embedding, and `bias`, one number) and `head.json` (`{"kind": "ridge" | "logistic"}`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from tasks.adapters.storage import open_store
from tasks.core.errors import ModelError, StorageError
from tasks.core.records import WindowFeatures
from tasks.core.scoring.fast_scores import HEAD_KINDS, head_scores


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted head; `weight` has the length of the embeddings it was fitted on."""

    uri: str
    kind: str
    weight: npt.NDArray[np.float32]
    bias: float

    @property
    def revision(self) -> str:
        """`sha256:` and twelve hex digits over what it is made of."""
        made_of = hashlib.sha256(f"{self.kind}\0{self.bias!r}\0{self.weight.dtype}\0".encode())
        made_of.update(self.weight.tobytes())
        return f"sha256:{made_of.hexdigest()[:12]}"

    def __call__(self, features: WindowFeatures) -> list[int]:
        """Score features, each 0-100.

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
        kind = json.loads(store.read_bytes("head.json"))["kind"]
        tensors = load(store.read_bytes("head.safetensors"))
        head = Head(uri, kind, tensors["weight"].reshape(-1), float(tensors["bias"].reshape(())))
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
