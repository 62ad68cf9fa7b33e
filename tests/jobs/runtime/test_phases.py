"""Time is counted once, for the innermost phase, and never more of it than passed."""

import threading
import time

import pytest

from jobs.runtime.phases import Stopwatch, joined, phase
from jobs.spec import JobResult, Stretch


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_what_is_inside_another_phase_counts_there_alone():
    watch, begun = Stopwatch(), time.perf_counter()
    with phase("loading"):
        spin(0.02)
        with phase("preparing"):
            spin(0.05)
        spin(0.02)
    spin(0.03)
    passed = time.perf_counter() - begun
    told = watch.stretch()
    assert told.phases["loading"] >= 0.039 and told.phases["preparing"] >= 0.049 and told.phases["computing"] >= 0.029
    assert told.phases["loading"] <= passed - 0.08  # without what was prepared and computed
    assert sum(told.phases.values()) <= told.seconds
    assert told.started <= time.time() and told.cores >= 1 and told.of >= 1


def test_a_stopwatch_tells_what_came_after_it_began_and_a_phase_that_is_open():
    with phase("writing"):
        spin(0.02)
        watch = Stopwatch(starting=2.5)
        spin(0.01)
        told = watch.stretch()
    assert 0.009 <= told.phases["writing"] <= told.seconds and told.starting == 2.5
    assert Stopwatch().stretch().phases.keys() == {"computing"}


def test_a_phase_ends_with_an_error_and_is_a_decorator_too():
    @phase("preparing")
    def broken() -> None:
        spin(0.01)
        raise ValueError("no text")

    watch = Stopwatch()
    for _ in range(2):
        with pytest.raises(ValueError, match="no text"):
            broken()
    told = watch.stretch()
    spin(0.02)
    assert told.phases["preparing"] >= 0.019 and watch.stretch().phases["preparing"] == told.phases["preparing"]


def test_each_thread_counts_for_itself():
    watch = Stopwatch()

    def other() -> None:
        with phase("writing"):
            spin(0.01)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "writing" not in watch.stretch().phases


def test_a_result_carries_its_stretch_and_an_error_stays_what_it_is():
    watch, error = Stopwatch(), ValueError("no")
    result = watch.on(JobResult({"norm": 1.0}), workers=3)
    assert result.metrics == {"norm": 1.0} and len(result.work) == 1
    assert result.work[0].cores == 3 * watch.stretch().cores
    assert watch.on(error) is error


def test_candidates_of_one_worker_are_one_stretch_until_it_pauses():
    trials = [
        Stretch("a:1", 100.0, 2.0, {"loading": 0.5, "computing": 1.5}, starting=4.0),
        Stretch("b:2", 100.5, 1.0, {"computing": 1.0}),
        Stretch("a:1", 102.5, 2.0, {"computing": 1.75}),
        Stretch("a:1", 106.0, 1.0, {"computing": 1.0}),
    ]
    first = Stretch("a:1", 100.0, 4.5, {"computing": 3.25, "loading": 0.5}, starting=4.0)
    assert joined(reversed(trials)) == (first, trials[1], trials[3])
