"""Tune VideoLLaMA3 on what editors decided: an adapter for deep.adapter."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.adapters.storage import open_store
from tasks.core.errors import HooklineError
from tasks.learning.tune import EPOCHS, LEARNING_RATE, exam_in_words, tune


@flow(name="tune-judge", flow_run_name="tune on {output}")
def tune_judge(output: str, epochs: int = EPOCHS, learning_rate: float = LEARNING_RATE) -> State[Any]:
    """Train an adapter of VideoLLaMA3 on all labels, examine it on videos held out, and keep it.

    Ends as `Tuned`, or as `Unproven`, which says why; as `Failed` where there are too few labels. Runs use
    the adapter that `deep.adapter` names: none is used by itself.

    Args:
        output: Where the rankings and labels are: s3://bucket/prefix, or a folder on the worker.
        epochs: How often every label is shown.
        learning_rate: How far weights move in a step; it falls to 0 until the end.
    """
    try:
        tuned = tune(
            open_store(output), epochs=epochs, learning_rate=learning_rate, say=get_run_logger().info
        )
    except HooklineError as error:
        return Failed(message=str(error))
    create_markdown_artifact(markdown=tuned.card, key="adapter", description=tuned.adapter)
    name = "Unproven" if tuned.exam.verdict else "Tuned"
    return Completed(name=name, message=exam_in_words(tuned.exam), data={"uri": tuned.uri})
