import dataclasses

import pytest

from jobs.spec import METRICS
from orchestrator.plan.index import Comparison, System
from orchestrator.report.wording import (
    comparison_title,
    direction,
    gain_unit,
    gain_words,
    mixture_words,
    score,
    signed,
    system_colours,
    task_title,
)


def comparison(target: str, *proxies: str) -> Comparison:
    rows = [System(f"proxy:{code}", code, "proxy", (code,), {}) for code in proxies]
    rows += [System("fixed:a+b", "", "fixed", ("a", "b"), {}), System("arithmetic", "", "arithmetic", (), {})]
    return Comparison(
        name="zero-shot",
        kind="zero-shot",
        target=target,
        task="ner",
        task_kind="ner",
        metric="f1",
        mode="max",
        seeds=(1,),
        search="search/x",
        systems=tuple(rows),
    )


def test_every_proxy_of_a_row_has_a_column_of_its_own_though_a_language_changes_place_between_targets():
    first, second = comparison("uk", "en", "ru", "pl"), comparison("mr", "en", "hi", "ru")
    assert system_colours(first)["proxy:ru"] == "proxy-2"
    assert system_colours(second)["proxy:ru"] == "proxy-3"
    for made in (first, second):
        assert len(set(system_colours(made).values())) == len(made.systems)


@pytest.mark.parametrize(("kind", "metric"), [(kind, name) for kind, known in METRICS.items() for name, _ in known])
def test_every_metric_of_every_kind_has_its_digits_and_words(kind, metric):
    loss = metric.endswith(("_loss", "perplexity", "_per_byte"))
    assert score(metric, 12.3456) == ("12.346" if loss else "12.35")
    assert direction(metric).endswith("lower is better" if loss else "higher is better")
    assert gain_unit(metric) and "_" not in gain_unit(metric)
    amount, words = gain_words(metric, -1.5)
    assert amount == ("1.500" if loss else "1.50") and ("more" in words) == loss
    assert signed(metric, -1e-16) == ("+0.000" if loss else "+0.00")


def test_a_task_is_called_by_its_kind_and_metric():
    titles = {
        ("qa", "exact_match"): "QA exact match",
        ("classification", "accuracy"): "Classification accuracy",
        ("masked-lm", "mlm_loss"): "Masked-LM loss",
        ("ner", "f1"): "NER F1",
    }
    for (kind, metric), title in titles.items():
        made = dataclasses.replace(comparison("gl"), task=kind, task_kind=kind, metric=metric)
        assert task_title(made) == title
        named = task_title(dataclasses.replace(made, task="own"))
        assert named.startswith("own: ") and named.removeprefix("own: ").lower() in title.lower()


def test_a_comparison_does_not_say_its_name_twice():
    own = dataclasses.replace(comparison("gl"), task="nli", task_kind="classification", metric="accuracy")
    assert comparison_title(own) == "nli: accuracy, zero-shot"
    assert comparison_title(dataclasses.replace(own, name="nli")) == "nli: accuracy"
    assert comparison_title(dataclasses.replace(own, name="nli: adamergex")) == "nli: accuracy, adamergex"


def test_a_mixture_is_told_as_a_sum_with_its_minus_signs():
    assert mixture_words([("en", -0.5), ("es", 0.5), ("task:en", 1.0), ("pt", 0.0)]) == "0.5 es + 1 task:en − 0.5 en"
    assert mixture_words([("en", -1.0)]) == "−1 en" and mixture_words([]) == ""
