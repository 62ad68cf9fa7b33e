"""One DeepSpeed engine that holds a backbone in parts and trains one LoRA adapter after another on it.

The adapter's modules are in the model before the engine is made, since ZeRO-3 partitions what it finds then; a next
language does not get new modules, its values are written into these, into the optimizer's master copies and moments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

from jobs.errors import Fault, InputError
from jobs.models.files import LOADING, read_config, unverified_files, weights_faults
from jobs.models.flat_layout import Layout
from jobs.models.row_dropout import dropouts_by_row
from jobs.models.rows import Rows
from jobs.models.weights_gate import weight_files
from jobs.runtime.phases import phase
from jobs.spec import BackboneRef

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when DeepSpeed is imported
import deepspeed
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
)

# The adapter's name inside the model; files do not carry it.
_NAME = "default"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class ShardedEngine:
    """A frozen causal language model with one LoRA adapter, in DeepSpeed; every rank calls the same methods."""

    @phase("loading")
    def __init__(self, ref: BackboneRef, theta_pre: Path, settings: Mapping[str, Any], weight_decay: float) -> None:
        """Load the backbone of `ref`, which the caller has verified, in parts where `settings` say ZeRO-3.

        torch.distributed is initialized. `theta_pre`: a PEFT directory whose configuration all adapters share.
        """
        # On CPUs DeepSpeed would compile a kernel of its own at this point; gloo does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_init_required=False)
        # Alive before the model is read: with ZeRO-3 each worker then keeps its part alone.
        self._alive = HfDeepSpeedConfig(dict(settings))
        files = unverified_files(ref)
        config = read_config(files)
        weight_files(files.folder, files.named)
        with weights_faults(files):
            model = AutoModelForCausalLM.from_pretrained(
                files.folder,
                config=config,
                dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
                use_safetensors=True,
                **LOADING,
            )
        model.requires_grad_(False)
        adapter = peft.PeftConfig.from_pretrained(str(theta_pre))
        adapter.inference_mode = False
        wrapped = peft.get_peft_model(model, adapter, autocast_adapter_dtype=False)
        self._dropouts = dropouts_by_row(wrapped, _NAME)
        self._parameters = {
            name.replace(f".{_NAME}.", "."): parameter
            for name, parameter in wrapped.named_parameters()
            if parameter.requires_grad
        }
        self.layout = Layout.of({name: _shape_of(one) for name, one in self._parameters.items()})
        self._adam = torch.optim.AdamW(list(self._parameters.values()), lr=0.0, weight_decay=weight_decay, fused=False)
        self._engine, *_ = deepspeed.initialize(model=wrapped, optimizer=self._adam, config=dict(settings))
        # The backbone's dropout is off, as in banks, and LoRA's is that of the rows.
        self._engine.eval()
        self._create_moments()

    @property
    def device(self) -> torch.device:
        """Where rows go."""
        return torch.device(self._engine.device)

    def token_losses(self, rows: Rows, labels: Tensor) -> Tensor:
        """Cross-entropy in nats of each labelled token [M] of one group's rows."""
        for module in self._dropouts:
            module.dropout = rows.dropout
        keep = None if rows.keep is None else rows.keep.long()
        logits = self._engine(input_ids=rows.ids, attention_mask=keep, use_cache=False).logits
        chosen = logits.flatten(0, 1)[rows.positions[0][rows.valid[0]]]
        return torch.nn.functional.cross_entropy(chosen.float(), labels, reduction="none")

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one batch of an accumulation; `loss` is this rank's part of a mean over all ranks."""
        # DeepSpeed takes the mean over the ranks, here the parts add up.
        self._engine.backward(loss * torch.distributed.get_world_size())

    def step(self, learning_rate: float) -> float:
        """End one batch; after the last one of an accumulation the weights move. Returns the gradient's norm."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float(norm) if norm is not None else 0.0

    def write(self, vector: Tensor, moments: Mapping[str, Tensor], steps: int) -> None:
        """Begin with the adapter `vector` [size] and the optimizer's `moments` after `steps` optimizer steps."""
        self._write_weights(self._split(vector))
        for name in _MOMENTS:
            for key, value in self._split(moments[name]).items():
                safe_set_full_optimizer_state(self._parameters[key], value, name)
        for state in self._adam.state.values():
            state["step"].fill_(float(steps))

    def weights(self) -> Tensor:
        """The adapter, gathered from all ranks: float32 [size] on the CPU. Raises RuntimeError for an empty tensor."""
        return self._gather(safe_get_full_fp32_param)

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's moments, each [size], gathered from all ranks."""
        return {key: self._gather(lambda one, key=key: safe_get_full_optimizer_state(one, key)) for key in _MOMENTS}  # type: ignore[misc]

    def _create_moments(self) -> None:
        """One step of nothing: DeepSpeed knows an optimizer's state after its first step only."""
        for _ in range(self._engine.gradient_accumulation_steps()):
            token = torch.zeros(1, 2, dtype=torch.long, device=self.device)
            self._engine.backward(self._engine(input_ids=token, use_cache=False).logits.float().sum() * 0.0)
            self._engine.step()

    def _write_weights(self, values: Mapping[str, Tensor]) -> None:
        with deepspeed.zero.GatheredParameters(list(self._parameters.values()), modifier_rank=0), torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(values[name])
        for name, parameter in self._parameters.items():
            safe_set_full_fp32_param(parameter, values[name])

    def _split(self, vector: Tensor) -> dict[str, Tensor]:
        return {name: one[0].to(self.device) for name, one in self.layout.split(vector[None]).items()}

    def _gather(self, read: Any) -> Tensor:
        tensors: dict[str, Tensor] = {}
        for name, shape in self.layout.shapes:
            found = read(self._parameters[name])
            if found is None or found.numel() == 0 or tuple(found.shape) != shape:
                got = "nothing" if found is None else str(list(found.shape))
                raise RuntimeError(f"DeepSpeed gave {got} for {name}, which has shape {list(shape)}")
            tensors[name] = found
        return self.layout.flatten(tensors).cpu()


def check_same_shape(layout: Layout, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError unless `tensors` are those that the engine's adapter has."""
    if Layout.of(tensors).shapes != layout.shapes:
        names = sorted({name for name, _ in layout.shapes} ^ set(tensors))
        got = f"e.g. {names[0]}" if names else "other shapes"
        raise InputError(Fault("the initial adapter was made for another backbone", where, got))


def _shape_of(parameter: Any) -> Tensor:
    """A tensor of the parameter's whole shape, which ZeRO-3 knows and has already taken away."""
    return torch.empty(getattr(parameter, "ds_shape", parameter.shape), device="meta")
