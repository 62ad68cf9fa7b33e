"""What a campaign file does not say and Kubernetes has to know. Read from one YAML file, every key optional."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from jobs.errors import Fault, InputError
from jobs.files.yaml_document import read_yaml, validate
from orchestrator.campaign.fields import Positive, StrictModel

Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Gibibytes = Annotated[int, Field(ge=1, le=16384)]
# A digest alone stands after an @: before one elsewhere stands a password.
Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*(@sha256:[0-9a-f]{64})?$")]
Count = Annotated[int, Field(ge=1, le=100_000)]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]  # what a field of KubeRay holds


class NodeSection(StrictModel):
    """The largest node that workers may get: what does not fit there can never be scheduled."""

    cpus: Positive
    memory_gib: Gibibytes
    gpus: Annotated[int, Field(ge=0)] = 0


class RenderOptions(StrictModel):
    """Where and with what a campaign runs on Kubernetes. Nothing here changes a result."""

    image: Image = Field("adapterfleet:0.1.0-cpu", description="image of head, workers and submitter")
    namespace: Label = "adapterfleet"
    store_claim: Label = Field("adapterfleet-store", description="ReadWriteMany claim that holds the workspace")
    tracking: str = Field("http://adapterfleet-mlflow:5000", description="MLflow server, or off")
    hub_secret: Label | None = Field(None, description="Secret with the key HF_TOKEN; only its name is written")
    banks: Count = Field(2, description="banks at once where the campaign leaves it open")
    evaluators: Count = Field(2, description="warm evaluators where the campaign leaves it open")
    evaluators_per_pod: Count = 4
    memory_per_bank_gib: Gibibytes = 8
    memory_per_evaluator_gib: Gibibytes = 4
    head_memory_gib: Gibibytes = 8
    attempts: Annotated[int, Field(ge=0, le=10)] = Field(3, description="new clusters after a failure")
    start_within_seconds: Seconds = Field(3600, description="the job fails when it does not run by then")
    keep_seconds: Seconds = Field(604800, description="the RayJob object goes this long after the end")
    largest_node: NodeSection | None = None


def load_options(file: Path | None) -> RenderOptions:
    """The options in `file`, or the defaults. Raises InputError with every fault on its line."""
    if file is None:
        return RenderOptions()
    document = read_yaml(file)
    if not isinstance(document.content, dict):
        raise InputError(Fault("options are a mapping", document.where(()), type(document.content).__name__))
    return validate(document, RenderOptions)
