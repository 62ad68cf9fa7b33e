from pathlib import Path

import pytest
from tiny_backbone import make_backbone

from jobs.errors import InputError
from jobs.spec import DataRef
from jobs.tokens import tokenizer
from jobs.tokens.text_blocks import text_blocks
from jobs.tokens.tokenizer import PROBE, load_tokenizer, tokenizer_identity


@pytest.fixture
def backbone(tmp_path):
    return make_backbone(tmp_path / "model")


@pytest.fixture
def fresh():
    load_tokenizer.cache_clear()
    tokenizer_identity.cache_clear()
    yield
    load_tokenizer.cache_clear()
    tokenizer_identity.cache_clear()


def test_the_identity_holds_the_ids_of_the_probe(backbone, fresh):
    ids = load_tokenizer(backbone)(PROBE)["input_ids"]
    assert len(ids) > 8 and tokenizer_identity(backbone)[-1] == " ".join(map(str, ids))


def test_a_tokenizer_that_changed_under_its_pin_is_noticed_before_its_tokens_are_kept(tmp_path, backbone, fresh):
    """By a piece that no probe holds: of the cache's key nothing would change."""
    text, file = tmp_path / "text.txt", Path(backbone.path) / "tokenizer.json"
    text.write_text("w1 w2 w3 w4\n" * 30, encoding="utf-8")
    data = DataRef("text", "gl", "sha256:1", files=(("train", str(text)),))
    before = file.read_text()
    file.write_text(before.replace('"w3"', '"x3"'))
    with pytest.raises(InputError, match=f"the files are not the pinned revision.*got {backbone.revision}"):
        text_blocks(data, "train", backbone, 16, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    file.write_text(before)
    assert len(text_blocks(data, "train", backbone, 16, tmp_path / "cache"))


def test_tokens_of_another_library_or_of_other_ids_are_made_anew(tmp_path, backbone, monkeypatch, fresh):
    text = tmp_path / "text.txt"
    text.write_text("w1 w2 w3 w4\n" * 30, encoding="utf-8")
    data = DataRef("text", "gl", "sha256:1", files=(("train", str(text)),))

    def files():
        text_blocks(data, "train", backbone, 16, tmp_path / "cache")
        return set((tmp_path / "cache" / "tokenized").iterdir())

    first = files()
    assert len(first) == 1 and files() == first
    tokenizer_identity.cache_clear()
    known = tokenizer.version
    monkeypatch.setattr(tokenizer, "version", lambda name: "9.9.9" if name == "tokenizers" else known(name))
    assert len(files()) == 2
    monkeypatch.undo()
    tokenizer_identity.cache_clear()
    assert len(files()) == 2  # the first is found again
    # The same name and revision, other ids: as when a library reads the same file otherwise.
    monkeypatch.setattr(tokenizer, "load_tokenizer", lambda ref: lambda probe, verbose: {"input_ids": [1, 2, 3]})
    tokenizer_identity.cache_clear()
    assert tokenizer_identity(backbone)[-1] == "1 2 3"
