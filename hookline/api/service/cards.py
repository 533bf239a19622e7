"""The ranking of a job as the cards of the report, with their pictures in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from hookline.api.service.answers import run_date
from tasks.adapters.report.page import render_cards
from tasks.adapters.storage import Store, open_store
from tasks.adapters.storage.published import read_rows_of
from tasks.core.errors import StorageError
from tasks.core.tables.schemas import RANKINGS, upgraded
from tasks.core.views.cards import Card, moments_of
from tasks.core.views.report import PICTURE_BYTES

PICTURE = re.compile(r"thumbnails/[0-9a-f]+/[0-9]+\.jpg")
"""What a job's rows may name as a picture: nothing else of the output is shown."""

log = logging.getLogger("hookline.cards")


def read_cards(output: str, run_id: str, *, video_uri: str, video_path: str) -> str:
    """The cards of one video as HTML, as its callers name it.

    Raises:
        StorageError: the ranking cannot be read any more.
    """
    store = open_store(output)
    about = {"video": video_uri, "run_id": run_id, "run_date": run_date(run_id)}
    try:
        rows = upgraded(read_rows_of(store, "rankings", None, **about), RANKINGS).to_pylist()
    except (pa.ArrowException, KeyError) as error:
        raise StorageError.invalid(f"the ranking of run {run_id} cannot be read ({error})") from error
    left, cards = PICTURE_BYTES, list[Card]()
    for row in sorted(rows, key=lambda row: int(row["rank"])):
        picture = _picture(row, store)
        if picture and len(picture) <= left:
            left -= len(picture)
        else:
            picture = None
        cards.append(Card(row | {"video_uri": video_path}, picture=picture))
    return render_cards(moments_of(cards))


def _picture(row: Mapping[str, Any], store: Store) -> bytes | None:
    name = row["thumbnail_uri"]
    if not name or not PICTURE.fullmatch(name):
        return None
    try:
        return store.read_bytes(name)
    except StorageError as error:
        log.warning("picture %s cannot be shown: %s", name, error)
        return None
