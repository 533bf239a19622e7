"""The windows of all nights, video by video: however many there are, few are in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.adapters.storage.published import explaining, manifests
from tasks.adapters.storage.store import Store
from tasks.core.errors import StorageError
from tasks.core.learning.videos import FEATURES, NEEDED, SINCE_4, ScoredVideoRows, rows_by_video
from tasks.core.manifest import Manifest
from tasks.core.tables.schemas import table_name

JUDGE = ("videollama3", "videollama3_revision", "videollama3_quantization", "adapter_revision", "prompt_hash")

SCORED_BY = ("videomae_revision", "head_revision")


@dataclass(frozen=True, slots=True)
class Nights:
    """The complete runs under an output that kept what the deep model said, the oldest first.

    `earlier` are those of versions that did not; `gone` fills with those whose windows were deleted.
    """

    store: Store
    runs: Sequence[Manifest]
    earlier: Sequence[Manifest]
    gone: list[str] = field(default_factory=list)

    def videos(self, *, features: bool = False) -> Iterator[ScoredVideoRows]:
        """The newest windows of each video; with `features`, what the fast model saw in them.

        One that was written anew, or is elsewhere now, is the same video: it has its URI or its ETag.

        Raises:
            StorageError: the output cannot be reached, or a table cannot be read.
        """
        seen: set[str] = set()
        for run in reversed(self.runs):
            try:
                for video in self._of_run(run, features=features):
                    if seen.isdisjoint((video.uri, video.etag)):
                        seen.update((video.uri, video.etag))
                        yield video
            except StorageError as error:
                if error.reason != "not_found":
                    raise
                self.gone.append(run.run_id)

    def _of_run(self, run: Manifest, *, features: bool) -> Iterator[ScoredVideoRows]:
        columns = [*NEEDED, *SINCE_4, *(FEATURES if features else ())]
        run_date, run_id = run.run_date, run.run_id
        try:
            top_n = int(run.settings["ranking"]["top_n"])
            for table in windows_of_run(self.store, columns, run_date=run_date, run_id=run_id):
                yield from rows_by_video(table, run_id=run_id, top_n=top_n)
        except (KeyError, ValueError, pa.ArrowException) as error:
            name = table_name("windows", run_date=run_date, run_id=run_id)
            raise StorageError.invalid(
                f"{self.store.uri}/{name} is not a table that can be read ({error})."
            ) from error


def find_nights(store: Store, *, since: str = "") -> Nights:
    """The complete runs under an output; with `since`, those whose id is not before it, such as a day.

    Raises:
        SettingsError: `since` is neither a day nor how an id begins.
        StorageError: there is none, or the output cannot be reached.
    """
    ranked = _complete(store, since)
    if not ranked:
        if since and (runs := _complete(store)):
            raise StorageError.not_found(
                f"There is no complete run since {since} under {store.uri}: the newest is {runs[-1].run_id}."
            )
        raise StorageError.not_found(
            f"There is no complete run yet under {store.uri}: run `hookline rank SOURCE {store.uri}`."
        )
    kept = [manifest for manifest in ranked if "head_revision" in manifest.models]
    return Nights(store, kept, [manifest for manifest in ranked if manifest not in kept])


def _complete(store: Store, since: str = "") -> list[Manifest]:
    return [manifest for manifest in manifests(store, since=since) if manifest.state != "Failed"]


def windows_of_run(
    store: Store, columns: Sequence[str], *, run_date: object, run_id: str
) -> Iterator[pa.Table]:
    """The windows of a run, in parts that break no video apart; they are read where they lie.

    Raises:
        StorageError: they are not there, or cannot be read.
    """
    uri = f"{store.uri}/{table_name('windows', run_date=run_date, run_id=run_id)}"
    with store.opened(uri) as stream, explaining(uri):
        yield from whole_videos(stream, columns)


def whole_videos(file: Path | BinaryIO, columns: Sequence[str]) -> Iterator[pa.Table]:
    """A table that is sorted by video, in parts that break no video apart."""
    parquet = pq.ParquetFile(file, pre_buffer=False)  # or all of it is read at once
    rest: pa.Table | None = None
    for batch in parquet.iter_batches(batch_size=8192, columns=list(columns), use_threads=False):
        table = pa.Table.from_batches([batch])
        table = pa.concat_tables([rest, table]) if rest is not None else table
        last = table["video_uri"][-1]
        begins = pa.compute.index(table["video_uri"], last).as_py()
        if begins:
            yield table.slice(0, begins)
        rest = table.slice(begins)
    if rest is not None and len(rest):
        yield rest


def judge_of(run: Manifest) -> dict[str, object]:
    """What of a run decides what the deep model says of a window: models, question, and what it is told.

    Another Whisper hears some other words, and the judge is still the same; one that is not told what is said
    is another.
    """
    speech = run.settings.get("speech", {})
    told = all(speech.get(name) for name in ("enabled", "transcribe", "in_prompt"))
    return {**{name: run.models.get(name) for name in JUDGE}, "speech.in_prompt": told}


def scored_by(run: Manifest) -> dict[str, object]:
    """What of a run decides its scores, and which of its windows the deep model is shown."""
    ranking = run.settings.get("ranking", {})
    chosen = {name: ranking.get(name) for name in ("top_n", "candidate_multiplier", "max_overlap")}
    models = {name: run.models.get(name) for name in SCORED_BY}
    return {**models, **judge_of(run), **chosen, "windows": run.settings.get("windows")}
