"""A campaign whose backbone, texts and labelled sentences are names on a hub, from a hub on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from tests.orchestrator.hub_server import COMMIT, hub_server
from tests.orchestrator.small_campaign import write_campaign

ROOT = Path(__file__).parents[3]
CAMPAIGN = """
campaign: from-the-hub
backbone: {{name: me/tiny, revision: {commit}}}
corpora: {{source: hub, dataset: me/texts, subset: "20240101.{{language}}", revision: {commit}}}
languages: {{pool: [en, es]}}
language_adapter:
  training: {{optimizer_steps: 3, batch_size: 4, learning_rate: 0.001, max_length: 16}}
task_adapter:
  training: {{optimizer_steps: 3, batch_size: 4, learning_rate: 0.001, max_length: 16}}
tasks:
  - name: ner
    kind: ner
    language: en
    data: {{source: hub, dataset: me/names, directory: "{{language}}", revision: {commit}}}
    labels: [O, B-X, I-X]
comparisons:
  - {{name: zero-shot, kind: zero-shot, targets: [gl], tasks: [ner], related: {{by: syntactic, top: 1}}}}
search: {{lambda_step: 0.5, max_length: 16}}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Repository -> its files: a model, texts with a configuration per language, sentences with a folder per language."""
    folder = tmp_path_factory.mktemp("hub")
    datasets.disable_progress_bars()
    write_campaign(folder / "local")
    texts, names, data = folder / "texts", folder / "names", folder / "local" / "data"
    configurations = []
    for language in ("en", "es", "gl"):
        files = []
        for split in ("train", "validation", "test"):
            lines = (data / f"{language}-{split}.txt").read_text().splitlines()
            place = f"20240101.{language}/{split}-00000-of-00001.parquet"
            (texts / place).parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_dict({"text": lines}).to_parquet(texts / place)
            files.append(f"  - {{split: {split}, path: {place}}}")
            rows = [json.loads(line) for line in (data / f"ner-{language}-{split}.jsonl").read_text().splitlines()]
            (names / language / split).mkdir(parents=True)
            datasets.Dataset.from_list(rows).to_parquet(names / language / split / "0000.parquet")
        configurations.append(f'- config_name: "20240101.{language}"\n  data_files:\n' + "\n".join(files))
    (texts / "README.md").write_text("---\nconfigs:\n" + "\n".join(configurations) + "\n---\n")
    return {"models/me/tiny": folder / "local" / "backbone", "datasets/me/texts": texts, "datasets/me/names": names}


def run(folder, address, text=CAMPAIGN, **environment):
    """The command's exit code and what it said; its caches lie in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "campaign.yaml").write_text(text.format(commit=COMMIT))
    own = {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    command = [
        "run",
        str(folder / "campaign.yaml"),
        "-w",
        str(folder / "ws"),
        "--executor",
        "local",
        "--tracking",
        "off",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **own, **environment},
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def test_a_campaign_of_hub_names_runs_at_the_pinned_commits_and_goes_on_without_a_network(folders, tmp_path):
    with hub_server(folders) as hub:
        hub.cut.add("model.safetensors")  # the connection breaks once in the middle of the weights
        code, said = run(tmp_path, hub.address)
        assert code == 0, said
        assert not hub.cut
        assert all(COMMIT in path for _, path in hub.asked), hub.asked
        fetched = {path.split("/resolve/")[1] for _, path in hub.asked if "/resolve/" in path}
    assert f"{COMMIT}/model.safetensors" in fetched and f"{COMMIT}/gl/test/0000.parquet" in fetched
    assert not any("20240101.gl" in path for path in fetched), "no adapter of Galician is trained"
    assert hub.asked.count(("GET", f"/datasets/me/names/resolve/{COMMIT}/gl/test/0000.parquet")) == 1
    code, said = run(tmp_path, hub.address, text=CAMPAIGN + "seeds: [7]\n")  # nobody answers there any more
    assert code == 0, said
    assert "10 steps executed, 1 reused, 0 failed" in said


def test_what_the_hub_does_not_give_is_said_at_once_and_before_anything_is_done(folders, tmp_path):
    wrong = CAMPAIGN.replace("me/texts", "me/text").replace(
        '{{language}}", revision: {commit}}}\n    labels', '{{language}}", revision: ' + "b" * 40 + "}}\n    labels"
    )
    with hub_server(folders) as hub:
        hub.gated.add("models/me/tiny")
        code, said = run(tmp_path, hub.address, text=wrong)
    assert code == 2 and "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("error:")] == [
        "error: model me/tiny: the hub asks for consent first; give it on its page, and set HF_TOKEN to your token",
        "error: dataset me/text: the hub has no such name; check it; a private one needs HF_TOKEN",
        f"error: dataset me/names: the hub has no such commit (got {'b' * 40}); pin one from its history",
    ]
    assert not any("/resolve/" in path for _, path in hub.asked) and not (tmp_path / "ws" / "artifacts").exists()
