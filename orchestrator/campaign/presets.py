"""The papers' methods as presets."""

from __future__ import annotations

from orchestrator.campaign.methods import MULTILINGUAL, Method


def _preset(name: str, label: str, weights: dict[str, str], **rest: object) -> Method:
    return Method(name, label, tuple(weights.items()), **rest)  # type: ignore[arg-type]


_ADAMERGEX = {"task:{source}": "1", "reference:{target}": "lambda", "reference:{source}": "-lambda"}
_TIES = {"language:{source}": "1", "language:{any-related}": "1"}

# Language arithmetic: arXiv 2404.15737. add ... add-subtract-related: arXiv 2311.09344, eqs 1 to 4 and Table 2.
# adamergex and its baselines: arXiv 2402.18913; arimerge is its linear rule for every kind of adapter, which for LoRA
# is AdaMergeX's own: there the rule of those whom the paper compares with negates B alone (linear-negate-b, arXiv
# 2306.14870). adamergex-multiplied is the rule of (IA)3 for every kind (its ablation), mad-x the stack of a language
# and a task adapter (arXiv 2005.00052), the second trained on top of the first. tipa: arXiv 2601.16629, weights that
# need neither labels nor a search. layer-swapping: arXiv 2410.01335, the task adapter's middle third of the layers in
# the target's language adapter.
PRESETS: dict[str, Method] = {
    method.name: method
    for method in (
        _preset("no-adapter", "no adapter", {}),
        _preset("task-adapter", "task adapter alone", {"task:{source}": "1"}),
        _preset("add", "Add", {"task:{source}": "lambda", "language:{target}": "1 - lambda"}),
        _preset(
            "add-subtract",
            "Add and Subtract",
            {"task:{source}": "lambda", "language:{target}": "1 - lambda", "language:{source}": "lambda - 1"},
        ),
        _preset("best", "best single task adapter", {"task:{any-source}": "1"}),
        _preset("multilingual", "multilingual task adapter", {f"task:{MULTILINGUAL}": "1"}),
        _preset("add-all", "Add all", {"task:{sources}": "1"}),
        _preset("add-related", "Add related", {"task:{related}": "1"}),
        _preset(
            "add-subtract-related",
            "Add and Subtract related",
            {"task:{related}": "lambda", "language:{target}": "1 - lambda", "language:{related}": "lambda - 1"},
        ),
        _preset("adamergex", "AdaMergeX", _ADAMERGEX, rule="adamergex"),
        _preset("arimerge", "AriMerge", _ADAMERGEX, rule="arimerge"),
        _preset("linear-negate-b", "AriMerge, B negated", _ADAMERGEX, rule="linear_negate_b"),
        _preset(
            "adamergex-multiplied",
            "AdaMergeX, multiplied",
            _ADAMERGEX,
            rule="adamergex",
            options=(("operators", "multiply"),),
        ),
        _preset(
            "layer-swapping",
            "layer swapping",
            {"task:{source}": "1", "language:{target}": "1"},
            rule="layer_swapping",
        ),
        _preset("mad-x", "MAD-X", {"language:{target}": "1", "stacked:{source}": "1"}),
        _preset(
            "language-arithmetic",
            "language arithmetic",
            {"language:{source}": "lambda", "language:{any-related}": "1 - lambda"},
            rule="task_arithmetic",
        ),
        _preset(
            "language-arithmetic-own",
            "language arithmetic with the own adapter",
            {"language:{source}": "lambda", "language:{target}": "1 - lambda"},
            rule="task_arithmetic",
        ),
        _preset("proxy", "adapter of the task's language", {"language:{source}": "1"}, role="proxy"),
        _preset("proxy-related", "adapter of the related language", {"language:{related}": "1"}, role="proxy"),
        _preset("own", "own adapter", {"language:{target}": "1"}, role="own"),
        _preset("tipa", "TIPA", {"language:{weighted-related}": "1"}),
        _preset("half", "lambda 0.5", {"language:{source}": "0.5", "language:{related}": "0.5"}, role="fixed"),
        *(
            _preset(
                f"ties-{percent}",
                f"TIES, top {percent} %",
                _TIES,
                rule="ties",
                options=(("density", percent / 100), ("lambda", "lambda")),
                lambdas=(0.8, 1.8),
            )
            for percent in (20, 80)
        ),
    )
}
