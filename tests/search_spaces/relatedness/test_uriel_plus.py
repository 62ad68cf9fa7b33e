from importlib.util import find_spec

import pytest

from jobs.errors import InputError
from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.uriel_plus import UrielPlusDistances

INSTALLED = find_spec("urielplus") is not None


@pytest.mark.skipif(INSTALLED, reason="urielplus is installed")
def test_asking_for_uriel_plus_without_the_package_is_refused_with_what_to_install():
    with pytest.raises(InputError, match="install the package urielplus"):
        UrielPlusDistances()


@pytest.mark.skipif(not INSTALLED, reason="the optional package urielplus is not installed")
def test_uriel_plus_answers_with_its_own_values_and_says_so():
    source = UrielPlusDistances()
    assert source.name.startswith("urielplus ")
    chinese, korean = resolve_languages(["cmn", "kor"])
    assert source.matrix("syntactic", [chinese], [korean])[0, 0] == pytest.approx(0.4147, abs=1e-3)
    assert source.matrix("syntactic", [chinese], [chinese])[0, 0] == 0.0
