"""A made-up run whose times were added up by hand: two processes on one machine, then none, then a search."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from orchestrator.results.critical_path import critical_path
from orchestrator.results.run_times import USES, last_run, run_times, work_of
from orchestrator.store.record import Record

ZERO = 1_800_000_000.0


def iso(second):
    return datetime.fromtimestamp(ZERO + second, UTC).isoformat(timespec="milliseconds")


def record(key, work=(), inputs=(), finished=0.0, executor="ray", **facts):
    job, _, name = key.partition("/")
    made = {"host": "vm", "executor": executor, "finished": iso(finished), **({"work": work} if work else {}), **facts}
    named = {f"input {number}": source for number, source in enumerate(inputs)}
    return Record(key, job, name, "f" * 64, {"spec": {}}, named, {}, {}, {}, {}, made)


def work(worker, started, seconds, cores=1, starting=0.0, **phases):
    return {
        "worker": worker, "started": ZERO + started, "seconds": seconds, "phases": phases, "cores": cores, "of": 2,
        "starting": starting,
    }  # fmt: skip


def log(*told):
    """(second, event, key or None); the run's beginning and end are added."""
    middle = [{"time": ZERO + second, "event": event, **({"key": key} if key else {})} for second, event, key in told]
    return [
        {"time": ZERO, "event": "started", "steps": 9, "pid": 7},
        *middle,
        {"time": ZERO + 100, "event": "finished"},
    ]


THETA, EN, ES, SEARCH, MERGE = (
    f"{name}-0" for name in ("initial-adapter/t", "language-adapter/en", "language-adapter/es", "search/gl", "merge/gl")
)
RECORDS = {
    one.key: one
    for one in (
        # A worker that came up from 10 to 14, then loaded for 3 seconds and computed for 2; recorded from 19 to 20.
        record(THETA, [work("vm:11", 14, 5, starting=4, loading=3, computing=2)], finished=19),
        # A bank that came up from 22 to 30: English ended after 20 seconds, Spanish after 30.
        record(EN, [work("vm:12", 30, 20, 1, 8, loading=5, preparing=4, computing=11)], [THETA], 50),
        record(ES, [work("vm:12", 30, 30, 1, 8, loading=5, preparing=5, computing=19, writing=1)], [THETA], 60),
        # A search on the first worker: two stretches, with 1 second between two candidates of the first.
        record(
            SEARCH,
            [work("vm:11", 64, 11, computing=10), work("vm:11", 80, 5, computing=5)],
            [EN, ES],
            85,
        ),
        record(MERGE, [work("vm:11", 88, 2, writing=1, computing=1)], [SEARCH, EN, THETA], 90),
    )
}  # fmt: skip
RUN = log(
    (1, "running", THETA), (20, "succeeded", THETA), (20, "running", EN), (20, "running", ES), (51, "succeeded", EN),
    (62, "succeeded", ES), (62, "running", SEARCH), (86, "succeeded", SEARCH), (86, "running", MERGE),
    (92, "succeeded", MERGE),
)  # fmt: skip
RUN[1:1] = [{"time": ZERO + 9, "event": "executor", "seconds": 8.5}]


def used(worker):
    return {use: round(worker.seconds(use), 3) for use in USES if worker.seconds(use)}


def test_every_second_of_every_worker_is_counted_once():
    run = run_times(RUN, RECORDS)
    first, second, driver = run.workers
    # 0.5 idle, then the cluster to 9, then 1 second of waiting for the process.
    assert used(first) == {
        "starting": 8.5 + 4, "loading": 3, "computing": 2 + 10 + 5 + 1, "writing": 1,
        "waiting": 1 + (64 - 62) + 1 + (80 - 75) + (88 - 86), "idle": 0.5 + (62 - 19) + (86 - 85) + (100 - 90),
    }  # fmt: skip
    # The bank waited from 20 to 22; before that nothing was ready for it.
    assert used(second) == {
        "starting": 8.5 + 8, "loading": 5, "preparing": 5, "computing": 19, "writing": 1, "waiting": 2,
        "idle": 0.5 + (20 - 9) + (100 - 60),
    }  # fmt: skip
    assert driver.name == "driver"
    assert used(driver) == {"writing": (20 - 19) + (51 - 50) + (62 - 60) + (86 - 85) + (92 - 90), "idle": 93}
    for worker in run.workers:
        assert sum(used(worker).values()) == pytest.approx(100)
        assert [part.begin for part in worker.parts[1:]] == pytest.approx([part.end for part in worker.parts[:-1]])


def test_the_share_is_computing_over_cores_times_wall_clock():
    run = run_times(RUN, RECORDS)
    assert (run.seconds, run.cores, run.unmeasured, run.over) == (100, 2, 0, True)
    assert run.share == pytest.approx((18 + 19) / (2 * 100))
    assert run.use_share("computing") == pytest.approx((18 + 19) / 200)  # the driver is no worker
    twice = {**RECORDS, SEARCH: record(SEARCH, [work("vm:11", 64, 11, 2, computing=10)], [EN, ES], 85)}
    assert run_times(RUN, twice).share == pytest.approx((3 + 2 * 10 + 19) / 200)


def test_languages_of_a_bank_share_its_time():
    spent = {piece.key: piece.phases for piece in work_of([RECORDS[ES], RECORDS[EN]])}
    assert spent[EN] == {"loading": 5, "preparing": 4, "computing": 11}
    assert spent[ES] == {"loading": 0, "preparing": 1, "computing": 8, "writing": 1}


def test_searches_that_take_turns_on_a_worker_are_one_time_of_it():
    other = "search/ca"
    records = {
        SEARCH: record(SEARCH, [work("vm:11", 10, 20, computing=9)], (), 30),
        other: record(other, [work("vm:11", 12, 20, computing=8)], (), 32),
    }
    run = run_times(
        log((10, "running", SEARCH), (10, "running", other), (40, "succeeded", SEARCH), (40, "succeeded", other)),
        records,
    )
    assert used(run.workers[0]) == {"computing": 17, "waiting": 22 - 17, "idle": 10 + 68}


def test_a_process_takes_the_place_of_one_that_is_gone_and_machines_are_told_apart():
    keys = ["evaluation/a", "evaluation/b", "evaluation/c"]
    where = [("one:1", 0, 10), ("one:2", 10, 10), ("two:1", 5, 10)]
    records = {
        key: record(key, [work(worker, begin, seconds, computing=seconds)], (), 20)
        for key, (worker, begin, seconds) in zip(keys, where, strict=True)
    }
    run = run_times(log(*((20, "succeeded", key) for key in keys)), records)
    assert [(one.name, one.seconds("computing")) for one in run.workers[:-1]] == [
        ("one worker 1", 20),
        ("two worker 1", 10),
    ]
    assert run.cores == 4  # two on each machine


def test_records_of_older_versions_count_as_computing_and_it_is_told_how_many():
    records = {
        EN: record(EN, (), (), 50, started=iso(30), seconds=20.0),
        ES: record(ES, (), (), 60, started=iso(30), seconds=30.0),
        MERGE: record(MERGE, (), (), 62, started=iso(58), seconds=4.0),
    }
    run = run_times(
        log((10, "running", EN), (51, "succeeded", EN), (62, "succeeded", ES), (62, "succeeded", MERGE)), records
    )
    assert run.unmeasured == 3 and run.cores == 0
    assert [used(one).get("computing") for one in run.workers] == [30, 4, None]  # the merge beside the bank's end
    assert run.share == pytest.approx(34 / (2 * 100))


def test_without_ray_the_driver_is_the_worker_and_writes_what_it_made():
    records = {
        THETA: record(THETA, [work("vm:7", 3, 4, 2, 2, computing=4)], (), 7, "local"),
        MERGE: record(MERGE, (), [THETA], 20, "local", started=iso(10), seconds=10.0),
    }
    told = log((1, "running", THETA), (9, "succeeded", THETA), (9, "running", MERGE), (21, "succeeded", MERGE))
    run = run_times(told, records)
    (only,) = run.workers
    assert used(only) == {"starting": 2, "computing": 14, "writing": 2 + 1, "waiting": 1, "idle": 1 + 79}
    assert run.share == pytest.approx((2 * 4 + 10) / (2 * 100))


def test_the_critical_path_goes_through_inputs_and_through_places():
    path = critical_path(run_times(RUN, RECORDS), RECORDS)
    assert [(one.key, one.held_by) for one in path] == [
        (THETA, "start"), (ES, "inputs"), (SEARCH, "inputs"), (MERGE, "inputs"),
    ]  # fmt: skip
    # THETA waited 10 seconds; the bank 2 until its process came up, the search 2, the merge 2.
    assert [one.waited for one in path] == pytest.approx([10, 2, 2, 2])
    assert [one.end for one in path] == [20, 62, 86, 92]
    for before, one in pairwise(path):
        assert one.parts[0].begin == before.end and one.parts[-1].end == one.end


def test_a_step_that_waited_for_a_place_comes_after_what_left_it():
    long, late = "evaluation/long", "evaluation/late"
    records = {
        THETA: record(THETA, [work("vm:11", 1, 4, computing=4)], (), 5),
        long: record(long, [work("vm:11", 6, 50, computing=50)], [THETA], 56),
        late: record(late, [work("vm:11", 56, 9, computing=9)], [THETA], 65),
    }
    told = log(
        (0, "running", THETA), (5, "succeeded", THETA), (5, "running", long), (5, "running", late),
        (57, "succeeded", long), (66, "succeeded", late),
    )  # fmt: skip
    path = critical_path(run_times(told, records), records)
    assert [(one.key, one.held_by) for one in path] == [(THETA, "start"), (long, "inputs"), (late, "place")]


def test_the_latest_run_that_did_something_is_shown(tmp_path):
    folder = tmp_path / "campaigns" / "toy"
    folder.mkdir(parents=True)
    assert last_run(tmp_path, "toy", RECORDS.get) is None
    later = [{"time": ZERO + 500, "event": "started", "pid": 8}, {"time": ZERO + 501, "event": "finished"}]
    earlier = [
        {"time": ZERO - 500, "event": "started", "pid": 6},
        {"time": ZERO - 400, "event": "succeeded", "key": EN},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in (*earlier, *RUN, *later)))
    run = last_run(tmp_path, "toy", RECORDS.get)
    assert run.zero == ZERO and run.done.keys() == RECORDS.keys()
    # A run that goes on, or was killed, ends with its last event.
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in RUN[:-3]))
    run = last_run(tmp_path, "toy", RECORDS.get)
    assert run.seconds == 86 and not run.over and MERGE not in run.done
