"""Tasks of lm-evaluation-harness: the same figures as `lm_eval` gives for the exported adapter, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from data_files import json_lines
from tiny_backbone import word_tokenizer
from tiny_models import make_model
from tokenizers import processors

from jobs.adapters.formats import read_adapter, write_adapter
from jobs.errors import InputError
from jobs.evaluation.evaluator import Stack
from jobs.evaluation.harness_tasks import pinned_task
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.files.digest import directory_digest
from jobs.merging.mixture import mix
from jobs.spec import (
    BackboneRef,
    DataRef,
    EvaluationSpec,
    JobCall,
    Mixture,
    MixtureSpace,
    SearchSpec,
    TaskRef,
    no_progress,
)
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.worker import Worker

lm_eval = pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

FILES = {split: f"data/{split}.jsonl" for split in ("train", "validation", "test")}
COMMON = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": FILES},
    "training_split": "train",
    "validation_split": "validation",
    "test_split": "test",
}
CHOICES = {
    **COMMON,
    "task": "tiny_choices",
    "output_type": "multiple_choice",
    "doc_to_text": "{{left}} w60",
    "doc_to_choice": ["w70", "w71 w72", "w73"],
    "doc_to_target": "label",
}
CLOZE = {
    **COMMON,
    "task": "tiny_cloze",
    "output_type": "loglikelihood",
    "doc_to_text": "{{left}}",
    "doc_to_target": " {{right}}",
}
TEXTS = {
    **COMMON,
    "task": "tiny_texts",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
}
WRITTEN = {
    **COMMON,
    "task": "tiny_written",
    "output_type": "generate_until",
    "doc_to_text": "{{left}}",
    "doc_to_target": "{{right}}",
    "generation_kwargs": {"until": ["w3 "], "max_gen_toks": 5},
    "filter_list": [
        {"name": "first", "filter": [{"function": "regex", "regex_pattern": "(w[0-9]+)"}, {"function": "take_first"}]},
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ],
}


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return [
        {"left": f"w{a} w{b}", "right": f"w{c}", "label": int(a % 3), "text": " ".join(f"w{i}" for i in long)}
        for a, b, c, *long in rng.integers(0, 40, (count, 80))
    ]


def write_task(folder, config, name="task"):
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def adapter_at(folder, model, seed, scale=0.5):
    """A LoRA as PEFT itself saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    made = get_peft_model(AutoModelForCausalLM.from_pretrained(model), settings)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=scale)
    made.save_pretrained(str(folder))
    return folder


def flat(value):
    if not isinstance(value, list | tuple):
        yield value
        return
    for one in value:
        yield from flat(one)


class World:
    """A tiny Llama, two adapters, task files, and an evaluator."""

    def __init__(self, folder):
        self.folder, self.tasks = folder, folder / "tasks"
        (self.tasks / "data").mkdir(parents=True)
        for place, (split, count) in enumerate((("train", 8), ("validation", 7), ("test", 9))):
            json_lines(self.tasks / "data" / f"{split}.jsonl", rows(count, place))
        for config in (CHOICES, CLOZE, TEXTS, WRITTEN):
            write_task(self.tasks, config, config["task"])
        model = folder / "model"
        make_model(model, "llama")
        tokenizer = word_tokenizer()  # whose texts do not end by themselves
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            "<s> $A", special_tokens=[("<s>", 0)]
        )
        tokenizer.save_pretrained(model)
        self.model = str(model)
        self.backbone = BackboneRef("llama", directory_digest(model), self.model)
        self.one, self.other = (adapter_at(folder / f"adapter{seed}", self.model, seed) for seed in (1, 2))
        self.evaluator = LanguageEvaluator(self.backbone, folder / "cache", "cpu")

    def data(self, task, folder=None, **changes):
        files = (("directory", str(folder or self.tasks)),)
        return DataRef("lm-eval", "gl", "", dataset=task, files=files, **changes)

    def set(self, name, metric="", split="test", shots=None, filter="", **changes):
        task = TaskRef("t", "lm-eval", metric="" if metric == "acc" else metric, shots=shots, filter=filter)
        data = pinned_task(self.data(name, **changes), split, task, self.folder / "cache")
        return EvaluationSet(task, data, split, 0)

    def score(self, evaluation, **weights):
        paths = {"one": self.one, "other": self.other}
        mixture = Mixture(tuple(weights.items()), "linear") if weights else None
        return self.evaluator.evaluate(evaluation, Stack(mixture, {key: paths[key] for key in weights}))

    def harness(self, name, adapter, monkeypatch, **options):
        """What `lm_eval` itself says; its relative paths begin where it is started."""
        from lm_eval.tasks import TaskManager

        monkeypatch.chdir(self.tasks)
        monkeypatch.setenv("HF_DATASETS_CACHE", str(self.folder / "hf"))
        arguments = {"pretrained": self.model, "dtype": "float32", **({"peft": str(adapter)} if adapter else {})}
        return lm_eval.simple_evaluate(
            model="hf",
            model_args=arguments,
            tasks=[name],
            task_manager=TaskManager(include_path=str(self.tasks), include_defaults=False),
            device="cpu",
            batch_size=2,
            bootstrap_iters=0,
            **options,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("harness"))


CASES = [
    ("tiny_choices", "acc", "none", 100.0),
    ("tiny_choices", "acc_norm", "none", 100.0),
    ("tiny_cloze", "perplexity", "none", 1.0),
    ("tiny_texts", "word_perplexity", "none", 1.0),
    ("tiny_texts", "byte_perplexity", "none", 1.0),
    ("tiny_texts", "bits_per_byte", "none", 1.0),
    ("tiny_written", "exact_match", "first", 100.0),
    ("tiny_written", "exact_match", "whole", 100.0),
]


@pytest.mark.parametrize("task", ["tiny_choices", "tiny_cloze", "tiny_texts", "tiny_written"])
def test_figures_are_those_of_lm_eval_for_the_exported_adapter(world, monkeypatch, task):
    expected = world.harness(task, world.one, monkeypatch)
    for _, metric, filter, factor in (case for case in CASES if case[0] == task):
        named = "" if filter == "none" else filter
        found = world.score(world.set(task, metric, filter=named), one=1.0)
        assert found.value == pytest.approx(factor * expected["results"][task][f"{metric},{filter}"], rel=1e-5)
        assert len(found.statistics) == 9 and found.details["logit_change"] > 1e-3
        samples = [one for one in expected["samples"][task] if one["filter"] == filter]
        theirs = list(flat([one["filtered_resps"] for one in samples]))
        ours = list(flat([row["answers"] for row in found.predictions]))
        assert [one for one in ours if not isinstance(one, float)] == [
            one for one in theirs if not isinstance(one, float)
        ]
        logs = [[one for one in answers if isinstance(one, float)] for answers in (ours, theirs)]
        assert logs[0] == pytest.approx(logs[1], abs=1e-4)


def test_a_mixture_scores_what_lm_eval_says_of_the_merged_adapter(world, monkeypatch):
    mixture = Mixture((("one", 0.7), ("other", -0.4)), "linear")
    merged = mix(mixture, {"one": read_adapter(world.one), "other": read_adapter(world.other)}, None, "merged")
    write_adapter(replace(merged, tensors=dict(merged.tensors)), world.folder / "merged")
    expected = world.harness("tiny_texts", world.folder / "merged", monkeypatch)["results"]["tiny_texts"]
    evaluation = world.set("tiny_texts", "bits_per_byte")
    found = world.score(evaluation, one=0.7, other=-0.4)
    assert found.value == pytest.approx(expected["bits_per_byte,none"], rel=1e-5)
    bare = world.harness("tiny_texts", None, monkeypatch)["results"]["tiny_texts"]["bits_per_byte,none"]
    assert world.score(evaluation).value == pytest.approx(bare, rel=1e-5) != pytest.approx(found.value, rel=1e-3)


def test_worked_examples_are_those_of_lm_eval(world, monkeypatch):
    expected = world.harness("tiny_cloze", world.one, monkeypatch, num_fewshot=3)["results"]["tiny_cloze"]
    found = world.score(world.set("tiny_cloze", "perplexity", shots=3), one=1.0)
    assert found.value == pytest.approx(expected["perplexity,none"], rel=1e-5)
    assert found.value != pytest.approx(world.score(world.set("tiny_cloze", "perplexity"), one=1.0).value, rel=1e-3)
    assert found.details["shots"] == 3


def test_a_text_is_tokenized_once_for_all_candidates(world):
    evaluation = world.set("tiny_choices")
    first = world.score(evaluation, one=1.0)
    prepared = world.evaluator.prepared(evaluation)
    prepared.model.tokenizer = None  # nobody asks it again
    assert world.score(evaluation, one=1.0).statistics.tolist() == first.statistics.tolist()
    assert world.score(evaluation, other=1.0).predictions != first.predictions


def test_choices_of_one_token_share_their_row(world):
    write_task(world.tasks, {**CHOICES, "task": "letters", "doc_to_choice": ["w70", "w71", "w73"]}, "letters")
    found = world.score(world.set("letters"), one=1.0)
    shared = world.evaluator.prepared(world.set("letters")).model
    likely = np.array([[value for value, _ in row["answers"]] for row in found.predictions])
    requests = [(None, [5, 6], [7]), (None, [5, 6], [9]), (None, [5], [6, 7])]
    alone = [shared._loglikelihood_tokens([one])[0][0] for one in requests]
    together = [value for value, _ in shared._loglikelihood_tokens(requests)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert (np.exp(likely).sum(axis=1) < 1).all()


def test_a_search_is_scored_on_validation_data_alone(world):
    labels = [row["label"] for row in rows(7, 1)]
    found = world.score(world.set("tiny_choices", split="validation"), one=1.0)
    assert [row["target"] for row in found.predictions] == labels
    part = world.set("tiny_choices", split="validation", limits=(("validation", 4),))
    part = replace(part, data=replace(part.data, share=0.5))
    assert [row["target"] for row in world.score(part, one=1.0).predictions] == labels[:2]
    sliced = (("test", "train[5:]"), ("validation", "train[:5]"))
    train = [row["label"] for row in rows(8, 0)]
    for split, expected in (("validation", train[:5]), ("test", train[5:])):
        scored = world.score(world.set("tiny_choices", split=split, splits=sliced), one=1.0)
        assert [row["target"] for row in scored.predictions] == expected


def test_a_worker_searches_and_evaluates_with_statistics_of_single_examples(world, tmp_path):
    worker, evaluation = Worker(), world.set("tiny_choices", split="validation")
    inputs = {"language:en@1": world.one, "language:es@1": world.other}
    space = MixtureSpace((("en", "es"),), (0.5,))
    spec = SearchSpec("gl", evaluation.task, evaluation.data, world.backbone, space, (1,), 0)
    call = JobCall("search", spec, inputs, tmp_path, tmp_path, world.folder / "cache")
    trial = worker.score(call, Mixture((("en", 0.5), ("es", 0.5)), "linear"))
    assert trial.values[1] == pytest.approx(world.score(evaluation, one=0.5, other=0.5).value)
    folded = worker.score(replace(call, spec=replace(spec, folds=3)), Mixture((("en", 0.5), ("es", 0.5)), "linear"))
    assert len(folded.folds[1]) == 3
    test = world.set("tiny_cloze", "perplexity")
    scored = EvaluationSpec("gl", test.task, test.data, world.backbone, 1, (("language:en", 1.0),), "test", 0)
    result = worker.run(
        JobCall("e", scored, {"language:en": world.one}, tmp_path, tmp_path, world.folder / "cache"), no_progress
    )
    kept = json.loads((tmp_path / "statistics.json").read_text())
    assert kept["columns"] == ["examples", "acc", "negative_log_likelihood"] and len(kept["rows"]) == 9
    mean = np.mean([row[2] for row in kept["rows"]])
    assert result.metrics["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)
    assert result.details["harness"].startswith("lm-eval 0.4.") and result.details["harness_task"] == "tiny_cloze"


def test_an_adapter_that_changes_no_logit_is_told_from_one_that_need_not(world, tmp_path):
    evaluation = world.set("tiny_choices")
    silent = adapter_at(tmp_path / "silent", world.model, 3, scale=1e-30)
    with pytest.raises(InputError, match=r"the adapters change no logit.*bare model"):
        world.evaluator.evaluate(evaluation, Stack(Mixture((("one", 1.0),), "linear"), {"one": silent}))
    initial = adapter_at(tmp_path / "initial", world.model, 3, scale=0.0)
    found = world.evaluator.evaluate(evaluation, Stack(Mixture((("one", 1.0),), "linear"), {"one": initial}))
    assert found.value == world.score(evaluation).value and found.details["logit_change"] == 0


HUB = {key: value for key, value in CHOICES.items() if key not in ("dataset_path", "dataset_kwargs")}


@pytest.mark.parametrize(
    ("changes", "split", "task", "said"),
    [
        ({"dataset_path": "cais/mmlu", "dataset_kwargs": None}, "test", {}, r"on the hub, at no commit.*cais/mmlu"),
        ({"dataset_kwargs": {"data_files": "https://x.org/a"}}, "test", {}, r"fetches its data.*https://x.org/a"),
        ({"dataset_kwargs": {"data_files": "none.jsonl"}}, "test", {}, r"no such file of the task's data.*none.jsonl"),
        ({"dataset_kwargs": None}, "test", {}, "names no files of its data"),
        ({"validation_split": None}, "validation", {}, r"has no validation split.*test_split: test.*train\[:500\]"),
        ({"test_split": None}, "test", {}, "has no test split"),
        ({"validation_split": "test"}, "validation", {}, "validation and test would have rows in common"),
        ({}, "test", {"metric": "exact_match"}, r"does not have this metric.*got exact_match.*it has acc, acc_norm"),
        ({"metric_list": [{"metric": "bleurt"}]}, "test", {}, r"the metric is code on a hub.*bleurt"),
        ({"metric_list": [{"metric": "/tmp/x.py"}]}, "test", {}, r"the metric is code on a hub.*/tmp/x.py"),
        (
            {"metric_list": [{"metric": "acc", "aggregation": "median"}]},
            "test",
            {},
            "makes this metric in a way of its own",
        ),
        ({}, "test", {"filter": "strict"}, r"no such filter.*strict"),
        ({"fewshot_split": "test"}, "validation", {"shots": 2}, "worked examples would show the search test data"),
        ({"unsafe_code": True}, "test", {}, "runs what the model writes"),
        ({"generation_kwargs": {"do_sample": True}}, "test", {}, "draws its texts at random"),
        ({"task": "other"}, "test", {}, r"has no such task.*tiny_choices.*other"),
        ({"group": "tiny_choices", "task": ["a"]}, "test", {}, r"scored as its tasks.*name one of them: a"),
    ],
)
def test_what_keeps_a_task_from_being_scored_is_said_before_anything_runs(world, tmp_path, changes, split, task, said):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "data").symlink_to(world.tasks / "data")
    config = {key: value for key, value in {**CHOICES, **changes}.items() if value is not None}
    write_task(tmp_path / "tasks", config)
    data = world.data("tiny_choices", tmp_path / "tasks")
    with pytest.raises(InputError, match=said) as caught:
        pinned_task(data, split, TaskRef("t", "lm-eval", **task), tmp_path / "cache")
    assert all("\n" not in str(fault) for fault in caught.value.faults)


def test_a_data_set_of_the_hub_is_pinned_by_its_commit(world, tmp_path):
    write_task(tmp_path, {**HUB, "dataset_path": "cais/mmlu"})
    data = replace(world.data("tiny_choices", tmp_path), revision="5" * 40)
    found = pinned_task(data, "test", TaskRef("t", "lm-eval"), tmp_path / "cache")
    assert found.subset == "cais/mmlu" and f"@{'5' * 40}+sha256:" in found.revision


def test_changed_task_files_and_data_are_other_references(world, tmp_path):
    folder = tmp_path / "tasks"
    (folder / "data").mkdir(parents=True)
    for split in FILES:
        json_lines(folder / "data" / f"{split}.jsonl", rows(3, 1))
    write_task(folder, CHOICES)
    task = TaskRef("t", "lm-eval")

    def revision():
        return pinned_task(world.data("tiny_choices", folder), "test", task, tmp_path / "cache").revision

    first = revision()
    assert first == revision()
    json_lines(folder / "data" / "test.jsonl", rows(3, 2))
    second = revision()
    write_task(folder, {**CHOICES, "doc_to_text": "{{right}}"})
    assert len({first, second, revision()}) == 3


PROCESSED = "task: coded\ninclude: plain.yaml\nprocess_docs: !function code.kept\n"


def coded(world, folder):
    write_task(
        folder,
        {**CHOICES, "dataset_kwargs": {"data_files": {s: str(world.tasks / f) for s, f in FILES.items()}}},
        "plain",
    )
    (folder / "coded.yaml").write_text(PROCESSED)
    marker = folder / "ran"
    (folder / "code.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n\ndef kept(docs):\n    return docs.select(range(4))\n"
    )
    return marker


def test_python_of_a_directory_runs_where_it_is_said_and_nowhere_else(world, tmp_path):
    marker, task = coded(world, tmp_path), TaskRef("t", "lm-eval")
    for name in ("coded", "tiny_choices"):  # a file that is not asked for would be read as well
        with pytest.raises(InputError, match=r"coded.yaml:3.*names code to run \(got !function\).*run_code: true"):
            pinned_task(world.data(name, tmp_path), "test", task, tmp_path / "cache")
    assert not marker.exists()
    trusted = pinned_task(world.data("coded", tmp_path, run_code=True), "test", task, tmp_path / "cache")
    assert not marker.exists()
    assert len(world.score(EvaluationSet(task, trusted, "test", 0), one=1.0).statistics) == 4
    assert marker.exists()


def test_templates_of_task_files_are_rendered_in_a_sandbox(world, tmp_path):
    marker = tmp_path / "ran"
    escape = "{{ self.__init__.__globals__.__builtins__.open('" + str(marker) + "', 'w') }}"
    files = {split: str(world.tasks / file) for split, file in FILES.items()}
    write_task(tmp_path, {**CHOICES, "dataset_kwargs": {"data_files": files}, "doc_to_text": escape})
    task = TaskRef("t", "lm-eval")
    data = pinned_task(world.data("tiny_choices", tmp_path), "test", task, tmp_path / "cache")
    with pytest.raises(InputError, match=r"the task cannot be built.*unsafe"):
        world.score(EvaluationSet(task, data, "test", 0), one=1.0)
    assert not marker.exists()


def test_a_file_outside_the_directory_is_no_part_of_a_task(world, tmp_path):
    (tmp_path / "tasks").mkdir()
    write_task(tmp_path, CHOICES, "plain")
    (tmp_path / "tasks" / "task.yaml").write_text("task: mine\ninclude: ../plain.yaml\n")
    with pytest.raises(InputError, match=r"outside its directory"):
        pinned_task(world.data("mine", tmp_path / "tasks"), "test", TaskRef("t", "lm-eval"), tmp_path / "cache")


@pytest.mark.parametrize("name", ["t5", "xlm-roberta"])
def test_other_models_than_decoders_are_refused(world, tmp_path, name):
    evaluator = LanguageEvaluator(make_model(tmp_path / "model", name), tmp_path / "cache", "cpu")
    with pytest.raises(InputError, match=r"tasks of the harness are for decoders"):
        evaluator.prepared(world.set("tiny_choices"))


def test_the_harness_s_own_tasks_are_found_by_name(tmp_path):
    data, task = DataRef("lm-eval", "et", "5" * 40, dataset="xcopa_et"), TaskRef("t", "lm-eval")
    found = pinned_task(data, "validation", task, tmp_path)
    assert found.subset == "cambridgeltl/xcopa" and dict(found.splits) == {"validation": "validation", "test": "test"}
    assert found.revision == f"lm-eval-{lm_eval.__version__}@{'5' * 40}"
    for name, said in (
        ("mmlu", r"scored as its tasks.*mmlu_stem"),
        ("hellaswagg", r"no such task.*did you mean .hellaswag"),
        ("hellaswag", r"no test split"),
        ("humaneval", r"runs what the model writes"),
    ):
        with pytest.raises(InputError, match=said):
            pinned_task(replace(data, dataset=name), "test", task, tmp_path)
