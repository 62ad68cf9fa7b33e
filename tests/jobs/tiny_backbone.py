"""A random XLM-R of a few thousand parameters with a word tokenizer, saved as a real model directory."""

from __future__ import annotations

from pathlib import Path

import torch
from adapters import AutoAdapterModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

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


# Of each model type: how its smallest model is made from the sizes that all have in common.
MODELS = {
    "xlm-roberta": lambda common: XLMRobertaForMaskedLM(XLMRobertaConfig(type_vocab_size=1, **common)),
    "bert": lambda common: BertForMaskedLM(BertConfig(**common)),
    # Embeddings narrower than the layers, as in its small models.
    "electra": lambda common: ElectraForMaskedLM(ElectraConfig(embedding_size=20, **common)),
    # The attention of its third version and of its multilingual model.
    "deberta-v2": lambda common: DebertaV2ForMaskedLM(
        DebertaV2Config(
            relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], share_att_key=True,
            position_biased_input=False, norm_rel_ebd="layer_norm", type_vocab_size=0, **common,
        )
    ),
    "distilbert": lambda common: DistilBertForMaskedLM(
        DistilBertConfig(
            dim=common["hidden_size"], n_layers=common["num_hidden_layers"], n_heads=common["num_attention_heads"],
            hidden_dim=common["intermediate_size"], vocab_size=common["vocab_size"], max_position_embeddings=66,
            pad_token_id=1, initializer_range=0.2,
        )
    ),
    # mmBERT's shape: every third layer looks everywhere, the others only near.
    "modernbert": lambda common: ModernBertForMaskedLM(
        ModernBertConfig(
            global_attn_every_n_layers=3, local_attention=4, cls_token_id=0, sep_token_id=2, reference_compile=False,
            **common,
        )
    ),
}  # fmt: skip


def make_backbone(directory: Path, architecture: str = "xlm-roberta", **sizes: int) -> BackboneRef:
    """Save the model into `directory` and return its pinned reference."""
    common = dict(
        vocab_size=WORDS + 5, max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        initializer_range=0.2, **{**SIZES, **sizes},
    )  # fmt: skip
    torch.manual_seed(7)
    model = MODELS[architecture](common)
    torch.nn.init.normal_(model.get_output_embeddings().bias)
    model.save_pretrained(directory)
    word_tokenizer().save_pretrained(directory)
    return BackboneRef("tiny", directory_digest(directory), str(directory))


def adapter_model(ref: BackboneRef, **options: str):
    """The model of `adapters`, whose conversion of a masked-LM head leaves the output bias at zero, with that bias."""
    model = AutoAdapterModel.from_pretrained(ref.path, **options).requires_grad_(False).eval()
    bias = AutoModelForMaskedLM.from_pretrained(ref.path).get_output_embeddings().bias
    model.heads["default"].get_output_embeddings().bias.data.copy_(bias)
    return model
