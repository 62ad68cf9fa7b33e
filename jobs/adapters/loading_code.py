"""Python that loads an adapter directory with the library that its format belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.backbones import embedded_backbone
from jobs.backbones.installed import packaged_of
from jobs.spec import AdapterConfig, BackboneRef, BottleneckConfig, TaskKind

# Model types that `adapters` has no model with flexible heads of: it finds its way in the class of transformers.
BY_INTERFACE = ("modernbert",)


def loaded_by_interface(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of the adapter whose configuration file is `document`, for `loading_code`; often nothing."""
    known = "config" in document and document.get("model_type") in BY_INTERFACE  # PEFT's files nest no `config`
    return {"by_interface": True} if known else {}


def interface_lines(source: str) -> list[str]:
    """Python for `model`, transformers' own from `source`, ready for adapters of a type of `BY_INTERFACE`."""
    return [
        f"model = AutoModelForMaskedLM.from_pretrained({source})",
        "adapters.init(model)  # `adapters` has no AutoAdapterModel of this architecture",
        # 1.3.0 wraps ModernBERT's joint projection and leaves the new module's bias as it was drawn.
        "for layer in () if model.config.attention_bias else model.model.layers:",
        "    layer.attn.Wqkv.bias = None  # which adapters 1.3.0 adds, with random values",
    ]


def loading_code(
    backbone: BackboneRef, adapter: str, task: str = "", language: str = "", by_interface: bool = False
) -> str:
    """Python that loads an adapter directory with plain `adapters` and activates it.

    With `task` (a directory) that task adapter is stacked on `adapter`; with `language`, `adapter` is itself a
    task adapter and is stacked on that language adapter. `by_interface`: see `loaded_by_interface`.
    """
    if by_interface:
        return _interface_code(backbone, adapter, task, language)
    imports = ["from adapters import AutoAdapterModel"]
    lines = [f"model = AutoAdapterModel.from_pretrained({_source(backbone)})"]
    stack = [("language", language), ("task", adapter)] if language else [("language", adapter), ("task", task)]
    if not (task or language):
        return _program(backbone, imports, [*lines, f"model.load_adapter({json.dumps(adapter)}, set_active=True)"])
    imports.append("from adapters.composition import Stack")
    lines += [f"{name} = model.load_adapter({json.dumps(path)})" for name, path in stack]
    return _program(backbone, imports, [*lines, "model.active_adapters = Stack(language, task)"])


def _interface_code(backbone: BackboneRef, adapter: str, task: str, language: str) -> str:
    imports, lines = (
        ["import adapters", "from transformers import AutoModelForMaskedLM"],
        interface_lines(_source(backbone)),
    )
    if not (task or language):
        return _program(backbone, imports, [*lines, f"model.load_adapter({json.dumps(adapter)}, set_active=True)"])
    below, above = (language, adapter) if language else (adapter, task)
    imports[1:1] = ["from adapters.composition import Stack"]
    imports += ["from jobs.adapters.adapterhub import read_adapter", "from jobs.tasks.heads import head_layers"]
    lines += [
        f'language = model.load_adapter({json.dumps(below)}, load_as="language")',
        f'task = model.load_adapter({json.dumps(above)}, load_as="task", with_head=False)',
        "model.active_adapters = Stack(language, task)",
        "# Nor has it a place for the task's head here; ours is applied to the last hidden states:",
        f"head = head_layers(read_adapter({json.dumps(above)}), model.device)",
        "# head(model.base_model(**inputs).last_hidden_state)",
    ]
    return _program(backbone, imports, lines)


def _program(backbone: BackboneRef, imports: Sequence[str], lines: Sequence[str]) -> str:
    own = ["from jobs.backbones import embedded_backbone"] if _source(backbone) == _EMBEDDED else []
    own += ["from jobs.backbones.installed import install, packaged_named"] if packaged_of(backbone) else []
    return "\n".join([*imports, *own, "", *lines])


_EMBEDDED = "str(embedded_backbone())"


def _source(backbone: BackboneRef) -> str:
    if not backbone.revision.startswith("sha256:"):
        return f"{json.dumps(backbone.name)}, revision={json.dumps(backbone.revision)}"
    if backbone.name == embedded_backbone().name:
        return _EMBEDDED
    if packaged_of(backbone):
        return f"install(packaged_named({json.dumps(backbone.name)}))"
    return json.dumps(backbone.path or f"directory of {backbone.name}")


def peft_loading_code(backbone: BackboneRef, adapter: str) -> str:
    """Python that loads a LoRA, (IA)3, Kronecker or prefix adapter onto its backbone with PEFT."""
    imports = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM"]
    lines = [
        "# AutoModelForSeq2SeqLM for a T5-like backbone, AutoModelForMaskedLM for an encoder",
        f"model = AutoModelForCausalLM.from_pretrained({_source(backbone)})",
        f"model = PeftModel.from_pretrained(model, {json.dumps(adapter)})",
    ]
    return _program(backbone, imports, lines)


# The classes of transformers whose head a task adapter's directory fills.
_HEADED: dict[TaskKind, str] = {
    "ner": "AutoModelForTokenClassification",
    "pos": "AutoModelForTokenClassification",
    "classification": "AutoModelForSequenceClassification",
    "qa": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
}


def headed_loading_code(backbone: BackboneRef, adapter: str, kind: TaskKind, labels: Sequence[str]) -> str:
    """Python that loads a task adapter of PEFT's kinds with its head onto an encoder."""
    imports = ["from peft import PeftModel", f"from transformers import {_HEADED[kind]}"]
    names = "id2label=dict(enumerate(labels)), label2id={label: number for number, label in enumerate(labels)}"
    lines = [
        *([f"labels = {json.dumps(list(labels), ensure_ascii=False)}"] if labels else []),
        f"model = {_HEADED[kind]}.from_pretrained({_source(backbone)}{', ' + names if labels else ''})",
        f"model = PeftModel.from_pretrained(model, {json.dumps(adapter)})",
    ]
    return _program(backbone, imports, lines)


def peft_merge_code(backbone: BackboneRef, adapter: str, task: Mapping[str, Any]) -> str:
    """Python that loads what was merged for `task`, the spec of a record: with its head, where it has one."""
    if task.get("prompt") or task["kind"] not in _HEADED:
        return peft_loading_code(backbone, adapter)
    return headed_loading_code(backbone, adapter, task["kind"], task.get("labels", ()))


def peft_stacking_code(language: str) -> str:
    """Further lines for `peft_loading_code`: the language adapter in the directory `language` acts below."""
    return "\n".join(
        [
            f'model.load_adapter({json.dumps(language)}, adapter_name="language")',
            'model.base_model.set_adapter(["language", "default"])',
        ]
    )


def _text_source(backbone: BackboneRef) -> str:
    """As `_source`, for what takes no paths but texts."""
    source = _source(backbone)
    return f"str({source})" if source.startswith("install(") else source


def vllm_code(backbone: BackboneRef, name: str, rank: int) -> str:
    """Python that serves the LoRA in the directory it stands in with vLLM, under the LoRA's `name`."""
    imports = ["from vllm import LLM, SamplingParams", "from vllm.lora.request import LoRARequest"]
    lines = [
        f"llm = LLM(model={_text_source(backbone)}, enable_lora=True, max_lora_rank={rank})",
        f'adapter = LoRARequest({json.dumps(name)}, 1, ".")',
        "asked = SamplingParams(temperature=0.0, max_tokens=64)",
        'print(llm.generate(["..."], asked, lora_request=adapter)[0].outputs[0].text)',
    ]
    return _program(backbone, imports, lines)


def ray_serve_code(backbone: BackboneRef, name: str, rank: int) -> str:
    """Python that serves it with Ray Serve LLM, which loads adapters from a bucket as requests name them."""
    source, _, revision = _text_source(backbone).partition(", revision=")
    engine = {"enable_lora": "True", "max_loras": "4", "max_lora_rank": str(rank)} | (
        {"revision": revision} if revision else {}
    )
    lines = [
        f"# copy this directory to s3://BUCKET/adapters/{name}; requests name the model {json.dumps(f'base:{name}')}",
        "config = LLMConfig(",
        f'    model_loading_config={{"model_id": "base", "model_source": {source}}},',
        '    lora_config={"dynamic_lora_loading_path": "s3://BUCKET/adapters", "max_num_adapters_per_replica": 4},',
        f"    engine_kwargs={{{', '.join(f'{json.dumps(key)}: {value}' for key, value in engine.items())}}},",
        ")",
        'serve.run(build_openai_app({"llm_configs": [config]}), blocking=True)',
    ]
    return _program(backbone, ["from ray import serve", "from ray.serve.llm import LLMConfig, build_openai_app"], lines)


def own_loading_code(backbone: BackboneRef, adapter: AdapterConfig, by_interface: bool = False) -> str:
    """Python that loads the directory it stands in, an adapter of this shape, alone."""
    if isinstance(adapter, BottleneckConfig):
        return loading_code(backbone, ".", by_interface=by_interface)
    return peft_loading_code(backbone, ".")
