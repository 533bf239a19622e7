"""The command line: `hookline rank`, `serve`, `doctor`, `show`, `evaluate`, `train`, `tune` and more."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from hookline import CHECK_THREADS, ExitCode
from hookline.api.contract.settings import Serve
from hookline.embedded import prepare_environment
from hookline.options import WHOLE_NAMES, Groups, joined, settings_from_file, shown_default
from hookline.options import explain as in_words
from tasks.core.errors import HooklineError, SettingsError
from tasks.core.settings import Settings

app = App(
    name="hookline",
    help="Rank the moments of videos by viral potential.",
    # Options are the settings' own paths: --ranking.top_n, not --ranking.top-n; --deep.enabled=false.
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), name_transform=lambda name: name, show_default=shown_default),
)
Verbose = Annotated[bool, Parameter(name=["--verbose", "-v"])]
LabelFormat = Literal["auto", "segments", "curve", "youtube-retention", "mrhisum", "qvhighlights", "tvsum"]


app["--help"].group = app["--version"].group = "Options"


@app.command(config=settings_from_file, help_formatter=WHOLE_NAMES)
def rank(
    source: str,
    output: str,
    /,
    *,
    settings: Path | None = None,
    dry_run: bool = False,
    groups: Groups = Groups(),
    verbose: Verbose = False,
) -> int:
    """Rank the videos of SOURCE and write the rankings under OUTPUT.

    Every setting is an option by its path.

    Parameters
    ----------
    source
        Where the videos are: s3://bucket/prefix, a folder, or a list of videos in either: .txt with a URI a
        line, .csv or .parquet with a column uri.
    output
        Where the rankings go: s3://bucket/prefix, or a folder.
    settings
        A YAML file of settings, by the same names; options win over it.
    dry_run
        Say what there is to do, how long it will take and what it will cost, and stop: no video is opened,
        nothing is written.
    verbose
        Name the hidden files and folders that are left out.
    """
    from hookline.run import run_embedded

    return run_embedded(
        Settings(source=source, output=output, dry_run=dry_run, **dict(groups)),
        verbose=verbose,
    )


@app.command(config=settings_from_file, help_formatter=WHOLE_NAMES)
def serve(
    source: str,
    output: str,
    /,
    *,
    settings: Path | None = None,
    serve: Serve = Serve(),
    groups: Groups = Groups(),
) -> int:
    """Answer over HTTP: rank one video of SOURCE at a time, when it is asked for.

    Every setting is an option by its path; a request may change a few of them for its video.

    Parameters
    ----------
    source
        Where the videos are that may be asked for: a folder, or s3://bucket/prefix.
    output
        Where rankings go: s3://bucket/prefix, or a folder. Those of jobs lie under jobs/ there, and what
        `hookline rank` has left there is known.
    settings
        A YAML file of settings, by the same names; options win over it.
    """
    from hookline.serve import run_service

    return run_service(Settings(source=source, output=output, **dict(groups)), serve)


@app.command(config=settings_from_file, help_formatter=WHOLE_NAMES)
def doctor(
    source: str = "",
    output: str = "",
    /,
    *,
    settings: Path | None = None,
    json: bool = False,
    dry_run: Annotated[bool, Parameter(show=False)] = False,
    groups: Groups = Groups(),
) -> int:
    """Check whether this machine is ready for `hookline rank` with the same arguments.

    A line for each thing that a run needs: `ok`, `note` where a run works, but less well than it might, or
    `wrong`, with what to do about it. Exits with 1 if anything is wrong. Nothing is downloaded but small
    files, nothing that is written stays, no server is started.

    Parameters
    ----------
    source
        Where the videos are, as for `hookline rank`; without it, no source is checked.
    output
        Where the rankings go; without it, no output is checked.
    settings
        A YAML file of settings, by the same names; options win over it.
    json
        Write what was found as JSON instead.
    """
    from hookline.doctor import run_doctor

    checked = Settings(source=source or ".", output=output or ".", dry_run=dry_run, **dict(groups))
    return run_doctor(checked, source=bool(source), output=bool(output), json=json)


@app.command
def show(
    output: str,
    /,
    *,
    run: str = "",
    video: str = "",
    all: bool = False,
    json: bool = False,
    csv: bool = False,
    verbose: Verbose = False,
) -> int:
    """Print a ranking under OUTPUT as a table: the newest.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder.
    run
        Another run: its id, or the beginning of it, such as a day: 20261124 or 2026-11-24.
    video
        Only the videos with this in their URI, such as a part of the name, and why each rank is what it is.
        Letter case does not matter.
    all
        Every ranked segment, also those that show the same moment as a better one.
    json
        Write every column as JSON instead.
    csv
        Write every column as CSV instead.
    verbose
        Name the hidden files and folders that were left out.
    """
    from hookline.export import write_csv, write_json
    from hookline.show import columns_of, print_run, print_videos, ranking_of
    from hookline.videos import of_videos
    from tasks.adapters.storage import open_store
    from tasks.adapters.storage.published import manifest_called

    one_form(json, csv)
    store = open_store(output)
    manifest = manifest_called(store, run)
    if json or csv:
        ranking = of_videos(ranking_of(store, manifest), video)
        rows = (row for batch in ranking.to_batches(max_chunksize=1000) for row in batch.to_pylist())
        if json:
            write_json(rows, sys.stdout)
        else:
            write_csv(rows, columns_of(ranking.schema), sys.stdout)
    elif video:
        print_videos(Console(), store, manifest, video, every=all)
    else:
        print_run(Console(), store, manifest, every=all, verbose=verbose)
    return ExitCode.COMPLETE


@app.command
def explain(output: str, video: str, /, *, at: str, run: str = "") -> int:
    """Print all that is known of a moment of a video: why it is ranked where it is, or why it is not.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder. Nothing there changes.
    video
        The video: its name, or a part of its URI that no other video has.
    at
        When, such as 1:23 or 1:02:03.
    run
        Another run than the newest: its id, or the beginning of it.
    """
    from hookline.explain import explain
    from tasks.adapters.storage import open_store
    from tasks.adapters.storage.published import manifest_called

    store = open_store(output)
    explain(Console(), store, manifest_called(store, run), video, at)
    return ExitCode.COMPLETE


@app.command
def diff(output: str, run_a: str = "", run_b: str = "", /, *, json: bool = False, csv: bool = False) -> int:
    """Print what entered, left and moved from one run to another, and why.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder.
    run_a
        The earlier run: its id, or the beginning of it; without one, the run before the other.
    run_b
        The later run; without one, the newest.
    json
        Write the changes as JSON instead.
    csv
        Write the changes as CSV instead.
    """
    from hookline.differences import print_changes, read_run
    from hookline.export import write_csv, write_json
    from tasks.adapters.storage import open_store
    from tasks.adapters.storage.published import manifest_before, manifest_called, manifest_of
    from tasks.core.tables.differences import Change, changes

    one_form(json, csv)
    store = open_store(output)
    later = manifest_called(store, run_b)
    earlier = manifest_of(store, run_a) if run_a else manifest_before(store, later.run_id)
    before, after = read_run(store, earlier), read_run(store, later)
    found = list(changes(before, after))
    if json:
        write_json(map(asdict, found), sys.stdout)
    elif csv:
        write_csv(map(asdict, found), [field.name for field in fields(Change)], sys.stdout)
    else:
        print_changes(Console(), found, before, after)
    return ExitCode.COMPLETE


@app.command
def labels(output: str, file: Path, /, *, format: LabelFormat = "auto") -> int:
    """Bring the verdicts of editors back: check FILE, match it with what was scored, and keep it.

    One row a segment: video_uri (or the name of its file), start, end (seconds), verdict (published or
    rejected), and as far as known video_etag, views and labelled_on (a date). `hookline show OUTPUT --csv`
    with a column verdict will do.
    Curves over the length of a video, such as how many still watch, become a value of each window.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder. The labels are kept under labels/ there.
    file
        A CSV or Parquet file, an answer of the YouTube Analytics API, or a file of a public data set.
    format
        What is in it: segments, with a verdict each; curve, with the columns video_uri, seconds and value;
        youtube-retention; or what Mr. HiSum, QVHighlights and TVSum distribute. auto = by its ending and its
        columns.
    """
    from hookline.labels import import_labels, print_labels
    from tasks.adapters.storage import open_store
    from tasks.adapters.storage.published import newest_manifest

    store = open_store(output)
    newest = newest_manifest(store)
    print_labels(Console(), import_labels(store, file, newest, kind=format), newest.source)
    return ExitCode.COMPLETE


@app.command
def evaluate(output: str, /, *, since: str = "", fail_below: tuple[str, ...] = ()) -> int:
    """Say how good the scores of all nights are, beside chance: by the judge, and by the verdicts of editors.

    Reads tables alone. What is unknown is said to be, such as what the fast score left out where nothing was
    audited. The result is kept under evaluations/.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder.
    since
        Only runs from here on: an id, or the beginning of it, such as a day: 20261124 or 2026-11-24.
    fail_below
        Exit with 3 if a metric is lower, or unknown: recall_at_own_bar=0.5, or of another score than the fast
        one auc_of_verdicts.combined=0.6. May be given several times.
    """
    from hookline.evaluation import missed_bars, print_evaluation
    from tasks.adapters.storage import open_store
    from tasks.learning.evaluate import evaluate, keep

    store = open_store(output)
    found = evaluate(store, since=since)
    missed = missed_bars(found, fail_below)
    console = Console()
    print_evaluation(console, found, keep(store, found))
    for sentence in missed:
        console.print(f"[bold red]{escape(sentence)}[/]", soft_wrap=True)
    return ExitCode.WITH_FAILURES if missed else ExitCode.COMPLETE


@app.command
def train(output: str, /, *, since: str = "", promote: Literal["auto", "never", "always"] = "auto") -> int:
    """Fit a head of the fast score on what the deep model said in all nights, and promote it if it is better.

    Reads tables alone. Every fifth video is held out, for ever: there the head must have two windows in the
    deep model's order more often than what scores now. Exits with 2 if there is too little to learn from, and
    with 3 if the head is not promoted.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder. The head is kept under heads/ there.
    since
        Only runs from here on: an id, or the beginning of it, such as a day: 20261124 or 2026-11-24.
    promote
        Whether --fast.head latest is this head from now on: auto = if it is better.
    """
    from hookline.heads import print_trained
    from tasks.adapters.storage import open_store
    from tasks.learning.train import train

    trained = train(open_store(output), since=since, promote_it=promote)
    print_trained(Console(), trained, output)
    return ExitCode.WITH_FAILURES if trained.kept and promote == "auto" else ExitCode.COMPLETE


@app.command
def heads(output: str, /, *, promote: str = "") -> int:
    """List the heads that were fitted, or have another one score: `latest` is the last promoted one.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder.
    promote
        The id of a head, or the beginning of it: it scores from the next run on.
    """
    from hookline.heads import print_heads, promote_head
    from tasks.adapters.storage import open_store

    store = open_store(output)
    if promote:
        promote_head(store, promote)
    print_heads(Console(), store)
    return ExitCode.COMPLETE


@app.command
def tune(
    output: str,
    /,
    *,
    epochs: Annotated[int, Parameter(validator=Number(gte=1))] = 3,
    learning_rate: Annotated[float, Parameter(validator=Number(gt=0))] = 1e-4,
    adapter: str = "",
    merge: Path | None = None,
) -> int:
    """Tune VideoLLaMA3 on the verdicts of editors: train an adapter, which runs use with --deep.adapter.

    It asks what the newest run asked, and uses all GPUs of this machine. Every fifth video is held out, for
    ever: there it must tell what was published from what was rejected better than without an adapter. If it
    is ended, the same command goes on after the last epoch that was finished. Exits with 2 if there are too
    few labels, and with 3 if the adapter is not shown to be better. Needs hookline[train].

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder. The adapter is kept under adapters/ there.
    epochs
        How often every label is shown.
    learning_rate
        How far weights move in a step; it falls to 0 until the end.
    adapter
        The id of an adapter that is there already, or the beginning of it: nothing is tuned, see --merge.
    merge
        A new folder for VideoLLaMA3 with the adapter in it, as a whole checkpoint: for --deep.model, with
        --deep.quantization too.
    """
    from hookline.tuning import run_tune

    return run_tune(output, epochs=epochs, learning_rate=learning_rate, adapter=adapter, merge=merge)


def one_form(json: bool, csv: bool) -> None:
    """Rows are written in one form.

    Raises:
        SettingsError: both are asked for.
    """
    if json and csv:
        raise SettingsError("--json and --csv: choose one of them")


@app.command
def clip(
    output: str,
    video: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")] = "",
    to: str = "",
    rank: int | None = None,
    run: str = "",
    captions: Literal["none", "files", "burned"] | None = None,
    crop: Literal["none", "9:16", "4:5", "1:1"] | None = None,
    crop_x: Annotated[float | None, Parameter(validator=Number(gte=0, lte=1))] = None,
    crop_follow: bool | None = None,
    shots: Path | None = None,
) -> int:
    """Cut a clip of a ranked video, exactly where it is wanted; nothing is scored anew.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder. The clip lies under clips/ there.
    video
        The video: its name, or a part of its URI that no other video has. It is fetched again.
    from_
        Where the clip begins, such as 1:02.5.
    to
        Where it ends.
    rank
        The ranked segment with this rank in its video; --from and --to move its ends.
    run
        Another run than the newest: its id, or the beginning of it.
    captions
        What is said in it, beside it or burned in; as in the run if not given.
    crop
        Width to height; as in the run if not given.
    crop_x
        Where the middle of the crop lies, from 0 (left) to 1.
    crop_follow
        In each shot where faces are, or else what moves and stands out; as in the run if not given.
    shots
        The .json beside a clip, corrected: where its crop lies in each shot, and when it begins and ends.
    """
    from hookline.clip import Wanted, cut_again, read_shots
    from tasks.adapters.storage import open_store
    from tasks.adapters.storage.published import manifest_called

    store = open_store(output)
    given = {"captions": captions, "crop": crop, "crop_follow": crop_follow}
    wanted = Wanted(rank, from_, to, given, crop_x, read_shots(shots) if shots else None)
    cut_again(Console(), store, manifest_called(store, run), video, wanted)
    return ExitCode.COMPLETE


@app.command
def similar(
    output: str,
    video: str,
    /,
    *,
    at: str,
    run: str = "",
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 10,
    json: bool = False,
) -> int:
    """List the moments nearest to one of a video: what VideoMAE saw in them is most alike.

    Reads stored embeddings alone; no model is loaded, and no video is opened.

    Parameters
    ----------
    output
        Where the rankings are: s3://bucket/prefix, or a folder.
    video
        The video: its name, or a part of its URI that no other video has.
    at
        When in it, such as 1:23: the window whose middle is nearest is compared with all others.
    run
        Another run than the newest: its id, or the beginning of it.
    count
        How many moments.
    json
        Write them as JSON instead.
    """
    from hookline.export import write_json
    from hookline.similar import print_similar, similar_to
    from tasks.adapters.storage import open_store
    from tasks.adapters.storage.published import manifest_called

    store = open_store(output)
    manifest = manifest_called(store, run)
    found = similar_to(store, manifest, video, at, count=count)
    if json:
        write_json(map(asdict, found.nearest), sys.stdout)
    else:
        print_similar(Console(), found, manifest.source)
    return ExitCode.COMPLETE


@app.command
def demo(folder: Path = Path("demo"), /) -> int:
    """Make sample videos and untrained demo models in FOLDER, and rank the videos with them."""
    from hookline.demo import run_demo

    return run_demo(folder)


@app.command
def demo_models(folder: Path, /) -> int:
    """Write small untrained checkpoints of the real architectures: videomae, videollama3 and whisper."""
    from hookline.demo_models import write_demo_models

    write_demo_models(folder)
    Console().print(
        f"Written. Use them with --fast.model {folder}/videomae --deep.model {folder}/videollama3 "
        f"--speech.model {folder}/whisper (untrained: they rank at random, and the words are noise).",
        soft_wrap=True,
    )
    return ExitCode.COMPLETE


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script: the only place that exits."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    hangs = any(thread.name.startswith(CHECK_THREADS) for thread in threading.enumerate())
    if hangs or "prefect" in sys.modules:
        # Where a check hangs, Python would wait for it, and may abort where a thread is in a C library. Else
        # all has ended, and to take Prefect and PyTorch apart costs a second.
        if models := sys.modules.get("tasks.adapters.models.checkpoints"):
            models.remove_downloaded()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit code."""
    errors = Console(stderr=True)
    prepare_environment()
    try:
        return int(app(joined(arguments), exit_on_error=False, print_error=False) or ExitCode.COMPLETE)
    except (CycloptsError, SettingsError, ValidationError) as error:
        errors.print(f"[bold red]hookline:[/] {escape(in_words(error))}", soft_wrap=True)
        return ExitCode.BAD_ARGUMENTS
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write
        return ExitCode.NOTHING_DONE
    except SystemExit as error:  # of rich, where nobody reads what it prints
        return error.code if isinstance(error.code, int) else ExitCode.NOTHING_DONE
    except (HooklineError, OSError) as error:
        errors.print(f"[bold red]hookline:[/] {escape(str(error))}", soft_wrap=True)
        return ExitCode.NOTHING_DONE
    except KeyboardInterrupt:
        errors.print("[bold red]hookline:[/] interrupted")
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    main()
