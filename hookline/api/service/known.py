"""What the newest run has found out, looked up by video in well under a millisecond.

A ranking lies best first in its file, and one video's rows all over it. Here it lies once more: by video, as
Arrow, and mapped into memory.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hookline.api.service.answers import COLUMNS, CUT, answer
from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import newest_manifest, read_columns
from tasks.core.errors import StorageError
from tasks.core.manifest import Manifest
from tasks.core.records import VideoRef
from tasks.core.tables.library import read_library
from tasks.core.tables.schemas import LIBRARY, upgraded
from tasks.work.spec import RunSpec

LOOK_EVERY_S = 5.0
"""How long a new ranking may not be known yet."""

log = logging.getLogger("hookline.known")


@dataclass(frozen=True, slots=True)
class ByVideo:
    """A table whose rows lie by video, and where those of each are: the first, and how many."""

    table: pa.Table
    places: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, table: pa.Table, file: Path) -> ByVideo:
        """The table sorted, written to a file and mapped."""
        table = table.sort_by("video_uri").combine_chunks()
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        mapped = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        if not len(mapped):
            return cls(mapped, {})
        ends = pc.run_end_encode(mapped["video_uri"].combine_chunks())
        starts = [0, *ends.run_ends.to_pylist()]
        spans = ((start, end - start) for start, end in pairwise(starts))
        return cls(mapped, dict(zip(ends.values.to_pylist(), spans, strict=True)))

    def rows(self, uri: str) -> pa.Table:
        """The rows of a video."""
        return self.table.slice(*self.places.get(uri, (0, 0)))


@dataclass(frozen=True, slots=True)
class Index:
    """One run: its manifest, its library and its ranking."""

    manifest: Manifest
    library: ByVideo
    rankings: ByVideo


def same_models(published: Mapping[str, str | None], spec: RunSpec) -> bool:
    """Whether a run had the models of `spec`; on whatever they compute, if that is not known here."""
    wanted: dict[str, str | None] = dict(spec.stamp.models)
    if spec.deep_backend is None:
        wanted |= {name: published.get(name) for name in ("videollama3_device", "videollama3_dtype")}
    return published == wanted


class Known:
    """The newest run under an output, looked for again and again in a thread of its own."""

    def __init__(self, output: str, folder: Path) -> None:
        self._store, self._folder = open_store(output), folder
        self._pointer: bytes | None = None
        self._index: Index | None = None
        self._held: TemporaryDirectory[str] | None = None
        self._over, self._has_looked = threading.Event(), False
        self._thread = threading.Thread(target=self._look, name="known", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        shutil.rmtree(self._folder, ignore_errors=True)  # of a service that was killed
        self._folder.mkdir(parents=True)
        self._thread.start()

    @property
    def has_looked(self) -> bool:
        """Whether the newest run is known by now, or none can be: before, its videos would become jobs."""
        return self._has_looked

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()
        if self._held:
            self._held.cleanup()

    def find(self, video: VideoRef, spec: RunSpec) -> dict[str, Any] | None:
        """The answer about a video, without `video_path`, if the newest run made it as `spec` would."""
        index = self._index
        if index is None or not same_models(index.manifest.models, spec):
            return None
        entries = read_library(index.library.rows(video.label))
        entry = entries.get(video.uri)
        if entry is None or entry.timeline is None or entry.unanswered or entry.untranscribed:
            return None
        rows = index.rankings.rows(video.label).to_pylist()
        if not rows or not entry.holds_for(video, spec.digests, at_any_size=False):
            return None
        return answer(rows, entry, spec.settings, run_id=index.manifest.run_id)

    def _look(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception as error:  # jobs are run all the same
                log.warning("The newest ranking under %s cannot be used: %s", self._store.uri, error)
            self._has_looked = True
            if self._over.wait(LOOK_EVERY_S):
                return

    def refresh(self) -> None:
        """Take up the newest run, if there is a newer one.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            pointer = self._store.read_bytes("latest.json")
        except StorageError as error:
            if error.reason == "not_found":
                return
            raise
        if pointer == self._pointer:
            return
        manifest = newest_manifest(self._store)
        folder = TemporaryDirectory(
            dir=self._folder, prefix=f"{manifest.run_id}-", ignore_cleanup_errors=True
        )
        scratch = Path(folder.name)
        run: dict[str, Any] = {"run_date": manifest.run_date, "run_id": manifest.run_id}
        library = read_columns(self._store, "library", None, scratch=scratch, **run)
        rankings = read_columns(self._store, "rankings", COLUMNS, optional=CUT, scratch=scratch, **run)
        self._index = Index(
            manifest,
            ByVideo.of(upgraded(library, LIBRARY), scratch / "library.arrow"),
            ByVideo.of(rankings, scratch / "rankings.arrow"),
        )
        # What is mapped stays readable until the last reader is done with it.
        before, self._held, self._pointer = self._held, folder, pointer
        if before:
            before.cleanup()
        log.info("run %s is known, %d videos", manifest.run_id, len(self._index.library.places))
