"""How the work of a run is spread over GPUs and machines."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.settings.group import Group


class Engine(Group):
    """How the work is spread: over the GPUs of one machine, or over many machines."""

    runner: Literal["process", "dask"] = Field(
        "process",
        title="Runner",
        description="process: this machine does everything, with a process for each of its GPUs. "
        "dask: a Dask cluster does it, which runs on as many machines as there are.",
    )
    gpu_workers: int = Field(
        0,
        title="GPU workers",
        description="Processes that hold the models; 0 = one for each GPU, and on a machine without any the "
        "models share the flow's own process. Those beyond the number of GPUs work on the CPU.",
        ge=0,
        le=64,
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto",
        title="Device",
        description="Where models compute. auto: on the GPUs, and on the CPU only where no GPU is seen at "
        "all; one that is seen but cannot be used ends the run, with the reason. cuda: on GPUs or not at "
        "all. cpu: GPUs are left alone.",
    )
    dask_address: str = Field(
        "",
        title="Dask scheduler",
        description="Where the Dask scheduler is, for runner dask: tcp://host:8786.",
        examples=["tcp://scheduler.internal:8786"],
    )
    workers: int = Field(
        4,
        title="Videos decoded at once",
        description="Videos that a machine fetches and decodes ahead at the most: fewer while the models are "
        "slower.",
        ge=1,
        le=64,
    )

    @model_validator(mode="after")
    def _dask_is_somewhere(self) -> Self:
        if self.runner == "dask" and not self.dask_address:
            raise ValueError("runner dask needs dask_address, e.g. tcp://scheduler.internal:8786")
        return self
