"""Prefix tuning (arXiv 2101.00190) on decoders: learned keys and values before each layer's own, as PEFT has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache

from jobs.adapters.adapter import Adapter
from jobs.errors import Fault, InputError
from jobs.models.language_model import LanguageModel

NAME = "prompt_embeddings"
# Their caches depend on the layer; PEFT fills such a one for these two, and plain layers for all others.
_MIXED_LAYERS = ("gemma2", "gemma3_text")


@dataclass(frozen=True, slots=True)
class Prefix:
    """`length` learned positions; tokens are numbered after them. `heads` are the key-value heads of a layer."""

    length: int
    layers: int
    heads: int

    def attach(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> RemovableHandle:
        """Put the prefixes [G, length, layers * 2 * heads * width] before every pass until the handle is removed.

        A pass that starts a sequence gets a cache that holds them; a mask, and positions that the caller counts
        without the prefix (`generate` does), are moved on.
        """
        stacked = tensors[NAME]

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
            ids, cache = kwargs["input_ids"], kwargs.get("past_key_values")
            changed = {**kwargs}
            if cache is None or cache.get_seq_length() == 0:
                changed["past_key_values"] = self._cache(module, stacked, len(ids))
            for name in ("cache_position", "position_ids"):
                if kwargs.get(name) is not None:
                    changed[name] = kwargs[name] + self.length
            if kwargs.get("attention_mask") is not None:
                mask = kwargs["attention_mask"]
                changed["attention_mask"] = torch.cat((mask.new_ones(len(mask), self.length), mask), 1)
            return args, changed

        return model.register_forward_pre_hook(before, with_kwargs=True)

    def _cache(self, model: Any, stacked: Tensor, rows: int) -> DynamicCache:
        groups = len(stacked)
        split = stacked.to(model.dtype).view(groups, self.length, 2 * self.layers, self.heads, -1)
        # [2 * layers, rows, heads, length, width]: each group's prefix before each of its rows.
        states = split.permute(2, 0, 3, 1, 4).repeat_interleave(rows // groups, 1)
        mixed = model.config.model_type in _MIXED_LAYERS
        cache = DynamicCache(config=model.config) if mixed else DynamicCache()
        for layer in range(self.layers):
            cache.update(states[2 * layer], states[2 * layer + 1], layer)
        return cache


def require_decoder(model: LanguageModel) -> None:
    """Raise InputError for families on which prefix tuning is not supported."""
    if model.family != "decoder":
        todo = "use LoRA, (IA)3 or LoKr with encoders and T5-like models"
        raise InputError(Fault("prefix tuning is supported on decoders alone", model.ref.name, model.family, todo))


def prefix_of(adapter: Adapter, model: LanguageModel) -> Prefix:
    """The prefix of a PEFT adapter. Raises InputError for families and shapes on which it is not supported."""
    require_decoder(model)
    settings = adapter.settings
    if settings.get("prefix_projection"):
        todo = "save the prefix itself (prefix_projection: false)"
        raise InputError(Fault("a prefix behind a projection is not supported", adapter.label, "", todo))
    length, layers, heads = (int(settings[key]) for key in ("num_virtual_tokens", "num_layers", "num_attention_heads"))
    text = model.model.config.get_text_config()
    own = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    wanted = (length, 2 * text.num_hidden_layers * own * width)
    found = tuple(adapter.tensors[NAME].shape)
    if (layers, heads) != (text.num_hidden_layers, own) or found != wanted:
        todo = f"the backbone has {text.num_hidden_layers} layers of {own} key-value heads of width {width}"
        raise InputError(Fault("the prefix was made for another backbone", adapter.label, str(list(found)), todo))
    return Prefix(length, layers, heads)
