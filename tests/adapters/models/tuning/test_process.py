"""How processes that tune are started, and what is told of one that failed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.tuning import child, process
from tasks.adapters.models.tuning.lessons import Job
from tasks.adapters.models.tuning.process import arguments, reason_in
from tasks.core.errors import ModelError

TORCHRUN = """Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
"""


def test_a_config_file_of_the_machine_turns_several_gpus_into_one_no_more(tmp_path: Path) -> None:
    config = tmp_path / "default_config.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nmixed_precision: 'no'\n"
        "num_machines: 1\nnum_processes: 1\nuse_cpu: false\ngpu_ids: '0'\n"
    )
    launcher, *rest = arguments(tmp_path / "job", processes=2)
    assert launcher == "accelerate.commands.launch"
    told = launch_command_parser().parse_args(["--config_file", str(config), *rest])
    told, *_ = _validate_launch_command(told)
    assert (told.multi_gpu, told.num_processes, told.gpu_ids) == (True, 2, "all")
    assert arguments(tmp_path / "job", processes=1) == arguments(tmp_path / "job", processes=0)


def test_what_a_killed_process_has_said_is_told_and_that_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel kills one that takes too much memory."""
    program = "import os, signal\nprint('epoch 1', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "killed.py").write_text(program)
    monkeypatch.setattr(process, "CHILD", "killed")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    job = Job(Checkpoint(tmp_path, "a", "1"), "cpu", "", "scores_first", 8, 160, (), 3, 1e-4, tmp_path, "")
    said: list[str] = []
    with pytest.raises(ModelError, match=r"code -9: it was killed, most often for memory.*run it again"):
        process.tune_in_processes(job, said.append)
    assert said == ["epoch 1"]


def test_the_first_process_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "end_with_parent", lambda *_: None)  # this process is the test's
    assert reason_in(tmp_path) == "it was killed, most often for memory"
    (tmp_path / "errors").write_text(TORCHRUN)
    assert reason_in(tmp_path).endswith("ChildFailedError:")
    for content in (b"no job", pickle.dumps("another")):
        (tmp_path / "job").write_bytes(content)
        with pytest.raises((pickle.UnpicklingError, AttributeError)):
            child.main(tmp_path / "job")
    assert reason_in(tmp_path).startswith("UnpicklingError: ")
