"""Pieces of a tokenizer of the user's, for ROUGE in languages whose words `rouge-score` does not know."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.scoring.rouge import Tokens

# What a tokenizer's directory may hold, the model itself before what was converted from it.
_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "tokenizer.json")


def pieces_file(path: str) -> Path:
    """The tokenizer's file: `path` itself, or the first of spiece.model, ..., tokenizer.json in a directory.

    Raises InputError where there is none.
    """
    place = Path(path)
    found = [place] if place.is_file() else [place / name for name in _FILES if (place / name).is_file()]
    if not found:
        todo = f"give a SentencePiece model, or a directory with one of {', '.join(_FILES)}"
        raise InputError(Fault("no tokenizer for ROUGE", "rouge_tokenizer", path, todo))
    return found[0]


def pieces_digest(path: str) -> str:
    """ "sha256:..." of the tokenizer's file. Raises InputError where there is none."""
    return f"sha256:{hashlib.sha256(pieces_file(path).read_bytes()).hexdigest()}"


@lru_cache(maxsize=8)
def pieces(path: str, digest: str) -> Tokens:
    """The function from a text to its pieces, all of them and no others: no special tokens, no padding, nothing cut.

    Raises InputError for a file that cannot be read, and for one whose `pieces_digest` is not `digest`.
    """
    file = pieces_file(path)
    if (found := pieces_digest(path)) != digest:
        todo = f"the file changed: restore it, or pin {found}"
        raise InputError(Fault("the tokenizer for ROUGE is not the pinned one", str(file), digest, todo))
    # Planning asks for the digest alone and loads neither library.
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

    try:
        if file.suffix == ".json":
            tokenizer = Tokenizer.from_file(str(file))
            # Such files may say how their model wants its rows: padded to a length, or cut. Here a text is scored.
            tokenizer.no_padding()
            tokenizer.no_truncation()
            return lambda text: tokenizer.encode(text, add_special_tokens=False).tokens
        model = SentencePieceProcessor(model_file=str(file))
    except Exception as error:  # both libraries raise whatever they like for such files
        got = (str(error).splitlines() or [""])[0][:120]
        raise InputError(Fault("the tokenizer for ROUGE cannot be read", str(file), got)) from error
    return lambda text: model.encode(text, out_type=str)
