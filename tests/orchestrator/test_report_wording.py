from orchestrator.report_inputs import Comparison, System
from orchestrator.report_wording import system_colours


def comparison(target: str, *proxies: str) -> Comparison:
    rows = [System(f"proxy:{code}", code, "proxy", (code,), {}) for code in proxies]
    rows += [System("fixed:a+b", "", "fixed", ("a", "b"), {}), System("arithmetic", "", "arithmetic", (), {})]
    return Comparison(
        "zero-shot",
        "zero-shot",
        target,
        "ner",
        "ner",
        "f1",
        "max",
        (1,),
        "search/x",
        {},
        tuple(rows),
        "",
        "",
        "",
        (),
        (),
    )


def test_every_proxy_of_a_row_has_a_column_of_its_own_though_a_language_changes_place_between_targets():
    first, second = comparison("uk", "en", "ru", "pl"), comparison("mr", "en", "hi", "ru")
    assert system_colours(first)["proxy:ru"] == "proxy-2"
    assert system_colours(second)["proxy:ru"] == "proxy-3"
    for made in (first, second):
        assert len(set(system_colours(made).values())) == len(made.systems)
