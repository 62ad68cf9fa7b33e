"""ROUGE against the `rouge-score` package and by hand, in several scripts."""

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from tokenizers import Tokenizer

from jobs.backbones import embedded_backbone
from jobs.errors import InputError
from jobs.scoring.pieces import pieces, pieces_digest
from jobs.scoring.rouge import common_subsequence, english_words, rouge

PAIRS = [
    ("The quick brown fox jumps over the lazy dog.", "The quick brown dog jumps on the log!"),
    ("A cat", "A cat"),
    ("the the the", "the"),
    ("", "something"),
    ("something", ""),
    ("U.S. troops didn't leave in 2011", "US troops did not leave, in 2011"),
    ("Café Zürich costs 3 euros", "cafe zurich costs 3 Euros"),
    ("один два три", "один два"),
    ("\u212alein \u0130ki", "klein iki"),
]


def read(path):
    return pieces(str(path), pieces_digest(str(path)))


class Pieces:
    """The embedded tokenizer in the shape that `rouge-score` wants."""

    def __init__(self):
        self.tokenize = read(embedded_backbone())


def independent(prediction, references, tokenizer=None):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=tokenizer)
    return {name: 100 * score.fmeasure for name, score in scorer.score_multi(references, prediction).items()}


@pytest.mark.parametrize(("prediction", "reference"), PAIRS)
def test_english_equals_rouge_score(prediction, reference):
    assert rouge(prediction, [reference], english_words) == pytest.approx(independent(prediction, [reference]))


_TEXT = st.lists(st.sampled_from(["the", "cat", "Dog", "sat,", "mat.", "12", "über"]), max_size=12).map(" ".join)


@given(_TEXT, st.lists(_TEXT, min_size=1, max_size=3))
def test_several_references_count_as_rouge_score_counts_them(prediction, references):
    assert rouge(prediction, references, english_words) == pytest.approx(independent(prediction, references))


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("ভারতের প্রধানমন্ত্রী আজ ঢাকায়", "আজ ঢাকায় ভারতের প্রধানমন্ত্রী এসেছেন"),
        ("北京的秋天很美", "秋天的北京很美"),
        ("कल बारिश होगी", "आज बारिश होगी"),
    ],
)
def test_other_scripts_are_compared_over_pieces(prediction, reference):
    tokenizer = Pieces()
    ours = rouge(prediction, [reference], tokenizer.tokenize)
    assert ours == pytest.approx(independent(prediction, [reference], tokenizer))
    assert ours["rouge1"] > 0
    assert rouge(prediction, [reference], english_words)["rouge1"] == 0


def test_a_summary_by_hand():
    # guess a b c d, truth a c b d e: 4 common words of 4 and 5; no bigram in common; a subsequence of 3.
    found = rouge("a b c d", ["a c b d e"], english_words)
    assert found == pytest.approx({"rouge1": 800 / 9, "rouge2": 0.0, "rougeL": 600 / 9})


def test_a_perfect_summary_has_100_points_however_long_it_is():
    text = " ".join(f"word{number}" for number in range(300))
    assert rouge(text, [text], english_words) == {"rouge1": 100.0, "rouge2": 100.0, "rougeL": 100.0}


@given(st.text("abc", max_size=20), st.text("abc", max_size=20))
def test_the_common_subsequence_is_that_of_the_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    assert common_subsequence(a, b) == table[-1][-1]


def test_a_sentencepiece_model_is_read_as_its_own_library_reads_it(tmp_path):
    text = tmp_path / "text"
    text.write_text("\n".join(f"mali podaci broj {n} ova rečenica" for n in range(200)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "spiece"), vocab_size=40, minloglevel=2
    )
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    assert read(tmp_path)("mali broj") == own.encode("mali broj", out_type=str)


def test_what_is_no_tokenizer_is_said(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"spiece\.model.*cannot be read"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json.*cannot be read"):
        read(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match=r"no tokenizer for ROUGE.*give a SentencePiece model"):
        read(tmp_path / "absent")


def test_a_tokenizer_that_is_not_the_pinned_one_is_refused():
    with pytest.raises(InputError, match=r"not the pinned one.*the file changed"):
        pieces(str(embedded_backbone()), "sha256:0")


def test_padding_and_truncation_that_were_saved_with_a_tokenizer_are_no_part_of_a_text(tmp_path):
    plain = Tokenizer.from_file(str(embedded_backbone() / "tokenizer.json"))
    saved = Tokenizer.from_file(str(embedded_backbone() / "tokenizer.json"))
    saved.enable_padding(length=128, pad_id=1, pad_token="<pad>")
    saved.enable_truncation(4)
    saved.save(str(tmp_path / "tokenizer.json"))
    text = "la casa verde del perro negro come pan"
    expected = plain.encode(text, add_special_tokens=False).tokens
    assert len(expected) > 4
    assert list(read(tmp_path)(text)) == expected
    assert rouge("agua", ["sol"], read(tmp_path))["rouge2"] == 0.0
