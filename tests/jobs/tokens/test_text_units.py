import json
import re
from collections import Counter

from tokenizers import Tokenizer

from jobs.backbones import embedded_backbone
from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef, DataRef
from jobs.tokens.text_units import LARGEST, _beginning, pieces, trigrams, unit_counts

TEXTS = ["Boa tarde, amigos!", "A  tarde\tboa."]


def embedded():
    folder = embedded_backbone()
    return BackboneRef(folder.name, directory_digest(folder), str(folder))


def test_trigrams_begin_and_end_with_the_words():
    expected = Counter()
    for line in (" boa tarde, amigos! ", " a tarde boa. "):
        expected.update(match[1] for match in re.finditer(r"(?=(...))", line))
    assert trigrams(TEXTS) == expected
    assert trigrams([""]) == trigrams(["  \n"]) == Counter()


def test_pieces_are_those_of_the_tokenizers_own_file_without_what_it_does_not_know():
    backbone = embedded()
    plain = Tokenizer.from_file(f"{backbone.path}/tokenizer.json")
    texts = [*TEXTS, "𒀀𒀁"]
    expected = Counter(piece for text in texts for piece in plain.encode(text, add_special_tokens=False).tokens)
    dropped = [piece for piece in expected if piece == "<unk>" or re.fullmatch("<0x..>", piece)]
    assert dropped
    assert pieces(texts, backbone) == Counter({p: n for p, n in expected.items() if p not in dropped})


def test_counts_are_kept_and_found_again(tmp_path):
    file = tmp_path / "gl.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    data = DataRef("json", "gl", "sha256:1", files=(("train", str(file)),))
    first = unit_counts("characters", data, "train", embedded(), tmp_path / "cache")
    assert first == dict(trigrams(TEXTS))
    file.write_text(json.dumps({"text": "outra cousa"}), encoding="utf-8")  # the reference is pinned: not read again
    assert unit_counts("characters", data, "train", embedded(), tmp_path / "cache") == first


def test_of_a_long_corpus_the_beginning_is_counted():
    texts = ["a" * (LARGEST - 1), "bb", "c"]
    assert list(_beginning(texts)) == texts[:2] and list(_beginning(["d" * 2 * LARGEST, "e"])) == ["d" * 2 * LARGEST]
