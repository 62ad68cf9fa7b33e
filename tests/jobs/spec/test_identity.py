import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    EvaluationSpec,
    InitialAdapterSpec,
    LanguageAdapterSpec,
    MergeSpec,
    MixtureSpace,
    SearchSpec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from jobs.spec.identity import canonical_json, fingerprint, location
from orchestrator.store.step import make_step, payload

BACKBONE = BackboneRef("tiny", "sha256:" + "ab" * 32, "/somewhere")
DATA = DataRef("text", "gl", "sha256:" + "cd" * 32, files=(("train", "/a/b.txt"),))
TRAINING = TrainingConfig(optimizer_steps=100, batch_size=8)
NER = TaskRef("ner", "ner", ("O", "B-LOC"))
TEXT = TaskRef("text", "masked-lm")
SPACE = MixtureSpace((("en", "pt"),), (0.0, 0.5, 1.0))
SPECS = {
    "initial": InitialAdapterSpec(BACKBONE, BottleneckConfig()),
    "language": LanguageAdapterSpec("gl", DATA, BACKBONE, BottleneckConfig(), TRAINING, 42),
    "task": TaskAdapterSpec(NER, "en", DATA, BACKBONE, BottleneckConfig(16, 0), TRAINING, 42),
    "search": SearchSpec("gl", TEXT, DATA, BACKBONE, SPACE, (42, 51), 64),
    "merge": MergeSpec("gl", "ner", BACKBONE, 42),
    "evaluation": EvaluationSpec("gl", NER, DATA, BACKBONE, 42, (("language:en", 1.0),), "test", 64),
}
# Frozen. A change here means that every finished step of every workspace is computed again: raise the job's version
# in jobs.spec.JOBS instead, or give a new field a default that means what was before.
# Since 0.1 the versions of task-adapter, search, merge and evaluation were raised to 2; the others are those of 0.1.
GOLDEN = {
    "initial": "02809cd46bb26953",
    "language": "5644a3c0bd87e386",
    "task": "ec2ce3dc52c0fec3",
    "search": "a5487f0b810049c4",
    "merge": "d7ebcb728442a535",
    "evaluation": "e12ffde3e96c55e1",
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", SPECS)
def test_identities_are_those_of_earlier_versions(name):
    assert make_step(SPECS[name]).fingerprint[:16] == GOLDEN[name]


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(content, random):
    keys = list(content)
    random.shuffle(keys)
    assert fingerprint({key: content[key] for key in keys}) == fingerprint(content)


@given(VALUES)
def test_the_canonical_text_is_json_of_the_same_value(value):
    assert json.loads(canonical_json(value)) == value


@given(VALUES, VALUES)
def test_values_of_unequal_json_have_unequal_texts(a, b):
    if a != b:
        assert canonical_json(a) != canonical_json(b)


@given(st.integers(-(10**6), 10**6))
def test_equal_numbers_are_written_alike(number):
    assert canonical_json(float(number)) == canonical_json(number)


def test_which_of_two_equal_specs_came_first_does_not_matter():
    def of(rate):
        return canonical_json(dataclasses.replace(TRAINING, learning_rate=rate, max_grad_norm=rate))

    assert of(2) == of(2.0) and of(0.0) == of(-0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_without_identity_are_refused(value):
    with pytest.raises(ValueError, match="no stable identity"):
        fingerprint({"a": [value]})


@pytest.mark.parametrize("value", [{1, 2}, frozenset({1}), Path("/a"), b"bytes", object(), len])
def test_values_without_identity_are_refused(value):
    with pytest.raises(TypeError, match="no stable identity"):
        fingerprint({"a": {"b": value}})
    with pytest.raises(TypeError, match=r"no stable identity|unhashable"):
        canonical_json(dataclasses.replace(TRAINING, learning_rate=value))


def test_keys_are_texts():
    with pytest.raises(TypeError, match="a key of an identity must be text"):
        fingerprint({"a": {1: 2}})


def test_a_field_at_its_default_leaves_the_fingerprint_alone():
    @dataclass(frozen=True)
    class Old:
        a: int

    @dataclass(frozen=True)
    class New:
        a: int
        b: int = 3
        c: str = location("x")

    assert canonical_json(Old(1)) == canonical_json(New(1)) == canonical_json(New(1, c="elsewhere")) == '{"a":1}'
    assert canonical_json(New(1, 4)) == '{"a":1,"b":4}'


def test_places_are_no_part_of_a_spec_s_identity():
    moved = dataclasses.replace(
        SPECS["language"],
        corpus=dataclasses.replace(DATA, files=(("train", "/c.txt"),)),
        backbone=dataclasses.replace(BACKBONE, path="/elsewhere"),
    )
    assert make_step(moved).fingerprint == make_step(SPECS["language"]).fingerprint
    assert moved == SPECS["language"]


def test_a_step_s_identity_covers_job_spec_and_inputs():
    theta, other = make_step(SPECS["initial"]), make_step(InitialAdapterSpec(BACKBONE, BottleneckConfig(4)))
    prints = {make_step(SPECS["language"], inputs).fingerprint for inputs in (
        {}, {"theta_pre": theta}, {"theta_pre": other}, {"theta": theta},
    )}  # fmt: skip
    assert len(prints) == 4


def test_the_payload_is_what_was_hashed():
    step = make_step(SPECS["evaluation"], {"language:en": make_step(SPECS["language"])})
    assert fingerprint(payload(step)) == step.fingerprint


def test_names_are_safe_in_paths():
    for spec in SPECS.values():
        step = make_step(spec)
        assert step.key.startswith(f"{step.job}/{step.name}-") and step.key.count("/") == 1
        assert set(step.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_ABCDEFGHIJKLMNOPQRSTUVWXYZ")
