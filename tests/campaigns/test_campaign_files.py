"""Every campaign file of the repository loads and plans; nothing here needs the hub, whose commits stand in the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from jobs.spec import EvaluationSpec, LanguageAdapterSpec, SearchSpec
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.notes import campaign_notes
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.scheduling.cost import cost_model, trials

ROOT = Path(__file__).parents[2] / "campaigns"
FILES = sorted(ROOT.rglob("*.yaml"))
SCHEMA = "docs/campaign.schema.json"
PAPERS = {
    "language-arithmetic": ["enhancement", "low-resource", "relatedness", "ties", "zero-shot"],
    "language-and-task-arithmetic": [
        "figure-2",
        "table-1",
        "table-2",
        "table-3-kronecker",
        "table-4-tydiqa",
        "table-6",
    ],
    "adamergex": ["ablations", "backbone-t5", "backbone-xlm-r", "ia3", "lora", "prefix"],
}


def named(file):
    return file.relative_to(ROOT).with_suffix("").as_posix()


def variables(file, folder):
    """What a user gives on the command line: data that are there, a backbone and a tokenizer as files to pin."""
    given = yaml.safe_load(file.read_text()).get("variables") or {}
    found = {}
    if "data" in given:
        data = Path(os.environ.get("ADAPTERFLEET_TEST_DATA", ROOT.parents[1] / "shared" / "data"))
        if not data.is_dir():
            pytest.skip("the folder of real data is absent (ADAPTERFLEET_TEST_DATA)")
        found["data"] = str(data)
    if "backbone" in given:
        (folder / "backbone").mkdir()
        (folder / "backbone" / "config.json").write_text('{"model_type": "xlm-roberta"}')
        found["backbone"] = str(folder / "backbone")
    if "tokenizer" in given:
        (folder / "spiece.model").write_bytes(b"pieces")
        found["tokenizer"] = str(folder / "spiece.model")
    return found


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    made = {}

    def plan(file):
        if file not in made:
            folder = tmp_path_factory.mktemp("plan")
            made[file] = plan_campaign(load_campaign(file, variables(file, folder)), References(folder / "cache"))
        return made[file]

    return plan


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_campaign_file_plans_and_has_a_cost(plans, file):
    plan = plans(file)
    costs = cost_model([], {"language-adapter": 1.0, "task-adapter": 1.0, "search": 1.0})
    assert plan.comparisons and all(step.fingerprint for step in plan.steps)
    assert sum(costs.seconds(step) or 0.0 for step in plan.steps) > 0
    assert all(trials(step.spec) > 0 for step in plan.steps if isinstance(step.spec, SearchSpec))
    assert not campaign_notes(plan.campaign)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_an_answer_that_is_written_ends_and_begins_apart_from_its_prompt(plans, file):
    for task in plans(file).campaign.tasks:
        assert not task.answer or task.stop
        # In a chat the answer is a turn of its own.
        assert task.chat or all(text.startswith(" ") for text in (task.answer or " ", *task.choices))


@pytest.mark.parametrize("file", FILES, ids=named)
def test_an_editor_finds_the_schema(file):
    first = file.read_text().splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (file.parent / first.removeprefix(prefix)).resolve() == ROOT.parent / SCHEMA


@pytest.mark.parametrize("paper", PAPERS)
def test_every_campaign_of_a_paper_has_a_small_twin(paper):
    names = sorted(file.stem for file in (ROOT / paper).glob("*.yaml"))
    assert names == sorted([*PAPERS[paper], *(f"{name}-tiny" for name in PAPERS[paper])])


@pytest.mark.parametrize("file", [file for file in FILES if file.stem.endswith("-tiny")], ids=named)
def test_a_twin_compares_what_its_campaign_compares(plans, file):
    small, large = plans(file), plans(file.with_name(file.name.replace("-tiny", "")))

    def compared(plan):
        methods = {(c.section.kind, c.method.name if c.method else "") for c in plan.comparisons}
        # Proxies of a comparison without methods are named after their languages.
        return methods, {system.name if c.method else system.role for c in plan.comparisons for system in c.systems}

    assert compared(small) == compared(large)


@pytest.mark.parametrize("file", [file for file in FILES if not file.stem.endswith("-tiny")], ids=named)
def test_what_comes_from_the_hub_is_pinned_to_commits(plans, file):
    plan = plans(file)
    hub = {
        s.spec.corpus for s in plan.steps if isinstance(s.spec, LanguageAdapterSpec) and s.spec.corpus.source == "hub"
    }
    hub |= {
        s.spec.data
        for s in plan.steps
        if isinstance(s.spec, SearchSpec | EvaluationSpec) and s.spec.data.source == "hub"
    }
    assert all(len(data.revision) == 40 for data in hub)
    assert plan.backbone.revision.startswith("sha256:") or len(plan.backbone.revision) == 40
