"""Files of a model at one commit, from a hub on this machine."""

import pytest
from huggingface_hub import constants, file_download
from tiny_backbone import make_backbone

from jobs.errors import InputError
from jobs.models import files
from jobs.models.files import hub_adapter_folder, hub_folder
from tests.orchestrator.hub_server import COMMIT, hub_server

NOBODY = "http://127.0.0.1:9"  # the port of the discard service, where nobody listens


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    make_backbone(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


def use(monkeypatch, address):
    """Let the hub's library ask at `address`, which it otherwise takes from HF_ENDPOINT when it is imported."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", address + template)


@pytest.fixture
def hub(model, tmp_path, monkeypatch):
    with hub_server({"models/me/tiny": model}) as server:
        use(monkeypatch, server.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
        yield server


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_settings_come_without_weights_and_both_without_other_formats_and_adapters(hub):
    settings = names(hub_folder("me/tiny", COMMIT, weights=False))
    assert settings == ["config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert names(hub_folder("me/tiny", COMMIT, weights=True)) == sorted([*settings, "model.safetensors"])


def test_an_adapter_comes_from_the_top_of_its_repository_or_from_a_folder_and_brings_nothing_else(hub):
    top = names(hub_adapter_folder("me/tiny", COMMIT))
    assert "adapter_config.json" in top and "pytorch_model.bin" in top and not any("/" in name for name in top)
    assert names(hub_adapter_folder("me/tiny", COMMIT, "onnx")) == ["config.json"]
    with pytest.raises(InputError, match="no such folder"):
        hub_adapter_folder("me/tiny", COMMIT, "nowhere")


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub, model):
    hub.cut.add("model.safetensors")
    folder = hub_folder("me/tiny", COMMIT, weights=True)
    assert (folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert not hub.cut


def test_what_was_fetched_is_there_without_a_hub(hub, monkeypatch):
    folder = hub_folder("me/tiny", COMMIT, weights=True)
    use(monkeypatch, NOBODY)
    assert hub_folder("me/tiny", COMMIT, weights=True) == folder


@pytest.mark.parametrize(
    ("name", "commit", "address"),
    [
        ("me/tiny", COMMIT, NOBODY),
        ("me/other", COMMIT, ""),
        ("me/tiny", "b" * 40, ""),
        ("a b", COMMIT, ""),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub, monkeypatch, name, commit, address):
    use(monkeypatch, address or hub.address)
    with pytest.raises(InputError, match=f"backbone {name} at {commit}: the model cannot be fetched") as refused:
        hub_folder(name, commit, weights=True)
    assert "\n" not in str(refused.value)
