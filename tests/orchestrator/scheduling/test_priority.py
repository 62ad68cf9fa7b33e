"""What goes first: the order of steps, how banks are cut from it, and how long they wait for news."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.loop import execute
from orchestrator.scheduling.capacity import LARGEST_BANK, LONGEST_SETTLE, SETTLE, Debounce, split_banks
from orchestrator.scheduling.cluster_model import Cluster
from orchestrator.scheduling.cost import by_upward_rank
from orchestrator.scheduling.schedule import simulate
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.scheduling.test_schedule import NOTHING, costs, fleet
from tests.orchestrator.toy_steps import STEPS, ToyExecutor

each = st.floats(0.01, 500)


@given(st.integers(1, 6), st.integers(1, 3), st.tuples(*[each] * 6))
def test_steps_come_by_the_longest_chain_that_waits_for_them_inputs_first(languages, seeds, seconds):
    steps = fleet(languages, seeds, 2)
    model = costs(**dict(zip(("initial_adapter", "language_adapter", "task_adapter"), seconds, strict=False)))
    found = by_upward_rank(steps, model)
    assert {step.key for step in found} == {step.key for step in steps}
    needing = defaultdict(list)
    for step in steps:
        for _, source in step.inputs:
            needing[source.key].append(step)

    def chain(step):
        return model.seconds(step) + max(map(chain, needing[step.key]), default=0.0)

    chains = [chain(step) for step in found]
    assert all(before >= after - 1e-6 * before for before, after in pairwise(chains))
    places = {step.key: number for number, step in enumerate(found)}
    assert all(places[source.key] < places[step.key] for step in steps for _, source in step.inputs)


@given(st.integers(1, 2000), st.integers(1, 600), st.integers(0, 70))
def test_banks_keep_the_order_and_differ_by_one_language_at_most(count, at_once, size):
    works = list(range(count))
    banks = split_banks(works, at_once, size)
    assert [work for bank in banks for work in bank] == works
    lengths = [len(bank) for bank in banks]
    assert lengths == sorted(lengths) and lengths[-1] - lengths[0] <= 1 and lengths[0] > 0
    assert lengths[-1] <= (size or LARGEST_BANK)
    if not size:
        assert len(banks) == max(min(at_once, count), -(-count // LARGEST_BANK))


def test_news_hold_a_start_back_but_not_for_ever():
    settling = Debounce()
    assert settling.over < 0.0
    settling.news(10.0)
    assert settling.over == 10.0 + SETTLE
    moment = 10.0
    while moment < settling.over:
        settling.news(moment)
        moment += 0.1
    assert moment == pytest.approx(10.0 + LONGEST_SETTLE, abs=0.2)
    settling.news(100.0)
    assert settling.over == 100.0 + SETTLE


def test_a_task_adapter_does_not_wait_behind_languages_that_fewer_steps_wait_for():
    steps = fleet(5, 1, 1)
    source, *others = [step for step in steps if step.job == "language-adapter"]
    (task,) = [step for step in steps if step.job == "task-adapter"]
    shuffled = [steps[0], *others, source, *steps[steps.index(task) :]]  # the source language stands last in the pool
    asked = ResourcesSection(bank_size=1, banks_at_once=1)
    found = simulate(shuffled, costs(language_adapter=10, task_adapter=30), asked, Cluster(1, 0, 1), NOTHING)
    first = sorted(found.ends, key=found.ends.__getitem__)[:3]
    assert first == [steps[0].key, source.key, task.key]


def test_executors_are_told_the_rank_of_every_step(tmp_path):
    ranks = {}

    class Noting(ToyExecutor):
        def submit(self, works):
            ranks.update((work.step.key, work.rank) for work in works)
            super().submit(works)

    execute(STEPS, ArtifactStore(tmp_path), Noting(), lambda event: None, {})
    assert ranks == {step.key: number for number, step in enumerate(STEPS)}
