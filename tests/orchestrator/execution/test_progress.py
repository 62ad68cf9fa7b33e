import io
import re

from rich.console import Console

from orchestrator.execution.executor import StepProgress, StepStateChanged
from orchestrator.execution.progress import Board, LineDisplay, LiveDisplay, display, values_text
from orchestrator.scheduling.cost import CostModel
from orchestrator.wording import short
from tests.orchestrator.toy_steps import STEPS, THETA, A, B

COSTS = CostModel({})


def test_a_board_counts_what_is_done_and_shows_what_moves():
    board = Board(STEPS, COSTS)
    board.take(StepStateChanged(THETA, "reused"))
    board.take(StepStateChanged(A, "running"))
    board.take(StepProgress(A.key, {"optimizer_step": 3.0, "of": 10.0, "loss": 2.0}))
    assert board.line().startswith(
        "1/7 steps  language-adapter 0/3, merge 0/3  language-adapter a-s1: optimizer step 3/10"
    )
    board.take(StepProgress(A.key, {"example": 4.0, "of": 40.0, "step": 7.0, "tokens_per_second": 90.0}))
    assert "a-s1: example 4/40  90 tokens/s" in board.line()
    board.take(StepStateChanged(A, "succeeded"))
    assert board.done["language-adapter"] == 1 and board.running == {}
    assert board.eta().startswith("about ")


def test_progress_of_a_step_that_is_not_running_is_dropped():
    board = Board(STEPS, COSTS)
    board.take(StepProgress(A.key, {"loss": 1.0}))
    assert board.running == {}


def test_a_pipe_gets_lines_without_codes_and_failures_at_once():
    out = io.StringIO()
    with display(Console(file=out, width=300), STEPS, COSTS) as view:
        assert isinstance(view, LineDisplay)
        view(StepStateChanged(B, "failed", error="no [bold]corpus[/bold]; [/red] odd"))
    assert f"FAILED {B.key}: no [bold]corpus[/bold]; [/red] odd" in out.getvalue()
    assert "\x1b" not in out.getvalue() and out.getvalue().splitlines()[-1].startswith("0/7 steps  1 failed")


def test_a_terminal_gets_a_live_view_that_survives_odd_messages():
    out = io.StringIO()
    with display(Console(file=out, width=120, force_terminal=True), STEPS, COSTS) as view:
        assert isinstance(view, LiveDisplay)
        for step in STEPS:
            view(StepStateChanged(step, "running"))
        view(StepProgress(A.key, {"trial": 4.0, "of": 21.0, "best": 0.5, "tokens_per_second": 12345.0}))
        view(StepStateChanged(B, "failed", error="no corpus [/red] in [x]"))
    shown = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "no corpus [/red] in [x]" in shown


def test_keys_and_values_read_well():
    assert short("language-adapter/gl-s42-8c2f3a1b90de") == "language-adapter gl-s42"
    assert values_text({}) == "starting"
    assert values_text({"trial": 4.0, "of": 21.0, "best": 0.5}) == "trial 4/21  best 0.500"
