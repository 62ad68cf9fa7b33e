"""Blocks and labelled pieces: nothing is lost, scripts do not matter, the cache can be damaged."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os

import numpy as np
import pytest
from data_files import SENTENCES, data_folder, json_lines, ref, row, write
from tiny_backbone import make_backbone
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaTokenizerFast

from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef, DataRef, TaskRef
from jobs.spec.identity import key_of
from jobs.tokens.text_blocks import packed_blocks, text_blocks
from jobs.tokens.token_labels import token_labels
from jobs.tokens.tokenizer import load_tokenizer, unknown_ids

TASK = TaskRef("entities", "ner", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"))
SCRIPTS = [
    "Vigo é unha cidade de Galicia",
    "Київ є столицею України",
    "東京は日本の首都です",
    "दिल्ली भारत में है",
    "القاهرة في مصر",
]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A backbone reference with a subword tokenizer of XLM-R's kind, small enough to split every word."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=130, special_tokens=specials, unk_token="<unk>")
    tokenizer.train_from_iterator(SCRIPTS * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    path = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{key}_token": value for key, value in names.items()}
    ).save_pretrained(path)
    return BackboneRef("pieces", directory_digest(path), str(path))


def texts_ref(path, texts):
    return dataclasses.replace(ref("text", write(path, "\n".join(texts))), revision=path.name)


# Blocks of raw text.


@pytest.mark.parametrize("max_length", [8, 16, 64])
def test_blocks_hold_every_token_once_and_in_order(tmp_path, pieces, max_length):
    texts = SCRIPTS + [" ".join(SCRIPTS)] * 2 + ["a"]
    blocks = text_blocks(texts_ref(tmp_path / "a.txt", texts), "train", pieces, max_length, tmp_path)
    tokenizer = load_tokenizer(pieces)
    expected = [i for text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert [i for block in blocks for i in block.tolist() if i not in (0, 2)] == expected
    assert blocks.tokens == len(expected)
    assert blocks.lengths.tolist() == list(map(len, blocks))
    for block in blocks:
        assert block[0] == 0 and block[-1] == 2 and len(block) <= max_length
        assert 0 not in block[1:] and not ((block[1:] == 2) & (block[:-1] == 2)).any()
    assert min(blocks.lengths[:-1]) >= max_length - 1, "all blocks but the last are full"


def test_texts_are_separated_within_a_block(tmp_path, pieces):
    texts = ["Vigo", "Galicia"]
    (block,) = text_blocks(texts_ref(tmp_path / "a.txt", texts), "train", pieces, 64, tmp_path)
    parts = [load_tokenizer(pieces)(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert block.tolist() == [0, *parts[0], 2, *parts[1], 2]


def test_the_share_of_unknown_tokens_is_measured(tmp_path, pieces):
    known = text_blocks(texts_ref(tmp_path / "a.txt", SCRIPTS), "train", pieces, 32, tmp_path)
    foreign = text_blocks(texts_ref(tmp_path / "b.txt", ["ሰላም ለዓለም"]), "train", pieces, 32, tmp_path)
    assert known.unknown_share == 0.0
    assert foreign.unknown_share > 0.4


@pytest.mark.parametrize("cut", [text_blocks, packed_blocks])
def test_a_split_without_a_single_known_piece_is_refused(tmp_path, cut):
    """Its loss would be 0.000, the best there is: a tokenizer's unknown token says nothing of a text."""
    backbone = make_backbone(tmp_path / "words")
    foreign = texts_ref(tmp_path / "am.txt", ["ሰላም ለዓለም"] * 20)
    with pytest.raises(InputError, match=r"am\.txt: the tokenizer of tiny does not know a single piece of the train"):
        cut(foreign, "train", backbone, 8, tmp_path)
    known = cut(texts_ref(tmp_path / "b.txt", ["ሰላም ለዓለም"] * 20 + ["w1"]), "train", backbone, 8, tmp_path)
    assert known.unknown_share == pytest.approx(40 / 41)


def test_words_of_a_byte_level_tokenizer_are_those_of_running_text(tmp_path):
    """RoBERTa's is saved without a space before a text, and would glue the words of a sentence together."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["Anna goes to Roma", "Roma, Anna!"] * 20, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    own = RobertaTokenizerFast(tokenizer_object=tokenizer)
    own.save_pretrained(tmp_path / "roberta")
    (tmp_path / "roberta" / "config.json").write_text('{"model_type": "roberta"}')
    backbone = BackboneRef("roberta", directory_digest(tmp_path / "roberta"), str(tmp_path / "roberta"))
    sentence = type(SENTENCES[0])(("Anna", "goes", "to", "Roma"), ("B-PER", "O", "O", "B-LOC"))
    (example,) = examples_of(tmp_path, backbone, [sentence])
    assert example.input_ids.tolist() == own(" Anna goes to Roma")["input_ids"]
    assert (example.word_starts > 0).all()


def test_single_bytes_count_as_unknown():
    vocabulary = {"<unk>": 0, "<0xE0>": 1, "<0x>": 2, "a": 3}
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary)), unk_token="<unk>")
    assert unknown_ids(fast) == {0, 1}


def test_blocks_are_views_that_cannot_be_written(tmp_path, pieces):
    blocks = text_blocks(texts_ref(tmp_path / "a.txt", SCRIPTS), "train", pieces, 16, tmp_path)
    assert blocks[0].dtype == np.int32 and blocks[-1].tolist() == blocks[len(blocks) - 1].tolist()
    with pytest.raises(ValueError, match="read-only"):
        blocks[0][1] = 7
    with pytest.raises(IndexError):
        blocks[len(blocks)]


# The cache.


def cached(folder):
    (path,) = (folder / "tokenized").iterdir()
    return path


def test_the_cache_is_used_and_not_the_data(tmp_path, pieces):
    data = texts_ref(tmp_path / "a.txt", SCRIPTS)
    first = [block.tolist() for block in text_blocks(data, "train", pieces, 16, tmp_path)]
    moved = dataclasses.replace(data, files=(("train", "/nowhere"),))
    assert [block.tolist() for block in text_blocks(moved, "train", pieces, 16, tmp_path)] == first


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_cache_is_built_anew(tmp_path, pieces, damage, caplog):
    data = texts_ref(tmp_path / "a.txt", SCRIPTS)
    first = [block.tolist() for block in text_blocks(data, "train", pieces, 16, tmp_path)]
    path = cached(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    again = text_blocks(data, "train", pieces, 16, tmp_path)
    assert [block.tolist() for block in again] == first
    assert "built anew" in caplog.text
    assert cached(tmp_path) == path


def _build(path, backbone, cache, queue):
    queue.put(len(text_blocks(ref("text", path), "train", backbone, 16, cache)))


def test_workers_that_race_leave_one_whole_file(tmp_path, pieces):
    path = write(tmp_path / "a.txt", "\n".join(SCRIPTS * 40))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_build, args=(path, pieces, tmp_path, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    counts = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(counts) == 1 and cached(tmp_path).suffix == ".arrow"


def test_the_key_covers_what_changes_the_blocks_and_nothing_else():
    data = DataRef("text", "gl", "1", files=(("train", "/a"),))
    moved = dataclasses.replace(data, files=(("train", "/b"),))
    assert key_of(data) == key_of(moved)
    others = [dataclasses.replace(data, **change) for change in ({"revision": "2"}, {"hold_out": 0.1})]
    assert len({key_of(data), *map(key_of, others), key_of(data, 1)}) == 4


# Labels of pieces.


def examples_of(tmp_path, backbone, sentences, max_length=64):
    data = ref("json", json_lines(tmp_path / f"{os.urandom(4).hex()}.jsonl", map(row, sentences)))
    data = dataclasses.replace(data, revision=os.urandom(4).hex())
    return token_labels(data, "train", TASK, backbone, max_length, tmp_path)


def check_alignment(examples, sentences, tokenizer):
    """Each word's pieces run from its start to the next one's and spell it; its label stands on the first."""
    for example, sentence in zip(examples, sentences, strict=True):
        gold = [TASK.labels.index(tag) for tag in sentence.tags]
        assert example.word_labels.tolist() == gold
        kept = np.flatnonzero(example.word_starts >= 0)
        ends = [*example.word_starts[kept][1:], len(example.input_ids) - 1]
        for word, end in zip(kept, ends, strict=True):
            start = example.word_starts[word]
            own = tokenizer([sentence.tokens[word]], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            assert example.input_ids[start:end].tolist() == own
            assert example.labels[start : start + len(own)].tolist() == [gold[word], *[-100] * (len(own) - 1)]
        assert (example.labels != -100).sum() == len(kept)


def test_labels_stand_on_first_pieces_in_every_script(tmp_path, pieces):
    sentences = [
        type(SENTENCES[0])(tuple(text.split()), ("B-LOC", *["O"] * (len(text.split()) - 1)))
        for text in [*SCRIPTS, "دہلی 東京 Київ x"]
    ]
    examples = examples_of(tmp_path, pieces, sentences)
    assert examples.lost_words == 0 and examples.words == sum(len(s.tokens) for s in sentences)
    check_alignment(examples, sentences, load_tokenizer(pieces))


def test_words_beyond_the_longest_input_are_counted_and_keep_their_gold(tmp_path, pieces):
    examples = examples_of(tmp_path, pieces, SENTENCES, max_length=5)
    assert examples.lost_words == sum((example.word_starts < 0).sum() for example in examples) > 0
    assert max(examples.lengths) <= 5
    assert [len(example.word_labels) for example in examples] == [len(s.tokens) for s in SENTENCES]


def test_a_word_without_a_piece_is_lost_and_shifts_no_label(tmp_path):
    backbone = make_backbone(tmp_path / "words")
    sentence = type(SENTENCES[0])(("w1", " ", "w2"), ("O", "O", "B-LOC"))
    (example,) = examples_of(tmp_path, backbone, [sentence])
    assert example.word_starts.tolist() == [1, -1, 2]
    assert example.labels.tolist() == [-100, 0, TASK.labels.index("B-LOC"), -100]


def test_labels_the_task_does_not_have_are_named_with_their_sentence(tmp_path, pieces):
    sentences = [SENTENCES[0], type(SENTENCES[0])(("x", "y"), ("B-DATE", "I-DATE"))]
    with pytest.raises(InputError, match=r"sentence 1: labels the task does not have \(got B-DATE, I-DATE\)"):
        examples_of(tmp_path, pieces, sentences)


@pytest.mark.parametrize("length", [0, 2])
def test_a_longest_input_without_room_is_refused(tmp_path, pieces, length):
    with pytest.raises(InputError, match="max_length"):
        text_blocks(texts_ref(tmp_path / "a.txt", SCRIPTS), "train", pieces, length, tmp_path)
    with pytest.raises(InputError, match="max_length"):
        examples_of(tmp_path, pieces, SENTENCES, length)


def test_a_directory_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="no tokenizer"):
        text_blocks(texts_ref(tmp_path / "a.txt", SCRIPTS), "train", BackboneRef("x", "1", str(tmp_path)), 16, tmp_path)


def test_real_sentences_of_other_scripts_are_aligned(tmp_path, pieces):
    files = (("test", str(data_folder() / "uner" / "zh" / "test.jsonl")),)
    examples = token_labels(DataRef("json", "zh", "0", files=files), "test", TASK, pieces, 64, tmp_path)
    assert len(examples) == 250 and examples.unknown_share > 0.3
    placed = sum((example.word_starts >= 0).sum() for example in examples)
    assert placed + examples.lost_words == examples.words
