"""The figures that documents show are those that benchmarks measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.core.settings import Limits
from tasks.core.settings.engine import Engine
from tasks.work.opening import RANKED_PER_GPU
from tests import ROOT

Figures = Callable[[], Iterator[str]]


def measured(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


SHOWN: list[tuple[str, Figures]] = []


def shown_in(document: str) -> Callable[[Figures], Figures]:
    """Look for these figures in a document of the project."""

    def register(figures: Figures) -> Figures:
        SHOWN.append((document, figures))
        return figures

    return register


@shown_in("README.md")
def speed() -> Iterator[str]:
    parts = measured("speed_cpu")["parts"]
    decode = parts["decode"]["seconds"]["B-frames (x264 veryfast)"]
    ours, naive, floor = decode["ours"], decode["naive"], decode["floor"]
    yield f"seeking each window with decord | {naive:.0f} | {ours:.1f} | **{naive / ours:.0f}x** |"
    yield f"ffmpeg's own pass over the file | {floor:.1f} | {ours:.1f} | {floor / ours:.1f}x |"
    rate = parts["fast"]["windows_a_second"]
    yield f"| {1 / rate['naive']:.1f} | {1 / rate['ours']:.1f} | {rate['ours'] / rate['naive']:.1f}x |"
    whole = parts["whole"]["seconds"]
    yield f"| {whole['naive']:.0f} | {whole['ours']:.0f} | **{whole['naive'] / whole['ours']:.1f}x** |"
    yield f"takes {whole['ours by stage']['fast']:.0f} of the {whole['ours']:.0f} seconds"


@shown_in("README.md")
def decoding_alone() -> Iterator[str]:
    with_b, without = measured("speed_decode_cpu")["parts"]["decode"]["seconds"].values()
    yield f"takes {with_b['ours']:.1f} s where ffmpeg's own pass takes {with_b['floor']:.1f} with B-frames"
    yield f"{without['ours']:.1f} where it takes {without['floor']:.1f} without"


@shown_in("README.md")
def memory_and_nights() -> Iterator[str]:
    parts = measured("speed_flow_cpu")["parts"]
    lengths, numbers = parts["growth"]["minutes"], parts["growth"]["videos of 10 s"]
    gigabytes = {minutes: f"{lengths[minutes]['peak_bytes'] / 1e9:.2f}" for minutes in ("3", "180")}
    yield f"takes {gigabytes['3']} GB for a video of 3 minutes and {gigabytes['180']} for"
    yield f"for 500 short videos {numbers['500']['peak_bytes'] / 1e9:.1f} GB, as for one"
    assert round(numbers["1"]["peak_bytes"] / 1e9, 1) == round(numbers["500"]["peak_bytes"] / 1e9, 1)


@shown_in("README.md")
def nights() -> Iterator[str]:
    found = measured("nights")
    assert all(goal["met"] for goal in found["goals"])
    many, million = (found["nights"][videos]["nothing new"] for videos in ("100000", "1000000"))
    yield f"takes {many['flow']:.1f} s of its flow and {many['gigabytes']:.1f} GB"
    few = found["nights"]["10000"]["nothing new"]
    yield f"takes {few['command']:.0f} seconds, one of them in the flow"
    assert round(few["flow"]) == 1
    segments = 1_000_000 * found["segments a video"]
    yield f"a million videos, {segments:,} segments, it"
    yield f"takes {million['flow']:.0f} s and {million['gigabytes']:.1f} GB"
    yield f"and the command {million['command']:.0f} s in all"


@shown_in("README.md")
def starts() -> Iterator[str]:
    found = measured("start")
    assert all(goal["met"] for goal in found["goals"])
    nothing = found["seconds"]["nothing new"]["now"]["wall"]
    yield f"`hookline rank` over one video takes {nothing:.1f} s with nothing new"


@shown_in("docs/operations.md")
def estimates() -> Iterator[str]:
    found = measured("estimates")
    assert all(goal["met"] for goal in found["goals"])
    _, second, third = (night["took by expected"] for night in found["nights"])
    yield f"a second night took {second:.2f} times what was expected"
    yield f"a third {third:.2f} times what was"


@shown_in("README.md")
def deep_stage() -> Iterator[str]:
    found = measured("deep_stage_cpu")
    naive, ours = found["naive"]["seconds"], found["ours"]["seconds"]
    for label, phase in (("decode", "decode"), ("read the prompts", "prefill")):
        yield f"| {label} | {naive[phase]:.0f} | {ours[phase]:.0f} | {naive[phase] / ours[phase]:.1f}x |"
    speedup = found["speedup"]
    yield (
        f"| all | {naive['total']:.0f} | {ours['total']:.0f} | **{speedup['measured']:.1f}x** "
        f"({speedup['predicted']:.1f}x by counting operations) |"
    )
    alone, together = (each["tokens_a_second"] for each in found["sweep"])
    yield f"are {together / alone:.1f} times those at batch 1"


@shown_in("docs/learning.md")
def learning() -> Iterator[str]:
    found = measured("learning")
    assert all(goal["met"] for goal in found["goals"])
    recall = found["recall"]
    for videos in (60, 100, 200, 400):
        yield f"| a head of {videos} videos | {100 * recall[f'{videos} videos']['recall']:.0f} % |"
    for choice in ("chance", "salience"):
        yield f"| {choice} | {100 * recall[choice]:.0f} % |"
    for windows, command in (("1,000,000 windows", "train"), ("2,000,000", "evaluate")):
        took = found[command]
        assert took["windows"] == int(windows.split()[0].replace(",", ""))
        yield f"{windows} take {took['cpu_seconds']:.0f} s of a core and {took['peak_gb']:.1f} GB"
    night = found["nightly"]
    yield f"in {night['nights']} nights of {night['videos']} videos it was off by {night['error']:+.3f} on"
    yield f"{100 * night['held']:.0f} of their intervals held it"
    yield f"{1000 * max(found['equal'].values()):.0f} of 1,000 times"
    salience, head = found["takeover"]["salience"], found["takeover"]["another head"]
    yield f"{100 * salience['new']:.0f} % of the candidates new after salience"
    yield f"salience ({100 * salience['new_alone']:.0f} % without)"
    yield f"and {100 * head['new']:.0f} % after another head ({100 * head['new_alone']:.0f} %)"
    yield f"{salience['best']:.1f} points on average ({salience['best_alone']:.1f} without)"


@shown_in("docs/operations.md")
def gpu() -> Iterator[str]:
    found = measured("gpu_arithmetic")
    before, after = (found[when]["seconds"] for when in ("before", "after"))
    for phase, seconds in before.items():
        yield f" | {seconds:.1f} | {after[phase]:.1f} |"
    assert after["total"] <= 8.5
    steps = [min(found[when]["step_ms"].values()) for when in ("before", "after")]
    yield "a step {:.0f} ms, then {:.1f}".format(*steps)
    kernels = [found[when]["counts"]["kernels"] for when in ("before", "after")]
    yield "{} kernels instead of {:,}".format(*reversed(kernels))


@shown_in("README.md")
def frame_sizes() -> Iterator[str]:
    sizes = measured("frame_sizes")["videos"]["slides_speech_122s_1080p.mp4"]["sizes"]
    small, large = sizes["59"], sizes["15"]
    yield f"at {small['width']}x{small['height']} with {small['tokens']} tokens a frame, and alone at"
    yield f"{large['width']}x{large['height']} with {large['tokens']}. To keep"
    hourly_gb = large["gb_an_hour"]
    yield f"takes {hourly_gb / small['gb_an_hour']:.1f} times the scratch ({hourly_gb:.1f} GB an hour"
    share_gb = Limits().scratch_gb / (Engine().workers + RANKED_PER_GPU)
    yield f"videos from {share_gb / hourly_gb:.1f} hours on"
    yield f"{large['decode_cpu_s'] / small['decode_cpu_s']:.1f} times the CPU time of decoding"


@shown_in("README.md")
def cuts() -> Iterator[str]:
    talk = measured("cuts")["talks"]["slides_speech_122s_1080p.mp4"]
    for seconds in ("59 s", "15 s"):
        found = talk[seconds]
        yield f"from {found['outside of speech before']:.0%} to {found['clean']:.0%} ({seconds}".replace(
            "%", " %"
        )
        assert found["worse"] == 0


@shown_in("README.md")
def hearing() -> Iterator[str]:
    found = measured("hearing")
    assert found["whisper"]["tokens"] == [100] * found["whisper"]["chunks"]
    yield f"Whisper base takes {found['whisper']['for a second']:.1f} s for a second of speech"
    a_minute = found["listening"]
    yield f"takes {a_minute['speech']:.1f} CPU seconds a minute to find speech"
    yield f"{60 * a_minute['sound']:.0f} an hour to take the sound"
    yield f"{found['whole run']['share']:.1%}".replace("%", " % of a run")


@shown_in("README.md")
def crops() -> Iterator[str]:
    clips = measured("crop_follow")["clips"].values()
    follow, centre = ([f"{100 * clip[way]['inside']:.0f}" for clip in clips] for way in ("follow", "centre"))
    for shares, then in ((follow, "are inside of a 9:16 crop"), (centre, "([JSON]")):
        yield f"{', '.join(shares[:-1])} and {shares[-1]} % {then}"


@shown_in("README.md")
def clips() -> Iterator[str]:
    found = measured("clips")
    took, noise = found["cpu_seconds"], found["noise"]
    yield f"{found['seconds']} s take {took['whole']:.0f} CPU-seconds ({took['9:16']:.0f} as 9:16"
    yield f"{took['1080x1920']:.0f} at 1080x1920, where a picture full of noise takes {noise:.0f}"
    yield f"a crop that follows takes {took['9:16, following'] - took['9:16']:.0f} more"
    loudness, captions = (f"{took[way] - took['whole']:.0f}" for way in ("loudness", "captions"))
    yield f"loudness {loudness}, captions that are burned in {captions} ("


@shown_in("README.md")
def cards() -> Iterator[str]:
    for line in measured("deep_memory")["lines"]:
        batches = " | ".join(str(batch or "-") for batch in line["batch_by_card_gb"].values())
        yield f"| {line['weights_gb']:.1f} GB | {line['segment_gb']:.2f} GB | {batches} |"


@shown_in("docs/data.md")
def questions() -> Iterator[str]:
    for question, tools in measured("tables")["seconds"].items():
        for tool, seconds in tools.items():
            before, after = (f"{1000 * seconds[when]:.0f}" for when in ("before", "after"))
            yield f"| {question} | {tool} | {before} | {after} |"


@shown_in("docs/data.md")
def duplicates() -> Iterator[str]:
    found = measured("duplicate_search")
    none, every = found["found"]
    assert (found["segments"], none["new"], every["duplicates"]) == (1_500_000, 15, 15)
    yield f"takes {none['cpu_seconds']} CPU seconds and {none['peak_gb']} GB"
    yield f"{every['cpu_seconds']} and {every['peak_gb']:.2f}"
    hours = found["first_night"]["cpu_hours"]
    yield f"some {hours['100000']:.0f} CPU hours for 100,000 videos"
    yield f"and {round(hours['1000000'], -2):.0f} for a million"


@shown_in("docs/data.md")
def copies() -> Iterator[str]:
    found = measured("duplicates")
    places = [found["thresholds"].index(each) for each in (0.99, 0.999, 0.9999)]
    base, demo = found["models"]["base, untrained"], found["models"]["demo, untrained"]
    for how in base:
        shares = [[f"{of[how]['shares'][n]:.0%}".replace("%", " %") for n in places] for of in (base, demo)]
        yield f"| {how} | {' | '.join(shares[0])} | {', '.join(shares[1])} |"


@shown_in("docs/data.md")
def similar() -> Iterator[str]:
    found = measured("similar")
    ours, sql = found["found"]["hookline similar"], found["found"]["DuckDB"]
    yield f"Among {found['windows']:,} windows of {found['videos']:,} videos"
    yield f"({found['megabytes'] / 1000:.1f} GB) it takes"
    yield f"it takes {ours['cpu_seconds']:.0f} CPU seconds and {ours['peak_gb']:.1f} GB"
    yield f"this query {sql['cpu_seconds']:.0f} and {sql['peak_gb']:.1f}"


@pytest.mark.parametrize(("document", "figures"), SHOWN, ids=lambda value: getattr(value, "__name__", value))
def test_figures_are_the_measured_ones(document: str, figures: Figures) -> None:
    text = " ".join((ROOT / document).read_text().split())
    expected = list(figures())
    assert expected
    assert [line for line in expected if line not in text] == []
