"""Worked examples and chat templates in front of a question, as texts and as tokens."""

from __future__ import annotations

import json
import sys

import pytest
from data_files import json_lines
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from jobs.backbones import embedded_backbone
from jobs.data.prompts import prompted_texts
from jobs.data.template import Filled
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef, DataRef, ExamplesRef, TaskRef
from jobs.tokens.prompt_tokens import PromptRequest, prompt_tokens
from jobs.tokens.tokenizer import load_tokenizer
from jobs.tokens.wording import wording_of

BACKBONE = BackboneRef("embedded", directory_digest(embedded_backbone()), str(embedded_backbone()))
# As chat models have it: the begin token first, each turn closed by a token of its own, which is not the end of text.
TURNS = (
    "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content | trim }}<mask>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{{ ' ' }}{% endif %}"
)
ROWS = [{"question": f"What is {n} and {n}?", "sum": 2 * n} for n in range(1, 9)]


def task(**changes):
    settings = {"metric": "number_match", "prompt": "{question}\nAnswer:", "answer": " {sum}", "max_new_tokens": 16}
    return TaskRef("sums", "generation", **{**settings, **changes})


def data(folder, train=ROWS, test=ROWS[-1:]):
    parts = {"train": json_lines(folder / "train.jsonl", train), "test": json_lines(folder / "test.jsonl", test)}
    files = tuple((split, str(path)) for split, path in parts.items())
    return DataRef("json", "gl", "sha256:0", files=files)


def tokens(source, asked, folder, backbone=BACKBONE, max_length=256, split="test"):
    return prompt_tokens(PromptRequest(source, split, asked, backbone, max_length, True), folder)


def chatty(folder, template=TURNS):
    """The embedded tokenizer with a chat template."""
    tokenizer = load_tokenizer(BACKBONE).__class__.from_pretrained(embedded_backbone())
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder / "chatty")
    return BackboneRef("chatty", directory_digest(folder / "chatty"), str(folder / "chatty"))


# Worked examples.


def test_worked_examples_stand_before_the_question_and_join_as_one_text(tmp_path):
    source = data(tmp_path)
    asked = task(examples=ExamplesRef(source, 2, seed=3))
    (text,) = prompted_texts(source, "test", asked, tmp_path)
    assert len(text.examples) == 2
    (own,) = tokens(source, asked, tmp_path)
    whole = "".join(f"{prompt}{answer}\n\n" for prompt, answer in text.examples) + "What is 8 and 8?\nAnswer: 16"
    assert [*own.prompt, *own.answer] == load_tokenizer(BACKBONE)(whole)["input_ids"]
    known = {f"What is {row['question'].split()[2]} and {row['question'].split()[2]}?\nAnswer:" for row in ROWS}
    assert {prompt for prompt, _ in text.examples} <= known
    assert all(int(answer) == 2 * int(prompt.split()[2]) for prompt, answer in text.examples)


def test_the_draw_depends_on_the_seed_and_neither_on_order_nor_on_repeated_rows(tmp_path):
    drawn = []
    for name, rows, seed in (("a", ROWS, 1), ("b", ROWS[::-1] + ROWS[:3], 1), ("c", ROWS, 2), ("d", ROWS, 3)):
        (tmp_path / name).mkdir()
        source = data(tmp_path / name, train=rows)
        (text,) = prompted_texts(source, "test", task(examples=ExamplesRef(source, 3, seed)), tmp_path / name)
        drawn.append(text.examples)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_no_question_is_shown_its_own_answer(tmp_path):
    # Every row of the test set is in the train set too: each is asked once, and shown as many others as the rest.
    source = data(tmp_path, test=ROWS)
    asked = task(examples=ExamplesRef(source, 3))
    texts = prompted_texts(source, "test", asked, tmp_path)
    assert [len(text.examples) for text in texts] == [3] * 8
    assert all(text.prompt.text not in [prompt for prompt, _ in text.examples] for text in texts)
    assert sum(text.asked_among_them for text in texts) == 3
    assert tokens(source, asked, tmp_path).asked_among_them == 3


def test_too_few_rows_to_draw_from_are_said(tmp_path):
    source = data(tmp_path, train=[*ROWS[:2], *ROWS[:2]])
    with pytest.raises(InputError, match="too few rows to draw worked examples from.*2, wanted: 3"):
        prompted_texts(source, "test", task(examples=ExamplesRef(source, 3)), tmp_path)


def test_worked_examples_of_choices_end_in_the_right_one(tmp_path):
    rows = [{"premise": f"p{n}", "hypothesis": "h", "label": n % 2} for n in range(6)]
    nli = TaskRef("nli", "classification", prompt="{premise}? {hypothesis}:", choices=(" yes", " no"))
    source = data(tmp_path, train=rows, test=[{"premise": "q", "hypothesis": "h", "label": 1}])
    (text,) = prompted_texts(source, "test", TaskRef(**{**_fields(nli), "examples": ExamplesRef(source, 4)}), tmp_path)
    assert all(answer == (" yes", " no")[int(prompt[1]) % 2] for prompt, answer in text.examples)


def _fields(one):
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_a_prompt_that_is_too_long_loses_worked_examples_before_a_word_of_its_own(tmp_path):
    source = data(tmp_path)
    asked = task(examples=ExamplesRef(source, 4))
    (whole,) = tokens(source, asked, tmp_path)
    (text,) = prompted_texts(source, "test", asked, tmp_path)
    room = len(whole.prompt) - 1
    found = tokens(source, asked, tmp_path, max_length=room + 16)
    assert (found.lost_examples, found.cut_prompts) == (1, 0)
    shorter = "".join(f"{prompt}{answer}\n\n" for prompt, answer in text.examples[1:]) + "What is 8 and 8?\nAnswer:"
    assert list(found[0].prompt) == load_tokenizer(BACKBONE)(shorter)["input_ids"][:-1]
    bare = tokens(source, asked, tmp_path, max_length=16 + 20)
    assert bare.lost_examples == 4
    assert list(bare[0].prompt) == load_tokenizer(BACKBONE)("What is 8 and 8?\nAnswer:")["input_ids"][:-1]


# Chats.


def test_a_chat_is_what_the_library_makes_of_it_with_one_begin_token(tmp_path):
    source, backbone = data(tmp_path), chatty(tmp_path)
    asked = task(chat=True, examples=ExamplesRef(source, 1))
    ((shown, answer),) = prompted_texts(source, "test", asked, tmp_path)[0].examples
    found = tokens(source, asked, tmp_path, backbone)
    tokenizer = load_tokenizer(backbone)
    turns = [
        {"role": "user", "content": shown},
        {"role": "assistant", "content": answer.strip()},
        {"role": "user", "content": "What is 8 and 8?\nAnswer:"},
    ]
    assert list(found[0].prompt) == tokenizer.apply_chat_template(turns, add_generation_prompt=True)
    assert list(found[0].prompt).count(tokenizer.bos_token_id) == 1
    # Trained on is the answer and the token that ends a turn, which is not the tokenizer's end of text.
    told = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "16"}])
    assert [*found[0].prompt, *found[0].answer] == told[: len(found[0].prompt) + len(found[0].answer)]
    assert found[0].answer[-1] == found.end == tokenizer.mask_token_id != tokenizer.eos_token_id


def test_a_long_chat_loses_the_end_of_its_longest_column_and_keeps_its_turns(tmp_path):
    rows = [{"question": "word " * 80 + "end?", "sum": 1}]
    backbone = chatty(tmp_path)
    found = tokens(data(tmp_path, train=rows, test=rows), task(chat=True), tmp_path, backbone, max_length=64)
    text = load_tokenizer(backbone).decode(found[0].prompt)
    assert len(found[0].prompt) == 48
    assert text.startswith("<s>") and text.count("user:") == text.count("assistant:") == 1
    assert "Answer:" in text and "end?" not in text


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path):
    source = data(tmp_path)
    with pytest.raises(InputError, match="no chat template"):
        tokens(source, task(chat=True), tmp_path)


def test_what_a_template_refuses_is_said_in_its_own_words(tmp_path):
    template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match="refuses the conversation.*roles must alternate"):
        tokens(data(tmp_path), task(chat=True), tmp_path, chatty(tmp_path, template))


ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_that_loops_without_an_end_is_refused(tmp_path, kind):
    with pytest.raises(InputError, match="refuses the conversation.*loops without an end"):
        tokens(data(tmp_path), task(chat=True), tmp_path, chatty(tmp_path, ENDLESS[kind]))
    assert sys.gettrace() is None


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path):
    template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(InputError, match="refuses the conversation"):
        tokens(data(tmp_path), task(chat=True), tmp_path, chatty(tmp_path, template))


def test_a_template_that_changes_what_is_said_is_refused(tmp_path):
    template = "{% for message in messages %}{{ message.content | upper }}{% endfor %}"
    with pytest.raises(InputError, match="changes what is said"):
        tokens(data(tmp_path), task(chat=True), tmp_path, chatty(tmp_path, template))


def test_a_begin_token_written_into_a_prompt_is_not_written_twice(tmp_path):
    asked = task(prompt="<s>{question}\nAnswer:")
    (only,) = tokens(data(tmp_path), asked, tmp_path)
    bos = load_tokenizer(BACKBONE).bos_token_id
    assert list(only.prompt[:2]).count(bos) == 1


def test_spans_follow_their_text():
    filled = Filled("  a b \n", ((0, 3), (4, 7)))
    assert filled.stripped() == Filled("a b", ((0, 1), (2, 3)))
    assert filled.stripped().between("xy", "z") == Filled("xya bz", ((2, 3), (4, 5)))


def test_the_end_of_an_answer_is_the_tokenizer_s_without_a_chat():
    tokenizer = load_tokenizer(BACKBONE)
    assert wording_of(False, tokenizer, BACKBONE).end == tokenizer.eos_token_id
    assert json.loads((embedded_backbone() / "tokenizer_config.json").read_text())["eos_token"] == "</s>"


def byte_level(folder):
    """A small tokenizer of GPT-2's kind, trained on a text in which answers follow a colon."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(["Question: What is 8 and 8?\nAnswer: 16 apples entailment"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder / "bytes")
    return BackboneRef("bytes", directory_digest(folder / "bytes"), str(folder / "bytes"))


def read_as(source, asked, folder, backbone):
    (only,) = tokens(source, asked, folder, backbone)
    return [int(i) for i in (*only.prompt, *only.answer) if i not in load_tokenizer(backbone).all_special_ids]


def test_an_answer_that_begins_with_the_space_joins_its_prompt_and_one_after_a_space_need_not(tmp_path):
    source, backbone = data(tmp_path), byte_level(tmp_path)
    joined, apart = task(answer=" {sum} apples"), task(prompt="{question}\nAnswer: ", answer="{sum} apples")
    for one in (BACKBONE, backbone):
        whole = load_tokenizer(one)("What is 8 and 8?\nAnswer: 16 apples", add_special_tokens=False)["input_ids"]
        assert read_as(source, joined, tmp_path, one) == whole
    assert read_as(source, apart, tmp_path, backbone) != whole  # the space is a token of its own
    # What writes in a row of its own begins with the word.
    (own,) = prompt_tokens(PromptRequest(source, "test", joined, backbone, 256, False), tmp_path)
    begun = load_tokenizer(backbone)("16 apples")["input_ids"]
    assert [*own.answer] == [*begun, load_tokenizer(backbone).eos_token_id]
