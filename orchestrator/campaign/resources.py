"""The section of a campaign that says what its work may take; it never changes a result."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from jobs.banks.sharded.memory_model import Choice, check_workers
from jobs.errors import InputError
from orchestrator.campaign.fields import Positive, StrictModel


class ResourcesSection(StrictModel):
    """What jobs may use. Never enters identity: changing it reuses every finished step."""

    bank_size: Annotated[int, Field(ge=0)] = Field(0, description="languages trained together; 0: chosen")
    banks_at_once: Annotated[int, Field(ge=0)] = Field(0, description="0: as many as the cluster has room for")
    workers_per_bank: Positive = Field(1, description="most workers that train one bank together, data parallel")
    cpus_per_bank: Annotated[float, Field(gt=0)] = Field(1, description="CPUs of each of a bank's workers")
    gpus_per_bank: Annotated[float, Field(ge=0)] = Field(
        0, description="GPUs of each of a bank's workers; a part of one, e.g. 0.5, with a single worker"
    )
    sharding: Choice = Field(
        "auto", description="LoRA on decoders: auto takes none or ddp where the backbone fits, else zero-2, else zero-3"
    )
    deepspeed: dict[str, Any] = Field(
        default_factory=dict, description="more of DeepSpeed's settings; what contradicts the campaign is a fault"
    )
    evaluators: Annotated[int, Field(ge=0)] = Field(0, description="warm evaluators; 0: one per free CPU or GPU")
    cpus_per_evaluator: Annotated[float, Field(gt=0)] = 1
    gpus_per_evaluator: Annotated[float, Field(ge=0)] = 0
    attempts: Positive = Field(2, description="tries of a step before it counts as failed")

    @model_validator(mode="after")
    def _one_rank_per_gpu(self) -> ResourcesSection:
        if self.workers_per_bank > 1 and self.gpus_per_bank % 1:
            raise ValueError(
                f"{self.workers_per_bank} workers of one bank with {self.gpus_per_bank:g} GPUs each: two of them could "
                "meet on one GPU, where NCCL fails; give each worker whole GPUs, or use one worker"
            )
        return self

    @model_validator(mode="after")
    def _sharding_fits_workers(self) -> ResourcesSection:
        try:
            check_workers(self.sharding, self.workers_per_bank)
        except InputError as unfit:
            raise ValueError(f"{unfit.faults[0].what}; {unfit.faults[0].todo}") from unfit
        return self
