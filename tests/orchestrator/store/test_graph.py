"""Which steps are ready, and which can never be."""

from orchestrator.store.graph import StepGraph
from tests.orchestrator.toy_steps import AB, BC, STEPS, THETA, TOP, A, B, C


def test_a_step_is_ready_when_its_last_input_is_done_and_is_told_once():
    graph = StepGraph(STEPS)
    assert graph.ready() == [THETA] and graph.ready() == []
    assert graph.done(THETA) == [A, B, C]
    assert graph.done(B) == [] and graph.done(A) == [AB] and graph.done(C) == [BC]
    assert graph.done(BC) == [] and graph.done(AB) == [TOP] and graph.done(TOP) == []


def test_inputs_that_are_not_among_the_steps_count_as_done():
    assert StepGraph([AB, C, TOP]).ready() == [AB, C]


def test_what_needs_a_step_is_given_up_with_it_once():
    graph = StepGraph(STEPS)
    assert set(graph.give_up(A)) == {AB, TOP}
    assert list(graph.give_up(B)) == [BC] and list(graph.give_up(C)) == []
