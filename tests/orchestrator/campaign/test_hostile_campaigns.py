"""Campaign files from strangers: refused in words and in no time, whatever stands in them."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from jobs.errors import InputError
from jobs.files.yaml_document import _PATTERNS
from jobs.merging.recipe import Recipe
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.published import Published
from orchestrator.campaign.schema import Campaign
from orchestrator.clusters.k8s.options import RenderOptions
from tests.orchestrator.campaign_files import write_data, write_file

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGED = "m0: &m0 {k: v}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: v}}\n" for n in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        MERGED,
        "campaign: &a [*a]\n",
        "campaign: " + "[" * 100_000,
        "campaign: " + "{a: " * 50_000,
        "- " * 60_000 + "x",
        "seeds: [1" + "0" * 10_000 + "]\n",
        "seeds: [0x" + "f" * 200_000 + "]\n",
        "seeds: [0b" + "1" * 200_000 + "]\n",
        "seeds: [" + "59:" * 20_000 + "59]\n",
        "seeds: [1e999999999]\n",
        "campaign: 9999-99-99\n",
        "campaign: !!python/object/apply:os.system ['touch /tmp/was-here']\n",
        "campaign: !!python/name:os.system\n",
        "campaign: !!binary //8=\n",
        "x: y\n" * 200_000,
        "description: " + "x" * 20_000_000 + "\n",
        "languages: {pool: [" + "en, " * 60_000 + "en]}\n",
        "campaign: '${a}'\nvariables: {" + ", ".join(f"v{n}: '${{v{n - 1}}}${{v{n - 1}}}'" for n in range(40)) + "}\n",
    ],
    ids=lambda text: text[:30].split("\n")[0],
)
def test_a_file_that_would_blow_up_is_refused_in_words(tmp_path, text):
    file = tmp_path / "evil.yaml"
    file.write_text(text)
    started = time.process_time()
    with pytest.raises(InputError) as refused:
        load_campaign(file)
    assert time.process_time() - started < 30  # of a slow machine; the bombs take hours or all memory
    assert all(len(str(fault)) < 2000 for fault in refused.value.faults)
    assert not Path("/tmp/was-here").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "key"),
    [
        ({"description": "by hf_abcdefghijklmnopqrstuvwxyz"}, "a hub token", "description"),
        ({"tracking": {"mlflow": "http://me:s3cr3t@host:5000"}}, "a password in an address", "tracking.mlflow"),
        ({"corpora.files": "https://me:s3cr3t@host/{language}.txt"}, "a password in an address", "corpora.files"),
        ({"variables.key": "AKIAABCDEFGHIJKLMNOP"}, "an access key", "variables.key"),
    ],
)
def test_a_secret_in_a_campaign_file_is_refused_with_its_line_and_never_shown(tmp_path, changes, kind, key):
    write_data(tmp_path)
    with pytest.raises(InputError, match=f"{kind} stands in the campaign") as refused:
        load_campaign(write_file(tmp_path, changes))
    text = str(refused.value)
    assert key in text and not any(secret in text for secret in ("s3cr3t", "hf_abc", "AKIAABC"))


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "key",
    [
        "language_adapter.training.learning_rate", "language_adapter.training.weight_decay", "search.lambda_step",
        "search.minutes", "resources.cpus_per_bank", "resources.gpus_per_evaluator", "corpora.hold_out",
        "task_adapter.training.max_grad_norm",
    ],
)  # fmt: skip
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(tmp_path, key, number):
    write_data(tmp_path)
    with pytest.raises(InputError, match=f"{re.escape(key)}: a finite number is wanted"):
        load_campaign(write_file(tmp_path, {key: number}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seeds", [-1]), ("seeds", [2**32]), ("search.seed", -1), ("language_adapter.init_seed", -5),
        ("search.lambda_step", 1e-9), ("search.space", {"kind": "simplex", "step": 1e-9}),
    ],
)  # fmt: skip
def test_a_number_out_of_bounds_is_refused_with_its_key(tmp_path, key, value):
    write_data(tmp_path)
    with pytest.raises(InputError, match=re.escape(key)):
        load_campaign(write_file(tmp_path, {key: value}))


def test_every_pattern_of_a_file_is_told_in_words():
    """pydantic would show the regular expression."""
    schemas = [TypeAdapter(kind).json_schema() for kind in (Campaign, RenderOptions, Published, Recipe)]
    patterns = {
        found for schema in schemas for found in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(schema))
    }
    assert patterns and {json.loads(pattern) for pattern in patterns} <= set(_PATTERNS)
