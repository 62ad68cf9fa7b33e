"""Large corpora are tokenized side by side before their bank begins; what cannot be read is left to the bank."""

import dataclasses
import os

import pytest
import ray
from tiny_fleet import Fleet

from jobs.ray import tokenize
from jobs.ray.mailbox import Sender, open_mailbox
from jobs.tokens import text_blocks
from orchestrator.execution.ray.executor import ENVIRONMENT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    for name, setting in ENVIRONMENT.items():
        os.environ.setdefault(name, setting)
    os.environ.setdefault("RAY_AUTH_TOKEN", "a token of this test alone, long enough to be one")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def tokenized(fleet, language):
    return sorted(path.name.split("-")[2] for path in (fleet.root / "cache" / "tokenized").glob(f"text-{language}-*"))


def with_file(call, path):
    """The call, with a training text of which no bank could make anything."""
    corpus = dataclasses.replace(call.spec.corpus, files=(("train", str(path)),))
    return dataclasses.replace(call, spec=dataclasses.replace(call.spec, corpus=corpus))


def test_large_corpora_lie_in_the_cache_when_the_bank_begins(fleet, monkeypatch):
    monkeypatch.setattr(tokenize, "LARGE", 1)
    mailbox = open_mailbox()
    calls = [fleet.call(language) for language in ("pa", "pb", "pc")]
    broken = fleet.root / "broken.txt"
    broken.write_bytes(b"w1 w2\n\xff\xfe\n")
    tokenize.prepare_corpora([calls[0], with_file(calls[1], broken), calls[2]], Sender(mailbox.name), 1.0)
    assert tokenized(fleet, "pa") == tokenized(fleet, "pc") == ["train", "validation"]
    assert tokenized(fleet, "pb") == []
    before = {path: path.stat().st_mtime_ns for path in fleet.root.glob("cache/tokenized/text-pa-*")}
    assert len(text_blocks.corpus_blocks(calls[0].spec, "train", calls[0].cache))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_small_corpora_are_left_to_the_bank(fleet):
    mailbox = open_mailbox()
    tokenize.prepare_corpora([fleet.call("sa")], Sender(mailbox.name), 1.0)
    assert tokenized(fleet, "sa") == []


def test_a_driver_that_leaves_waits_for_no_corpus(fleet, monkeypatch):
    monkeypatch.setattr(tokenize, "LARGE", 0)
    mailbox = open_mailbox()
    pipe = fleet.root / "pipe"
    os.mkfifo(pipe)  # whoever reads it waits for ever
    ray.get(mailbox.actor.request_shutdown.remote())
    tokenize.prepare_corpora([with_file(fleet.call("la"), pipe)], Sender(mailbox.name), 1.0)
    assert tokenized(fleet, "la") == []
