"""A question, the worked examples before it and a chat template as one text, and how its answer goes on from there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from jobs.data.prompts import PromptedText
from jobs.data.template import Filled
from jobs.errors import Fault, InputError
from jobs.runtime.library_faults import library_faults
from jobs.spec import BackboneRef

BETWEEN = "\n\n"  # worked examples and the question
_ANSWER = "an answer"
_MOST_LINES = 5_000_000  # of Python for one conversation; compiling a long template takes some hundred thousand


class Wording(Protocol):
    """How a tokenizer's model is asked."""

    @property
    def end(self) -> int:
        """The token after an answer."""

    def asked(self, text: PromptedText, examples: Sequence[tuple[str, str]]) -> Filled:
        """What the model reads before its answer, `examples` (prompt, answer) of the text's own first."""

    def answered(self, answer: str) -> str:
        """An answer as it follows."""


def wording_of(chat: bool, tokenizer: Any, backbone: BackboneRef) -> Wording:
    """Plain text, or turns of the tokenizer's chat template.

    Raises InputError for a tokenizer without an end token and, with `chat`, without a template.
    """
    if tokenizer.eos_token_id is None:
        todo = "save a tokenizer with an end token: without one nothing stops a generation"
        raise InputError(Fault("the tokenizer has no end token", f"backbone {backbone.name}", todo=todo))
    return _Chat.of(tokenizer, f"backbone {backbone.name}") if chat else _Plain(tokenizer.eos_token_id)


@dataclass(frozen=True, slots=True)
class _Plain:
    """One text after another. `end`: the tokenizer's."""

    end: int

    def asked(self, text: PromptedText, examples: Sequence[tuple[str, str]]) -> Filled:
        return text.prompt.between("".join(f"{prompt}{answer}{BETWEEN}" for prompt, answer in examples), "")

    def answered(self, answer: str) -> str:
        return answer


@dataclass(frozen=True, slots=True)
class _Chat:
    """Turns of a user and an assistant, without white space around what is said. `end`: the token that ends a turn."""

    tokenizer: Any
    where: str
    end: int

    @classmethod
    def of(cls, tokenizer: Any, where: str) -> _Chat:
        if not tokenizer.chat_template:
            todo = "leave `chat` out, or take a backbone that was tuned for chats"
            raise InputError(Fault("the tokenizer has no chat template", where, todo=todo))
        told = _rendered(tokenizer, [_said("user", "a question"), _said("assistant", _ANSWER)], False, where)
        ends = tokenizer(told.rpartition(_ANSWER)[2], add_special_tokens=False)["input_ids"]
        marked = bool(ends) and ends[0] in tokenizer.all_special_ids
        return cls(tokenizer, where, ends[0] if marked else tokenizer.eos_token_id)

    def asked(self, text: PromptedText, examples: Sequence[tuple[str, str]]) -> Filled:
        turns = [(("user", prompt), ("assistant", answer)) for prompt, answer in examples]
        said = [_said(role, words) for pair in turns for role, words in pair]
        own = text.prompt.stripped()
        whole = _rendered(self.tokenizer, [*said, _said("user", own.text)], True, self.where)
        before, found, after = whole.rpartition(own.text) if own.text else ("", "", "")
        if not found:
            todo = "leave `chat` out, and write the turns into `prompt`"
            raise InputError(Fault("the chat template changes what is said", self.where, repr(own.text[:60]), todo))
        return own.between(before, after)

    def answered(self, answer: str) -> str:
        return answer.strip()


def _said(role: str, words: str) -> Mapping[str, str]:
    return {"role": role, "content": words.strip()}


def _rendered(tokenizer: Any, turns: Sequence[Mapping[str, str]], asks: bool, where: str) -> str:
    """The library renders templates in a sandbox, which lets them loop for ever: here they end after `_MOST_LINES`.

    `asks`: up to where the assistant's next turn begins. Raises InputError for what a template does not render.
    """
    what, todo = "the chat template refuses the conversation", "leave `chat` out, or mend the template"
    with library_faults(what, where, todo), _at_most(_MOST_LINES):
        text: str = tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=asks)
    return text


@contextmanager
def _at_most(lines: int) -> Iterator[None]:
    """Raise RuntimeError when so many lines of Python were run; a template's loops are such lines."""
    before, left = sys.gettrace(), lines

    def count(frame: FrameType, event: str, value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("it loops without an end")
        return count

    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)
