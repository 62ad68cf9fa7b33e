"""What the page says of a run's time: shares, the picture's rows, and what nobody measured."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from itertools import pairwise

import pytest

from orchestrator.report.document import Fold, Gallery, Paragraph, Section, Table
from orchestrator.report.sections.run_times import COLUMNS, MOST_ROWS, run_line, run_times_section
from orchestrator.results.inputs import ReportInputs, read_inputs
from tests.orchestrator.results.test_run_times import EN, RECORDS, RUN, iso, log, record, work
from tests.orchestrator.synthetic_campaign import CAMPAIGN, PROVENANCE, make_workspace


def write_run(workspace, campaign, events) -> None:
    folder = workspace / "campaigns" / campaign
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> ReportInputs:
    return read_inputs(make_workspace(tmp_path_factory.mktemp("times") / "w").workspace, CAMPAIGN)


@pytest.fixture
def section(synthetic, tmp_path):
    def made(events, records) -> Section:
        write_run(tmp_path, CAMPAIGN, events)
        store = type(synthetic.store)(tmp_path)
        section = run_times_section(dataclasses.replace(synthetic, store=store, records=records))
        assert section is not None
        return section

    return made


def texts(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Paragraph))


def panels(section: Section):
    return [figure.panel for block in section.blocks if isinstance(block, Gallery) for figure in block.figures]


def table(section: Section, title: str) -> Table:
    (fold,) = [block for block in section.blocks if isinstance(block, Fold) and block.title == title]
    return next(block for block in fold.blocks if isinstance(block, Table))


def test_shares_and_the_path_stand_in_words(section):
    made = section(RUN, RECORDS)
    # 37 of 200 seconds of cores; of the two workers' 200: idle 106, starting 29, waiting 13.
    assert "took 1 min 40 s; **18 %** of the time of 2 cores" in texts(made)
    assert "nothing to do 53 %" in texts(made) and "waiting for a place 6 %" in texts(made)
    assert "4 steps decided when it ended, of which 22.0 s passed in waiting" in texts(made)
    assert "not told" not in texts(made)


def test_the_pictures_have_a_row_a_worker_and_a_row_a_step_of_the_path(section):
    workers, path = panels(section(RUN, RECORDS))
    assert [(row.label, row.note) for row in workers.rows] == [
        ("worker 1", "computing 18 %"), ("worker 2", "computing 19 %"), ("driver", ""),
    ]  # fmt: skip
    assert [row.label for row in path.rows] == ["initial-adapter t", "language-adapter es", "search gl", "merge gl"]
    assert ("proxy-1", 17.0, 19.0) in workers.rows[0].parts  # what the first worker computed at first
    assert all(colour for row in workers.rows for colour, _, _ in row.parts)


def test_all_runs_are_added_up_by_job(section):
    made = table(section(RUN, RECORDS), "All runs together, by job")
    assert [[cell.text for cell in row] for row in made.rows[:2]] == [
        ["initial-adapter", "4.0 s", "3.0 s", "–", "2.0 s", "–"],
        ["language-adapter", "8.0 s", "5.0 s", "5.0 s", "19.0 s", "1.0 s"],
    ]
    assert [cell.text for cell in made.total] == ["all", "12.0 s", "8.0 s", "5.0 s", "37.0 s", "2.0 s"]


def test_what_older_versions_made_is_told(section):
    records = {EN: record(EN, (), (), 50, started=iso(30), seconds=20.0)}
    made = section(log((10, "running", EN), (51, "succeeded", EN)), records)
    assert "Of 1 step it is not told what the time went to" in texts(made)
    assert "**20 %** of the workers' time" in texts(made)


def test_a_campaign_whose_log_tells_no_time_has_its_sums_alone(synthetic):
    section = run_times_section(synthetic)
    assert [type(block) for block in section.blocks] == [Fold]


def test_very_many_parts_and_workers_stay_a_picture(section):
    keys = [f"evaluation/e{number}" for number in range(3000)]
    records = {
        key: record(key, [work(f"vm:{100 + n % 20}", 0.5 + n // 20 * 0.6, 0.3, computing=0.1, loading=0.2)], (), 95)
        for n, key in enumerate(keys)
    }
    workers, _ = panels(section(log(*((95, "succeeded", key) for key in keys)), records))
    assert len(workers.rows) == MOST_ROWS and "16 that computed most of 21" in workers.title
    assert all(len(row.parts) <= COLUMNS for row in workers.rows)
    ends = [(end, begin) for row in workers.rows for (_, _, end), (_, begin, _) in pairwise(row.parts)]
    assert all(end <= begin + 1e-3 for end, begin in ends)


def test_a_run_in_one_line(tmp_path, synthetic):
    assert run_line(synthetic.store, CAMPAIGN) == ""
    store = synthetic.store
    zero = datetime.fromisoformat(PROVENANCE["started"]).timestamp()
    done = next(key for key in synthetic.records if key.startswith("search/"))
    write_run(
        tmp_path, CAMPAIGN, [{"time": zero, "event": "started"}, {"time": zero + 50, "event": "succeeded", "key": done}]
    )
    copied = type(store)(tmp_path)
    copied.path(done).parent.mkdir(parents=True)
    copied.path(done).symlink_to(store.path(done))
    assert "% of the workers' time computed in 50.0 s" in run_line(copied, CAMPAIGN)
