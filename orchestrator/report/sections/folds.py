"""Searches that chose by folds of their validation data: what each fold chose, and what choosing so is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from orchestrator.report.document import Block, Cell, Paragraph, Table, columns, row
from orchestrator.report.wording import DASH, comparison_title, counted, mixture_words, score
from orchestrator.results.comparisons import Result
from orchestrator.results.searches import FoldChoice


def folded(results: Sequence[Result]) -> list[tuple[Result, FoldChoice]]:
    """The results whose search chose by folds."""
    return [(one, one.search.folds) for one in results if one.search is not None and one.search.folds is not None]


def folds_blocks(results: Sequence[Result]) -> tuple[Block, ...]:
    """What was done, and a row for each search; nothing where none chose by folds."""
    found = folded(results)
    if not found:
        return ()
    note = Paragraph(
        "By folds: each fold of the validation data was left out in turn and the best candidate on the others chosen; "
        "of one line of lambda the (lower) median of these choices won, elsewhere the choice of most folds. The "
        "cross-validated score is the mean over folds of what each choice scores on the examples that were left out of "
        "its choosing; the winner's own validation score is higher by what choosing on the same data flatters it.",
        "note",
    )
    titles = columns(("Target", "Comparison", "Folds chose"), ("Spread", "Won", "Cross-validated", "On the whole set"))
    return (note, Table("Choice by folds", titles, tuple(_row(one, choice) for one, choice in found)))


def folds_sentence(results: Sequence[Result]) -> str:
    """For the summary; "" where no search chose by folds."""
    found = folded(results)
    spreads = [choice.spread for _, choice in found if not math.isnan(choice.spread)]
    if not found:
        return ""
    how = f"{counted(len(found), 'search').replace('searchs', 'searches')} chose by {len(found[0][1].held_out)} folds"
    if not spreads:
        return f" {how}."
    return f" {how}; the folds' lambdas have a standard deviation of {median(spreads):.2f} (median)."


def _row(result: Result, choice: FoldChoice) -> tuple[Cell, ...]:
    search, metric = result.search, result.comparison.judged[0]
    assert search is not None
    one_line = not math.isnan(choice.spread)
    if one_line:
        told = ", ".join(f"{value:g}" for value in choice.lambdas)
    else:
        told = "; ".join(map(mixture_words, choice.mixtures))
    won = f"{search.winner_lambda:g}" if one_line else mixture_words(search.winner_weights)
    spread = f"±{choice.spread:.2f}" if one_line else DASH
    names = (Cell(result.target_name, result.comparison.target), comparison_title(result.comparison), told)
    return row(*names, spread, won, score(metric, choice.score), score(metric, search.winner_mean))
