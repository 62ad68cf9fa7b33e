import pytest

from jobs.data.slices import bounds, overlapping, plain_name


def test_a_slice_is_a_name_and_its_rows():
    assert (plain_name("validation[:595]"), bounds("validation[:595]")) == ("validation", (0, 595))
    assert (plain_name("train"), bounds("train"), bounds("train[7:]")) == ("train", (0, None), (7, None))
    assert bounds("train[:50%]") is bounds("train[-5:]") is None


@pytest.mark.parametrize("name", ["train[", "train[1]", "train[:1] + test", "../train", "train[a:]", ""])
def test_what_is_no_slice_is_refused(name):
    with pytest.raises(ValueError, match="not a split"):
        bounds(name)


@pytest.mark.parametrize(
    ("validation", "test", "meet"),
    [
        ("dev[:595]", "dev[595:]", False),
        ("dev[:596]", "dev[595:]", True),
        ("dev", "dev", True),
        ("dev", "dev[5:]", True),
        ("dev[:50%]", "dev[50%:]", False),
        ("dev[:60%]", "dev[50%:]", True),
        ("dev[:90%]", "dev[-20%:]", True),
        ("dev[:80%]", "dev[-20%:]", False),
        ("dev[-100%:-50%]", "dev[49%:]", True),
        ("dev[:-50]", "dev[-100:]", True),
        ("dev[:-9]", "dev[-9:]", False),
        ("dev[-10:]", "dev[-9:]", True),
        ("dev", "test", False),
    ],
)
def test_rows_that_two_splits_share_are_noticed(validation, test, meet):
    assert overlapping({"validation": validation, "test": test}) == (("validation", "test") if meet else None)
