"""The errors Hookline raises, one small tree.

    HooklineError
    ├── SettingsError       a setting is wrong: say which, what it was, what to write instead
    ├── StorageError        the store refused or broke off; `retryable` says whether to come back
    │   └── ObjectChanged   the object is no longer the one that was listed
    ├── VideoRefused        this video cannot be used, and never will be as it is
    ├── DecodeFailed        decoding was stopped (deadline, memory, crash): worth another try
    ├── DecoderUnfit        this decoder cannot be trusted with this file: another one is needed
    ├── ModelError          a model cannot be loaded or run
    ├── GpuLost             CUDA works no more in this process: another one has to do its work
    ├── WorkerLost          a GPU worker died or took too long: another one may do the work
    └── NotTold             a job is done, and the Prefect server does not take what services look for

`RunEnded` is not among them: it is no failure of what was being done.

What is expected of videos (a broken file, no picture) travels as a `Failure` value once it leaves
the adapter; exceptions carry it only that far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class HooklineError(Exception):
    """Base of all errors Hookline raises on purpose. Its text says what was found and what to do."""

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; keyword-only arguments would be lost by the default.
        return (_rebuild, (type(self), self.args, self.__dict__))


class SettingsError(HooklineError, ValueError):
    """A setting has a value that cannot work. A ValueError, so that pydantic adds the name of the setting."""


class StorageError(HooklineError):
    """Reading or writing the store failed.

    `reason` is a short stable code (`not_found`, `denied`, `unavailable`, `torn`, ...);
    `retryable` is true where the same call may succeed later.
    """

    def __init__(self, message: str, *, reason: str = "unavailable", retryable: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable

    @classmethod
    def invalid(cls, message: str) -> StorageError:
        """What is there is not what it should be."""
        return cls(message, reason="invalid", retryable=False)

    @classmethod
    def not_found(cls, message: str) -> StorageError:
        """There is no such thing."""
        return cls(message, reason="not_found", retryable=False)


class ObjectChanged(StorageError):
    """The object was replaced or removed after it was listed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="changed", retryable=False)


class VideoRefused(HooklineError):
    """The video itself is at fault: the same bytes will be refused again.

    `stage` is `probe` or `decode`; `reason` a code of `failures.reason`.
    """

    def __init__(self, message: str, *, stage: str, reason: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.reason = reason


class DecodeFailed(HooklineError):
    """Decoding was cut off by us or by the machine: another try may succeed."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DecoderUnfit(HooklineError):
    """One of the decoders cannot be trusted with this file; caught where the next one is tried."""


class ModelError(HooklineError):
    """A model cannot be found, loaded or run. `reason` is a code of `deep_reason`."""

    def __init__(self, message: str, *, reason: str = "model_error") -> None:
        super().__init__(message)
        self.reason = reason


class GpuLost(HooklineError):
    """An error of CUDA has broken the GPU of this process for good. A worker ends over it, and is lost."""

    reason = "gpu_lost"


class WorkerLost(HooklineError):
    """A worker died with a call, or was stopped. `reason` is `worker_lost` or `deadline`."""

    def __init__(self, message: str, *, reason: str = "worker_lost") -> None:
        super().__init__(message)
        self.reason = reason


class NotTold(HooklineError):
    """What came of a job is nowhere where services look for it."""

    reason = "unavailable"


class RunEnded(BaseException):
    """The run was stopped, and this work with it. Like KeyboardInterrupt no Exception: nobody handles it."""


def _rebuild(cls: type[HooklineError], args: tuple[object, ...], state: dict[str, object]) -> HooklineError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def first_error(error: ValidationError) -> str:
    """What pydantic found first, and where, in one line."""
    first = error.errors(include_url=False)[0]
    return ": ".join([*(str(part) for part in first["loc"]), first["msg"]])
