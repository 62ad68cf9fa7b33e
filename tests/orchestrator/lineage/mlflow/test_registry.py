"""Adapters taken out of a registry: the bytes that were put in, by alias and by version."""

import pytest

from jobs.errors import InputError
from orchestrator.lineage.mlflow.connection import connect
from orchestrator.lineage.mlflow.registry import fetch_model
from orchestrator.lineage.mlflow.uri import default_uri


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A store with two versions of one model; the second is the champion."""
    folder = tmp_path_factory.mktemp("store")
    client = connect(default_uri(folder))
    experiment = client.create_experiment("others", (folder / "mlartifacts").as_uri())
    client.create_registered_model("quechua family")
    for number in ("1", "2"):
        (folder / number).mkdir()
        (folder / number / "adapter_config.json").write_text(f'{{"number": {number}}}')
        model = client.create_logged_model(experiment, f"adapter-{number}")
        client.log_model_artifacts(model.model_id, str(folder / number))
        client.finalize_logged_model(model.model_id, "READY")
        client.create_model_version("quechua family", model.artifact_location)
    client.set_registered_model_alias("quechua family", "champion", "2")
    return client


@pytest.mark.parametrize(
    ("address", "number"),
    [("models:/quechua family@champion", 2), ("models:/quechua family/1", 1), ("models:/quechua family/2", 2)],
)
def test_a_model_is_fetched_once(registry, tmp_path, address, number):
    place = fetch_model(address, registry, tmp_path / "cache")
    assert (place / "adapter_config.json").read_text() == f'{{"number": {number}}}'
    (place / "mark").touch()
    assert (fetch_model(address, registry, tmp_path / "cache") / "mark").exists()
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [place.name]


@pytest.mark.parametrize(
    "address", ["models:/nobody@champion", "models:/quechua family@nobody", "models:/quechua family/3"]
)
def test_what_the_registry_does_not_have_is_one_line(registry, tmp_path, address):
    with pytest.raises(InputError) as caught:
        fetch_model(address, registry, tmp_path / "cache")
    (fault,) = caught.value.faults
    assert "the registered model cannot be fetched" in str(fault) and address in str(fault)
