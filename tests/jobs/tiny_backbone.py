"""A random XLM-R of a few thousand parameters with a word tokenizer, saved as a real model directory."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForMaskedLM

from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef

WORDS = 200
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def word_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {word: i for i, word in enumerate(specials + [f"w{i}" for i in range(WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>", model_max_length=64,
    )  # fmt: skip


def make_backbone(directory: Path, architecture: str = "xlm-roberta", **sizes: int) -> BackboneRef:
    """Save the model into `directory` and return its pinned reference."""
    common = dict(
        vocab_size=WORDS + 5, max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        initializer_range=0.2, **{**SIZES, **sizes},
    )  # fmt: skip
    torch.manual_seed(7)
    model = BertForMaskedLM(BertConfig(**common)) if architecture == "bert" else None
    model = model or XLMRobertaForMaskedLM(XLMRobertaConfig(type_vocab_size=1, **common))
    torch.nn.init.normal_(model.get_output_embeddings().bias)
    model.save_pretrained(directory)
    word_tokenizer().save_pretrained(directory)
    return BackboneRef("tiny", directory_digest(directory), str(directory))
