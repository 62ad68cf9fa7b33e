"""Model directories that bring code of their own: none of it runs, and the fault says so in words."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from tiny_backbone import make_backbone

from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.madx_backbone import load_backbone
from jobs.spec import BackboneRef


def reference(folder: Path) -> BackboneRef:
    return BackboneRef("evil", directory_digest(folder), str(folder))


def code(folder: Path, mark: Path) -> None:
    text = f"open({str(mark)!r}, 'w').close()\nfrom transformers import PretrainedConfig, XLMRobertaModel, XLMRobertaTokenizerFast\n"
    text += "class EvilConfig(PretrainedConfig):\n    model_type = 'evil'\nclass EvilModel(XLMRobertaModel): pass\n"
    text += "class EvilTokenizer(XLMRobertaTokenizerFast): pass\n"
    (folder / "evil.py").write_text(text)


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


CONFIG = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel", "AutoModelForMaskedLM": "evil.EvilModel"}


@pytest.fixture
def evil(tmp_path):
    make_backbone(tmp_path / "evil")
    code(tmp_path / "evil", tmp_path / "was-here")
    return tmp_path / "evil"


@pytest.mark.parametrize("model_type", ["evil", None])
def test_a_model_with_code_of_its_own_runs_none(evil, tmp_path, model_type, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *words: "y")  # what `transformers` would ask for consent
    edit(evil / "config.json", auto_map=CONFIG, **({"model_type": model_type} if model_type else {}))
    with pytest.raises(InputError) as refused:
        load_backbone(reference(evil))
    assert "Traceback" not in str(refused.value) and "config.json: auto_map: this key is refused" in str(refused.value)
    assert not (tmp_path / "was-here").exists()


def test_a_tokenizer_with_code_of_its_own_runs_none(evil, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *words: "y")
    auto = {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]}
    edit(evil / "tokenizer_config.json", auto_map=auto, tokenizer_class="EvilTokenizer")
    with pytest.raises(InputError, match="tokenizer_config.json: auto_map"):
        load_backbone(reference(evil))
    assert not (tmp_path / "was-here").exists()


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_weights_that_are_a_pickle_are_not_loaded(evil, tmp_path):
    (evil / "model.safetensors").unlink()
    (evil / "pytorch_model.bin").write_bytes(pickle.dumps({"x": RunsCode(tmp_path / "was-here")}))
    with pytest.raises(InputError, match="safetensors"):
        load_backbone(reference(evil))
    assert not (tmp_path / "was-here").exists()


def test_a_directory_that_changed_since_it_was_pinned_is_refused(evil):
    pinned = reference(evil)
    edit(evil / "config.json", auto_map=CONFIG)
    with pytest.raises(InputError):
        load_backbone(pinned)


def test_an_adapter_beside_a_model_does_not_put_another_model_in_its_place(evil, tmp_path):
    make_backbone(tmp_path / "other", hidden_size=64)
    (evil / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "other")}))
    with pytest.raises(InputError, match="an adapter beside the model"):
        load_backbone(reference(evil))
