"""What a workspace has of a plan's steps."""

from orchestrator.store.artifacts import ArtifactStore, take_inventory
from tests.orchestrator.toy_steps import STEPS, THETA, A, B, C, commit


def test_finished_damaged_and_new_steps_are_told_apart(tmp_path):
    store = ArtifactStore(tmp_path)
    for step in (A, THETA, B, C):
        commit(store, step)
    (store.path(B.key) / "adapter.txt").write_text("torn")
    (store.path(C.key) / "record.json").write_text("{")
    found = take_inventory(STEPS, ArtifactStore(tmp_path))
    assert list(found.records.items()) == [(step.key, store.find(step)) for step in (THETA, A)]
    assert list(found.damaged) == [B.key, C.key] and "has 4 bytes" in str(found.damaged[B.key])


def test_records_that_are_known_are_not_read_again(tmp_path):
    store = ArtifactStore(tmp_path)
    for step in (THETA, A):
        commit(store, step)
    known = take_inventory([A], store).records
    (store.path(A.key) / "record.json").write_text("{")
    assert list(store.records(known=known)) == [store.find(THETA), known[A.key]]
