"""Secrets by their form: hidden, and nothing else is."""

import time

import pytest

from jobs.runtime.redaction import redacted, redacted_words, secrets_in

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://user:pass@host:5000/x", "http://[hidden]@host:5000/x"),
        ("postgresql://me:s3cr3t@db/mlflow failed", "postgresql://[hidden]@db/mlflow failed"),
        ("key AKIAABCDEFGHIJKLMNOP here", "key [hidden] here"),
        ("HF said hf_abcdefghijklmnopqrstuvwxyz", "HF said [hidden]"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123 no", "[hidden] no"),
        (f"a {KEY} b", "a [hidden] b"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=[hidden]"),
        ('{"password": "hunter22", "a": 1}', '{"password": "[hidden]", "a": 1}'),
        ("?api_key=12345678&x=1", "?api_key=[hidden]&x=1"),
        ("Authorization: Bearer abcdefgh", "Authorization: [hidden]"),
        ("image me:s3cretpw@registry.example/x", "image me:[hidden]@registry.example/x"),
    ],
)
def test_a_secret_is_hidden_and_what_stands_around_it_stays(text, safe):
    assert redacted(text) == safe
    assert redacted(safe) == safe


@pytest.mark.parametrize(
    "text",
    [
        "the tokenizer has no mask token, so masked LM is impossible",
        "tokens_per_second: 20000.0",
        "max_tokens=1000000",
        "http://127.0.0.1:5000/#/experiments",
        "sqlite:////data/ws/mlflow.db",
        "s3://bucket/prefix",
        "registry.example/me/fleet:0.1.0-cpu@sha256:" + "a" * 64,
        "write to mailto:somebody@example.org",
        "language-adapter/gl-s42-8c2f3a1b90de: adapter.safetensors has 3 bytes, not 40",
    ],
)
def test_a_harmless_text_stays_as_it_is(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "line",
    [
        "# MLFLOW_TRACKING_PASSWORD=correct-horse-battery",
        'description: "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"',
        "# Authorization: Bearer abcdef0123456789abcdef",
        "api_key: 0123456789abcdef",
        "image: me:s3cretpw@registry.example/x",
        "s3: http://user:hunter22@minio:9000",
    ],
)
def test_what_others_will_read_is_refused_for_a_secret_of_any_form_with_its_line(line):
    (fault, *_) = secrets_in(f"campaign: tiny\n{line}\n", "campaign")
    assert fault.where == "campaign:2"
    assert not any(secret in str(fault) for secret in ("horse", "wJalr", "abcdef", "s3cret", "hunter"))


@pytest.mark.parametrize("line", ["token: ${TOKEN}", "api_key=<your key>", "password: [hidden]", "tokens: 1000000"])
def test_a_place_that_is_left_for_a_secret_is_none(line):
    assert not list(secrets_in(line, "campaign"))


def test_a_command_line_hides_the_word_after_an_option_that_is_named_like_a_secret():
    words = ["run", "x.yaml", "--token", "abc", "--tracking", "http://a:b@h", "--set", "password=hunter22"]
    safe = ["run", "x.yaml", "--token", "[hidden]", "--tracking", "http://[hidden]@h", "--set", "password=[hidden]"]
    assert redacted_words(words) == safe
    assert redacted_words(["--token=abcdefgh", "--tokenizer", "x"]) == ["--token=[hidden]", "--tokenizer", "x"]


@pytest.mark.parametrize(
    "text", ["a" * 300_000, "://" * 100_000, "password" * 40_000, "-----BEGIN " * 30_000, "x:" * 150_000]
)
def test_a_long_text_is_read_in_no_time(text):
    started = time.process_time()
    redacted(text)
    assert time.process_time() - started < 20  # seconds of a slow machine; a search that goes back takes hours
