"""Jobs and answers over HTTP, with the whole pipeline behind them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.rank_videos import rank_videos
from hookline.api.jobs import own_jobs
from hookline.api.jobs.prefect_runs import PrefectRuns
from hookline.api.service.models import Answer
from hookline.api.service.service import Service
from tasks.core.errors import HooklineError
from tasks.core.settings import Select, Settings
from tasks.run.run import find_models
from tasks.work.spec import RunSpec
from tests import ROOT
from tests.api.conftest import MAX_QUEUED, at_work, finished
from tests.library import BROKEN
from tests.waiting import patience, wait_for

EXAMPLE = json.loads((ROOT / "tests/fixtures/analyze_timeline_path.example.json").read_text())

canceling = pytest.mark.logs_error  # Prefect says that the flow was interrupted


def rank(client: httpx.Client, path: Path, **more: Any) -> httpx.Response:
    return client.post("/analyze_timeline_path", json={"video_path": str(path), **more})


def test_the_answer_of_the_old_system_is_one_of_ours() -> None:
    Answer.model_validate(EXAMPLE)


def test_a_client_that_knows_only_the_old_names_is_served(client: httpx.Client, videos: Path) -> None:
    response = rank(client, videos / "first.mp4", top_n=1)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert EXAMPLE.keys() <= answer.keys()
    assert EXAMPLE["parameters"].keys() == answer["parameters"].keys()
    (segment,) = answer["top_segments"]
    example = EXAMPLE["top_segments"][0]
    assert segment.keys() - example.keys() == {"cut_start", "cut_end", "cut_clean", "transcript"}
    assert example.keys() <= segment.keys()
    assert example["videollama3"].keys() == segment["videollama3"].keys()
    assert answer["video_path"] == str(videos / "first.mp4")
    assert answer["total_duration"] == 14
    assert answer["total_windows"] == 6
    assert answer["parameters"] == {"top_n": 1, "window_seconds": 5, "stride_seconds": 2}
    assert segment["end"] - segment["start"] == segment["duration"] == 5


def test_a_job_is_queued_run_and_answered(client: httpx.Client, videos: Path) -> None:
    accepted = client.post("/jobs", json={"video_path": str(videos / "second.mkv")})
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["Location"] == job["status_url"]
    assert job["status"] in ("queued", "running")
    before = client.get(job["result_url"])
    assert (before.status_code, before.json()["type"]) == (409, "/problems/not_finished")
    assert int(before.headers["Retry-After"]) >= 1
    done = finished(client, job)
    assert (done["status"], done["percent"]) == ("succeeded", 100)
    assert done["created_at"] <= done["started_at"] <= done["ended_at"]
    result = client.get(job["result_url"]).json()
    assert [segment["score"] for segment in result["top_segments"]]
    again = rank(client, videos / "second.mkv")
    assert again.json() == result


@canceling
def test_work_under_way_is_joined(client: httpx.Client, videos: Path) -> None:
    with at_work(client, videos / "long.mp4") as job:
        ask = {"video_path": str(videos / "more/../long.mp4"), "top_n": 100, "stride_seconds": 1}
        other = client.post("/jobs", json=ask).json()
        assert (other["id"], other["joined"], job["joined"]) == (job["id"], True, False)
        different = client.post("/jobs", json={**ask, "top_n": 99}).json()
        assert different["id"] != job["id"]
        assert different["queue_position"] == 1
        assert client.delete(different["cancel_url"]).json()["status"] == "canceled"


def test_a_repeated_request_gets_its_job_and_another_one_is_refused(
    client: httpx.Client, videos: Path
) -> None:
    ask, key = {"video_path": str(videos / "first.mp4"), "stride_seconds": 3}, {"Idempotency-Key": "k1"}
    job = client.post("/jobs", json=ask, headers=key).json()
    finished(client, job)
    (videos / "first.mp4").touch()  # another version: without the key it would be another job
    again = client.post("/jobs", json=ask, headers=key).json()
    assert (again["id"], again["joined"]) == (job["id"], True)
    assert client.post("/analyze_timeline_path", json=ask, headers=key).status_code == 200
    other = client.post("/jobs", json={**ask, "top_n": 1}, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/key_reused")


@canceling
def test_a_caller_need_not_wait(client: httpx.Client, videos: Path) -> None:
    ask = {"video_path": str(videos / "long.mp4"), "top_n": 98, "stride_seconds": 1}
    for prefer, most_s in {"respond-async": 2, "wait=1": 4}.items():
        began = time.monotonic()
        response = client.post("/analyze_timeline_path", json=ask, headers={"Prefer": prefer})
        assert response.status_code == 202
        assert response.headers["Preference-Applied"] == prefer
        assert time.monotonic() - began < patience(most_s)
    client.delete(response.headers["Location"])
    finished(client, response.json())


@canceling
def test_a_job_that_runs_is_canceled_within_seconds(client: httpx.Client, videos: Path) -> None:
    output = videos.parent / "output" / "jobs"
    with at_work(client, videos / "long.mp4") as job:
        wait_for(lambda: client.get(job["status_url"]).json()["stage"] == "analysing")
        published = {*output.glob("runs/*")}
        began = time.monotonic()
        assert client.delete(job["cancel_url"]).json()["canceling"] is True
        assert finished(client, job)["status"] == "canceled"
        assert time.monotonic() - began < patience(5)
    assert client.delete(job["cancel_url"]).json()["status"] == "canceled"
    assert client.get(job["result_url"]).status_code == 410
    assert {*output.glob("runs/*")} == published
    assert rank(client, videos / "first.mp4").status_code == 200  # the next job runs


@canceling
def test_a_full_queue_refuses_and_says_when_to_come_back(client: httpx.Client, videos: Path) -> None:
    with at_work(client, videos / "long.mp4"):
        asks = [{"video_path": str(videos / "first.mp4"), "top_n": n + 10} for n in range(MAX_QUEUED + 1)]
        *waiting, refused = [client.post("/jobs", json=ask) for ask in asks]
        assert [job.json()["queue_position"] for job in waiting] == [1, 2, 3]
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/queue_full")
        assert 1 <= int(refused.headers["Retry-After"]) <= 300
        for job in waiting:
            assert client.delete(job.json()["cancel_url"]).json()["status"] == "canceled"


def test_progress_never_goes_back(client: httpx.Client, videos: Path) -> None:
    job = client.post("/jobs", json={"video_path": str(videos / "more/THIRD.MP4"), "top_n": 7}).json()
    seen = []
    while not seen or seen[-1]["status"] not in ("succeeded", "failed"):
        seen.append(client.get(job["status_url"]).json())
    percents = [shown["percent"] for shown in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert {shown["stage"] for shown in seen} >= {"opening", "analysing"}


@pytest.mark.parametrize(("name", "reason"), BROKEN.items())
def test_a_file_that_cannot_be_ranked_is_refused_with_its_reason(
    client: httpx.Client, videos: Path, name: str, reason: str
) -> None:
    refused = rank(client, videos / name)
    assert (refused.status_code, refused.json()["type"]) == (415, f"/problems/{reason}")
    assert refused.headers["Content-Type"] == "application/problem+json"
    (job,) = client.get("/jobs", params={"video_path": str(videos / name)}).json()["jobs"]
    assert (job["status"], job["problem"]["type"]) == ("failed", f"/problems/{reason}")


def test_a_job_recalls_its_video_and_changes_nothing_that_nightly_readers_see(
    client: httpx.Client, videos: Path, settings: Settings
) -> None:
    output = videos.parent / "output"

    def seen() -> dict[Path, bytes]:
        files = (path for path in output.rglob("*") if path.is_file() and output / "jobs" not in path.parents)
        return {path: path.read_bytes() for path in files if "analyses" not in path.parts}

    night = settings.model_copy(update={"select": Select(pattern="{first.mp4,second.mkv}")})
    assert rank_videos(night, return_state=True).is_completed()
    before = seen()
    assert rank(client, videos / "second.mkv", top_n=1).status_code == 200
    assert seen() == before
    (job, *_) = client.get("/jobs", params={"video_path": str(videos / "second.mkv")}).json()["jobs"]
    run_id = client.get(job["result_url"]).json()["run_id"]
    counts = json.loads((output / "jobs" / "runs" / f"{run_id}.json").read_text())["counts"]
    assert (counts["unchanged"], counts["windows"]) == (1, 0)  # not opened: scores and analyses are known
    assert pq.ParquetFile(*output.glob(f"jobs/library/*/{run_id}.parquet")).metadata.num_rows == 1


def test_what_the_newest_ranking_has_is_answered_without_a_run(
    client: httpx.Client, videos: Path, settings: Settings, service: Service
) -> None:
    night = settings.model_copy(update={"select": Select(pattern="{first.mp4,second.mkv}")})
    state = rank_videos(night, return_state=True)
    service.known.refresh()
    jobs = sum(service.jobs.tally().values())
    answer = rank(client, videos / "second.mkv").json()
    assert answer["run_id"] == state.result()["run_id"]
    assert answer == {**answer, **Answer.model_validate(answer).model_dump(exclude_unset=True)}
    assert [segment["score"] for segment in answer["top_segments"]]
    accepted = client.post("/jobs", json={"video_path": str(videos / "second.mkv")}).json()
    assert (accepted["status"], accepted["joined"]) == ("succeeded", True)
    assert client.get(accepted["result_url"]).json() == answer
    service.known_jobs.forget()  # as a restart does, or a service beside this one
    assert client.get(accepted["status_url"]).json()["status"] == "succeeded"
    assert client.get(accepted["result_url"]).json() == answer
    for nobody in (accepted["id"][:-1] + "g", accepted["id"][:-1], "0" + accepted["id"][1:]):
        assert client.get(f"/jobs/{nobody}").status_code == 404
    assert client.delete(accepted["cancel_url"]).json()["status"] == "succeeded"
    assert sum(service.jobs.tally().values()) == jobs
    (videos / "second.mkv").touch()  # another version
    again = rank(client, videos / "second.mkv").json()
    assert again["run_id"] != answer["run_id"]
    assert again["top_segments"] == answer["top_segments"]


def test_jobs_are_listed_in_pages(client: httpx.Client, videos: Path) -> None:
    rank(client, videos / "first.mp4", top_n=1)
    rank(client, videos / "first.mp4", top_n=2)
    query = {"video_path": str(videos / "first.mp4"), "status": "succeeded", "limit": 1}
    first = client.get("/jobs", params=query).json()
    second = client.get(first["next"]).json()
    ids = [page["jobs"][0]["id"] for page in (first, second)]
    assert len({*ids}) == 2
    times = [page["jobs"][0]["created_at"] for page in (first, second)]
    assert times == sorted(times, reverse=True)


def test_the_service_says_how_it_is(
    client: httpx.Client, videos: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank(client, videos / "first.mp4", top_n=1)
    health = client.get("/health").json()
    assert health["status"] == "healthy"
    assert health["device"] in ("cpu", "cuda")
    wait_for(lambda: client.get("/health").json()["videollama3_loaded"])
    assert health["whisper_loaded"] in (True, False)  # another test of this process may have loaded it
    assert client.get("/livez").json() == client.get("/readyz").json() == {"status": "ok"}
    monkeypatch.setattr(service.known, "_has_looked", False)  # its videos would become jobs
    assert "being read" in client.get("/readyz").json()["detail"]


def test_a_job_can_be_watched(client: httpx.Client, videos: Path) -> None:
    job = client.post("/jobs", json={"video_path": str(videos / "first.mp4"), "top_n": 5}).json()
    with client.stream("GET", f"{job['status_url']}/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = [line.partition(": ") for line in stream.iter_lines() if line]
    kinds = [value for name, _, value in lines if name == "event"]
    shown = [json.loads(value) for name, _, value in lines if name == "data"]
    assert kinds == ["progress"] * (len(kinds) - 1) + ["ended"]
    assert shown[-1]["status"] == "succeeded"
    assert [each["percent"] for each in shown] == sorted(each["percent"] for each in shown)
    assert len({json.dumps(each) for each in shown}) == len(shown)
    assert client.get("/jobs/nobody/events").status_code == 404


def test_metrics_count_what_was_done(client: httpx.Client, videos: Path) -> None:
    def read() -> dict[str, float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        assert not any("mp4" in str(sample.labels) for sample in samples)
        return {"/".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}

    before = read()
    assert rank(client, videos / "first.mp4", top_n=6, stride_seconds=4).status_code == 200
    after = read()
    grew = {name: after[name] - before.get(name, 0) for name in after}
    assert grew["hookline_jobs_ended_total/succeeded"] == grew["hookline_job_seconds_count"] == 1
    assert grew["hookline_jobs/succeeded"] == 1
    assert grew["hookline_windows_total"] == 4
    assert grew["hookline_segments_total"] >= 1
    assert grew["hookline_stage_seconds_total/fast"] > 0
    assert after["hookline_queue_depth"] == 0
    assert after["hookline_tokens_total/prompt"] > after["hookline_tokens_total/output"] > 0


def test_a_request_keeps_its_id(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    assert len(client.get("/livez", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"]) == 32


def test_old_jobs_are_forgotten(
    client: httpx.Client, videos: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*service.jobs.list()]
    monkeypatch.setattr(own_jobs, "MAX_KNOWN", len(before))
    job = client.post("/jobs", json={"video_path": str(videos / "first.mp4"), "top_n": 8}).json()
    assert [each.id for each in service.jobs.list()] == [job["id"], *(each.id for each in before[:-1])]
    assert client.get(f"/jobs/{before[-1].id}").status_code == 404
    finished(client, job)


@canceling
def test_who_asks_for_what_is_being_canceled_gets_a_job_of_their_own(
    client: httpx.Client, videos: Path
) -> None:
    ask = {"video_path": str(videos / "long.mp4"), "top_n": 100, "stride_seconds": 1}
    with at_work(client, videos / "long.mp4") as job:
        client.delete(job["cancel_url"])
        another = client.post("/jobs", json=ask).json()
        assert (another["joined"], another["id"] == job["id"]) == (False, False)
        client.delete(another["cancel_url"])
        assert finished(client, another)["status"] == "canceled"


@pytest.mark.parametrize(("lost", "status"), [("result", 410), ("version", 409)])
def test_a_result_that_is_lost_or_of_another_version_is_made_again(
    lost: str, status: int, client: httpx.Client, service: Service, videos: Path
) -> None:
    ask = {"video_path": str(videos / "first.mp4"), "top_n": 3}
    shown = finished(client, client.post("/jobs", json=ask).json())
    job = service.jobs.get(shown["id"])
    assert job
    if lost == "result":
        job.run_id = job.run_id.replace("Z-", "Z-0")
    else:
        job.video = replace(job.video, etag="of another version")
    assert client.get(shown["result_url"]).status_code == status
    again = client.post("/jobs", json=ask).json()
    assert again["id"] != shown["id"]
    assert client.get(finished(client, again)["result_url"]).status_code == 200


@pytest.mark.logs_error
def test_a_prefect_server_that_fails_costs_one_job_and_not_the_service(
    client: httpx.Client, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise HooklineError("The service's Prefect server is too busy.")

    with monkeypatch.context() as broken:
        broken.setattr(PrefectRuns, "claim", refuse)
        broken.setattr(PrefectRuns, "note", refuse)
        job = client.post("/jobs", json={"video_path": str(videos / "first.mp4"), "top_n": 76}).json()
        assert finished(client, job)["problem"]["type"] == "/problems/unexpected"
        broken.setattr(PrefectRuns, "create", refuse)
        refused = client.post("/jobs", json={"video_path": str(videos / "first.mp4"), "top_n": 77})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
    assert rank(client, videos / "first.mp4", top_n=76).status_code == 200


def test_a_page_goes_on_after_a_job_that_is_of_another_status_by_now(
    client: httpx.Client, videos: Path
) -> None:
    finished(client, client.post("/jobs", json={"video_path": str(videos / "first.mp4"), "top_n": 3}).json())
    failing = client.post("/jobs", json={"video_path": str(videos / "empty.mp4")}).json()
    assert finished(client, failing)["status"] == "failed"
    rest = client.get("/jobs", params={"status": "succeeded", "before": failing["id"]}).json()
    assert rest["jobs"]


def test_a_claim_whose_reply_is_lost_is_made_again(service: Service) -> None:
    from prefect.settings import PREFECT_API_URL

    runs = PrefectRuns(str(PREFECT_API_URL.value()), flow="of-nobody")
    run = runs.create({}, {}, key="once")
    assert runs.claim(run["id"])
    assert runs.claim(run["id"])  # as `_call` asks again
    runs.set_state(run["id"], "CANCELLED", "Cancelled", force=True)
    assert runs.claim(run["id"]) is None
    runs.close()


def test_models_are_looked_for_anew(
    client: httpx.Client, service: Service, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[Settings]()

    def noted(settings: Settings, **how: Any) -> RunSpec:
        looked.append(settings)
        return find_models(settings, **how)

    monkeypatch.setattr("hookline.api.service.service.find_models", noted)
    ask = {"video_path": str(videos / "first.mp4"), "top_n": 3}
    client.post("/jobs", json=ask)
    looked.clear()
    client.post("/jobs", json=ask)
    assert looked == []
    monkeypatch.setattr("hookline.api.service.service.MODELS_HOLD_S", 0.0)
    client.post("/jobs", json=ask)
    assert len(looked) == 1
