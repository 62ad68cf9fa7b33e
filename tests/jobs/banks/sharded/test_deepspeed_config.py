from __future__ import annotations

import pytest

from jobs.banks.sharded.deepspeed_config import engine_settings
from jobs.errors import InputError
from jobs.spec import TrainingConfig

TRAINING = TrainingConfig(optimizer_steps=10, batch_size=5, gradient_accumulation=2, max_grad_norm=0.5)


def test_the_configuration_follows_from_the_campaign():
    made = engine_settings(TRAINING, 3, 2, False, {})
    assert made["train_micro_batch_size_per_gpu"] == 3 and made["gradient_accumulation_steps"] == 2
    assert made["zero_optimization"]["stage"] == 3 and made["gradient_clipping"] == 0.5
    assert made["bf16"] == {"enabled": False}


def test_what_the_campaign_does_not_say_may_be_added():
    extra = {"zero_optimization": {"stage3_prefetch_bucket_size": 1000}, "comms_logger": {"enabled": False}}
    made = engine_settings(TRAINING, 3, 2, True, extra)
    assert made["zero_optimization"]["stage3_prefetch_bucket_size"] == 1000 and made["zero_optimization"]["stage"] == 3
    assert made["comms_logger"] == {"enabled": False}


def test_every_contradiction_is_told_at_once():
    extra = {
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 0.5,
        "zero_optimization": {"stage": 2},
        "optimizer": {"type": "Adam"},
        "fp16": {"enabled": True},
    }
    with pytest.raises(InputError) as caught:
        engine_settings(TRAINING, 3, 2, False, extra)
    text = str(caught.value)
    for key in ("gradient_accumulation_steps", "zero_optimization.stage", "optimizer", "fp16"):
        assert f"resources.deepspeed: {key}" in text
    assert "gradient_clipping" not in text
