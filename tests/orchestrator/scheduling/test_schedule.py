"""A campaign on a simulated cluster: the laws that every schedule obeys, and small ones worked out by hand."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.errors import InputError
from jobs.spec import BottleneckConfig, DataRef, EvaluationSpec, MixtureSpace, SearchSpec, TaskAdapterSpec, TaskRef
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.cli.app import app
from orchestrator.plots.gantt import draw_gantt
from orchestrator.scheduling.cluster_model import Cluster, parse_cluster
from orchestrator.scheduling.cost import CostModel
from orchestrator.scheduling.schedule import simulate
from orchestrator.scheduling.simulation import START_UP, Overheads
from orchestrator.store.step import make_step
from tests.orchestrator.campaign_files import write_data, write_file
from tests.orchestrator.toy_steps import BACKBONE, THETA, TRAINING, language, merged

TASK = TaskRef("ner", "ner", ("O", "B-X"))
NOTHING = Overheads(0, 0, 0, 0, 0)


def fleet(languages: int, seeds: int, lambdas: int):
    """theta -> language adapters -> a task adapter and searches -> merges -> evaluations, as a campaign has them."""
    adapters = {(n, s): language(f"l{n}", s) for s in range(seeds) for n in range(languages)}
    data = DataRef("text", "l0", "sha256:" + "ef" * 32)
    tasks = [
        make_step(
            TaskAdapterSpec(TASK, "l0", data, BACKBONE, BottleneckConfig(), TRAINING, s),
            {"language:l0": adapters[0, s]},
        )
        for s in range(seeds)
    ]
    steps = [THETA, *adapters.values(), *tasks]
    grid = tuple(n / lambdas for n in range(1, lambdas + 1))
    for n in range(1, languages):
        space = MixtureSpace((("l0", f"l{n}"),), grid)
        inputs = {f"task@{s}": task for s, task in enumerate(tasks)}
        inputs |= {f"language:l{n}@{s}": adapters[n, s] for s in range(seeds)}
        search = make_step(SearchSpec(f"l{n}", TASK, data, BACKBONE, space, tuple(range(seeds)), 16), inputs)
        merge = merged(f"t{n}", search, adapters[n, 0])
        score = EvaluationSpec(f"l{n}", TASK, data, BACKBONE, 0, (("merge", 1.0),), "test", 16)
        steps += [search, merge, make_step(score, {"merge": merge, "task": tasks[0]})]
    return steps


def costs(**seconds):
    jobs = ("initial-adapter", "language-adapter", "task-adapter", "search", "merge", "evaluation")
    return CostModel({}, {job: seconds.get(job.replace("-", "_"), 1.0) for job in jobs})


seconds = st.floats(0.01, 500)
overheads = st.builds(Overheads, *[st.floats(0, 20)] * 3, st.floats(0, 1), st.floats(0, 0.1))
resources = st.builds(
    ResourcesSection,
    bank_size=st.integers(0, 4),
    banks_at_once=st.integers(0, 3),
    cpus_per_bank=st.sampled_from([1, 2, 3.5]),
    gpus_per_bank=st.sampled_from([0, 1, 2]),
    evaluators=st.integers(0, 5),
    cpus_per_evaluator=st.sampled_from([0.5, 1, 2]),
    gpus_per_evaluator=st.sampled_from([0, 0.25, 1]),
)


@settings(max_examples=60)
@given(
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(2, 4), st.integers(4, 9),
    resources, overheads, st.tuples(*[seconds] * 6),
)  # fmt: skip
def test_every_schedule_obeys_the_laws(languages, seeds, lambdas, nodes, gpus, cpus, asked, extra, each):
    steps = fleet(languages, seeds, lambdas)
    model = CostModel({}, dict(zip(dict.fromkeys(step.job for step in steps), each, strict=False)))
    cluster = Cluster(nodes, gpus, cpus)
    found = simulate(steps, model, asked, cluster, extra)
    assert found.ends.keys() == {step.key for step in steps}
    # No step ends before its inputs and its own time; nothing beats the critical path or the work over all lanes.
    own = {step.key: model.seconds(step) if step.job != "search" else 0.0 for step in steps}
    own |= {one.step.key: one.alone for one in found.critical}
    for step in steps:
        ready = max((found.ends[source.key] for _, source in step.inputs), default=0.0)
        assert found.ends[step.key] >= ready + own[step.key] - 1e-6
    assert found.makespan >= found.shortest - 1e-6
    assert 0 < found.utilisation <= 1 + 1e-9
    work = math.fsum(model.seconds(step) for step in steps if step.job not in ("search",))
    assert math.fsum(s.end - s.start for s in found.spans if s.job not in ("search", START_UP)) == pytest.approx(work)
    by_lane = defaultdict(list)
    for span in found.spans:
        by_lane[span.node, span.lane].append((span.start, span.end))
    for spans in by_lane.values():
        spans.sort()
        assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(spans))
    for span in found.spans:  # at the start of each span, those that run fit into its node
        beside = [s for s in found.spans if s.node == span.node and s.start <= span.start + 1e-9 < s.end - 1e-9]
        assert sum(s.gpus for s in beside) <= gpus + 1e-6 and sum(s.cpus for s in beside) <= cpus + 1e-6


def test_two_languages_on_one_core_are_a_bank_after_theta():
    steps = fleet(2, 1, 1)[:3]
    found = simulate(
        steps, costs(initial_adapter=2, language_adapter=10), ResourcesSection(), Cluster(1, 0, 1), NOTHING
    )
    # theta 2 s, 0.7 s until banks start, both languages 20 s in one bank
    assert found.makespan == pytest.approx(22.7) and found.shortest == 12
    assert [one.step.job for one in found.critical] == ["initial-adapter", "language-adapter"]
    assert found.busy_hours() == pytest.approx(22 / 3600) and not found.counts_gpus


def test_more_places_make_more_banks_and_start_up_is_no_work():
    steps = fleet(8, 1, 1)[:9]
    asked = ResourcesSection(gpus_per_bank=1, gpus_per_evaluator=1)
    extra = Overheads(bank=5, worker=0, search=0, trial=0, step=0)
    found = simulate(steps, costs(language_adapter=10), asked, Cluster(2, 2, 8), extra)
    assert found.makespan == pytest.approx(1 + 0.7 + 5 + 20)  # four banks of two
    assert found.busy_hours("language-adapter") == pytest.approx(80 / 3600) and found.counts_gpus
    assert found.cluster_hours == pytest.approx(4 * found.makespan / 3600)


def test_the_trials_of_one_search_share_the_workers_but_tunes_loop_is_one():
    steps = [step for step in fleet(2, 1, 8) if step.job == "search"]
    asked = ResourcesSection(cpus_per_evaluator=1)
    quick = simulate(steps, costs(search=4), asked, Cluster(1, 0, 4), NOTHING)
    assert quick.makespan == pytest.approx(0.7 + 8)  # eight trials of 4 s on four workers
    slow = simulate(steps, costs(search=4), asked, Cluster(1, 0, 4), Overheads(0, 0, 0, trial=2, step=0))
    assert slow.makespan == pytest.approx(0.7 + 16)  # the loop begins a trial every 2 s


def test_finished_inputs_cost_nothing():
    _, *rest = fleet(3, 1, 2)
    found = simulate(rest, costs(), ResourcesSection(), Cluster(1, 0, 4), NOTHING)
    assert THETA.key not in found.ends and found.critical[0].step.job == "language-adapter"


def test_steps_of_unknown_cost_are_named_with_what_to_do():
    with pytest.raises(InputError, match=r"nobody knows.*language-adapter \(3 steps\).*--assume job=seconds"):
        simulate(fleet(3, 1, 2)[1:4], CostModel({}), ResourcesSection(), Cluster(1, 0, 4))


def test_requests_that_no_node_can_meet_are_refused():
    with pytest.raises(InputError, match="no node of the cluster has that many GPUs"):
        simulate([THETA], costs(), ResourcesSection(gpus_per_bank=2), Cluster(9, 1, 8))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not a size of the cluster"),
        ("nodes=64,gpu=8", r"not a size of the cluster \(got gpu=8\)"),
        ("nodes=2,nodes=3", "not a size of the cluster"),
        ("nodes=-1", "nodes is a whole number"),
        ("nodes=1e3", "nodes is a whole number"),
        ("nodes=99999999999999999999", "nodes is a whole number"),
        ("nodes=0", "at least one node"),
        ("nodes=1,cpus=0", "each node a CPU"),
    ],
)
def test_what_is_no_cluster_is_refused(text, fault):
    with pytest.raises(InputError, match=fault):
        parse_cluster(text)


def test_a_cluster_in_few_words():
    assert parse_cluster(" nodes=64, gpus=8") == Cluster(64, 8, 96)
    assert parse_cluster("cpus=2") == Cluster(1, 0, 2)
    assert str(Cluster(64, 8, 96)) == "64 nodes of 8 GPUs and 96 CPUs" and str(Cluster(1, 0, 2)) == "one node of 2 CPUs"


@pytest.mark.parametrize(("nodes", "heading"), [(2, "each place of a bank"), (50, "a row per node")])
def test_the_picture_names_jobs_nodes_and_the_critical_path(tmp_path, nodes, heading):
    asked = ResourcesSection(gpus_per_bank=1, gpus_per_evaluator=0.5)
    found = simulate(fleet(30, 2, 4), costs(language_adapter=600), asked, Cluster(nodes, 4, 48))
    draw_gantt(found, tmp_path / "a.svg", "toy")
    draw_gantt(found, tmp_path / "b.svg", "toy")
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    for text in (heading, "GPUs in use", "critical path", "language-adapter", "node 1", "search"):
        assert f"<!-- {text}" in drawn, text


def test_a_picture_has_a_known_format(tmp_path):
    found = simulate([THETA], costs(), ResourcesSection(), Cluster(1, 0, 1))
    with pytest.raises(InputError, match=r"no format for a picture.*\.svg"):
        draw_gantt(found, tmp_path / "a.docx", "toy")


def test_the_command_tells_makespan_critical_path_and_idle_gpus(tmp_path):
    write_data(tmp_path)
    file = write_file(tmp_path)
    jobs = ("initial-adapter", "language-adapter", "task-adapter", "search", "merge", "evaluation")
    assumed = [word for job in jobs for word in ("--assume", f"{job}=5")]
    picture = tmp_path / "plan.png"
    command = ["plan", str(file), "-w", str(tmp_path / "ws"), "--cluster", "nodes=2,gpus=1", "--gantt", str(picture)]
    answer = CliRunner().invoke(app, [*command, *assumed], catch_exceptions=False)
    assert answer.exit_code == 0
    for text in ("simulated on 2 nodes of 1 GPUs and 12 CPUs", "makespan", "critical path", "all of them stay idle"):
        assert text in answer.output
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--assume", "search=0"], "--assume takes job=seconds"),
        (["--assume", "serach=1"], "jobs: initial-adapter"),
        (["--gantt", "x.svg"], "a picture needs a cluster"),
        (["--cluster", "nodes=1"], "nobody knows how long"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(tmp_path, words, fault):
    write_data(tmp_path)
    command = ["plan", str(write_file(tmp_path)), "-w", str(tmp_path / "ws"), *words]
    with pytest.raises(InputError, match=fault):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_bank_counts_once_where_records_say_what_steps_cost(tmp_path):
    from orchestrator.scheduling.cost import cost_model
    from orchestrator.store.record import Record

    def record(step, started, taken, host="h"):
        spec = json.loads('{"backbone": {"revision": "r"}, "training": {"optimizer_steps": 10, "batch_size": 2}}')
        facts = {"started": started, "host": host}
        return Record(step, "language-adapter", step, step, {"spec": spec}, {}, {}, {"seconds": taken}, {}, {}, facts)

    bank = [record("a", "1", 8.0), record("b", "1", 8.0), record("c", "1", 7.0), record("d", "1", 8.0)]
    tokens = 10 * 2 * 128
    assert cost_model(bank).seen["language-adapter", "r"] == pytest.approx(8.0 / (4 * tokens))
    apart = [record("a", "1", 8.0), record("b", "2", 8.0), record("c", "1", 8.0, "other")]
    assert cost_model(apart).seen["language-adapter", "r"] == pytest.approx(8.0 / tokens)


def test_members_of_a_bank_that_trained_one_after_another_count_each():
    from orchestrator.scheduling.cost import cost_model
    from orchestrator.store.record import Record

    def record(step, taken, share):
        spec = json.loads('{"backbone": {"revision": "r"}, "training": {"optimizer_steps": 10, "batch_size": 2}}')
        metrics, facts = {"seconds": taken, "share_seconds": share}, {"started": "1", "host": "h"}
        return Record(step, "language-adapter", step, step, {"spec": spec}, {}, {}, metrics, {}, {}, facts)

    two_at_a_time = [record("a", 8.0, 4.0), record("b", 8.0, 4.0), record("c", 6.0, 3.0), record("d", 6.0, 3.0)]
    assert cost_model(two_at_a_time).seen["language-adapter", "r"] == pytest.approx(14.0 / (4 * 10 * 2 * 128))
