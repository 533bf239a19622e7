"""What a run is, wherever its work is done: small, frozen and picklable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from importlib.metadata import version

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.head import Head
from tasks.adapters.storage import Store, open_store
from tasks.core.devices import Backend
from tasks.core.geometry import FrameBudget
from tasks.core.records import Analysis, FastKind, WindowFeatures
from tasks.core.scoring.analyses import model_identity
from tasks.core.scoring.answers import prompt_hash
from tasks.core.scoring.fast_scores import salience
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests
from tasks.core.tables.rows import RunStamp

CODE_VERSION = version("hookline")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a model is not there: a short stable `reason`, and a sentence for people."""

    reason: str
    detail: str


@dataclass(frozen=True)
class RunSpec:
    """A run without the machine it runs on: what it is called, what it is asked for, and its models.

    `deep` is the deep model, or the analysis that every candidate gets if there is no such model;
    `deep_backend` is what it computes on, None without a model.
    `head` scores the fast model's features; without one they are scored by salience. `budget` is the
    frame size that the models need. `whisper` writes down what is said; None if nobody wants it. `library` is
    the output of which the run recalls what is known, and with which it shares analyses; empty = its own.
    """

    run_id: str
    started_at: datetime
    settings: Settings
    fast: Checkpoint
    deep: Checkpoint | Analysis
    head: Head | None
    budget: FrameBudget
    deep_backend: Backend | None = None
    library: str = ""
    whisper: Checkpoint | Missing | None = None

    @cached_property
    def source(self) -> Store:
        """Where the videos are."""
        return open_store(self.settings.source)

    @cached_property
    def output(self) -> Store:
        """Where the results go."""
        return open_store(self.settings.output)

    @property
    def run_date(self) -> date:
        """The UTC day on which the run started: its partition."""
        return self.started_at.date()

    @property
    def digests(self) -> Digests:
        """Digests of everything but its bytes that decides the result of a video."""
        return Digests.of(
            self.settings,
            self.budget,
            fast_model=model_identity(self.fast.model, self.fast.revision),
            head=self.head.revision if self.head else None,
            code_version=CODE_VERSION,
        )

    @property
    def lacks_deep(self) -> bool:
        """Whether the run wanted a deep model and cannot have it."""
        return isinstance(self.deep, Analysis) and self.deep.status == "failed"

    @property
    def fast_kind(self) -> FastKind:
        """What kind of fast scores the run gives."""
        return self.head.fast_kind if self.head else "salience"

    def fast_scores(self, features: WindowFeatures) -> list[int]:
        """The fast scores of all windows of a video.

        Raises:
            ModelError: the head was fitted on embeddings of another model.
        """
        return self.head(features) if self.head else salience(features)

    @property
    def stamp(self) -> RunStamp:
        """What every published row says about the run."""
        deep, asked = self.deep if isinstance(self.deep, Checkpoint) else None, self.settings.deep
        whisper = self.whisper if isinstance(self.whisper, Checkpoint) else None
        listener = {
            "whisper": whisper.model if whisper else None,
            "whisper_revision": whisper.revision if whisper else None,
        }
        adapter = deep.adapter if deep else None
        tuned = {"adapter": adapter.model, "adapter_revision": adapter.revision} if adapter else {}
        return RunStamp(
            run_id=self.run_id,
            viral_threshold=self.settings.ranking.viral_threshold,
            listens=self.settings.speech.enabled,
            models={
                "videomae": self.fast.model,
                "videomae_revision": self.fast.revision,
                "head": self.head.uri if self.head else None,
                "head_revision": self.head.revision if self.head else None,
                "videollama3": deep.model if deep else None,
                "videollama3_revision": deep.revision if deep else None,
                "videollama3_quantization": self.settings.deep.quantization if deep else None,
                "videollama3_device": self.deep_backend.device if self.deep_backend else None,
                "videollama3_dtype": self.deep_backend.dtype if self.deep_backend else None,
                "prompt_hash": prompt_hash(asked.question, asked.answer_order) if deep else None,
                "settings_hash": self.settings.digest(),
                "code_version": CODE_VERSION,
                **(listener if self.whisper else {}),
                **tuned,
            },
        )
