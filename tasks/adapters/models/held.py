"""The model of one kind that a process holds: one, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.devices import LOADING
from tasks.adapters.models.gpu_errors import is_out_of_memory, raise_if_gpu_lost
from tasks.core.errors import ModelError

M = TypeVar("M")


class Held(Generic[M]):
    """Loads models, and holds the one that was asked for last.

    A failure is remembered like a model, unless memory was short, which may pass. Threads may share it.
    """

    def __init__(self, load: Callable[..., M]) -> None:
        self._load = load
        self._wanted: tuple[Hashable, ...] | None = None
        self._outcome: M | _Failure | None = None

    @property
    def model(self) -> M | None:
        """The model that is held, if there is one. Waits for nothing, loads nothing."""
        outcome = self._outcome
        return None if isinstance(outcome, _Failure) else outcome

    def get(self, *wanted: Hashable) -> M:
        """What `load(*wanted)` gave at the first call.

        Raises:
            ModelError: it gave none.
        """
        with LOADING:
            if self._wanted != wanted:
                self._wanted = self._outcome = None  # before the next is loaded: both would rarely fit
                self._outcome = self._loaded(wanted)
                self._wanted = wanted
            outcome = self._outcome
            if not isinstance(outcome, _Failure):
                assert outcome is not None
                return outcome
            if outcome.reason == "out_of_memory":
                self._wanted = self._outcome = None
        raise ModelError(outcome.message, reason=outcome.reason)

    def _loaded(self, wanted: tuple[Hashable, ...]) -> M | _Failure:
        try:
            return self._load(*wanted)
        except ModelError as error:  # itself it would keep alive what was half loaded
            return _Failure(str(error), error.reason)


class _Failure:
    """Why there is no model."""

    def __init__(self, message: str, reason: str) -> None:
        self.message, self.reason = message, reason


def not_loaded(checkpoint: Checkpoint, kind: str, error: Exception) -> ModelError:
    """What to say of a checkpoint that cannot be loaded as this kind of model, however it is broken.

    Raises:
        GpuLost: the GPU answers no more.
    """
    raise_if_gpu_lost(error)
    no_memory = is_out_of_memory(error)
    return ModelError(
        f"{checkpoint.model} cannot be loaded as {kind} ({type(error).__name__}: {error}). "
        + (
            "Close what else is on the device."
            if no_memory
            else "Fetch the checkpoint again, whole, or name another."
        ),
        reason="out_of_memory" if no_memory else "model_invalid",
    )
