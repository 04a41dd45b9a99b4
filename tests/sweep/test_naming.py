"""The folders of a sweep's jobs are named after what differs between them."""

from hypothesis import example, given
from hypothesis import strategies as st

from bua.sweep.naming import differing, job_folder

KEYS = st.sampled_from(["seed", "optimizer.lr", "features", "model", "+x.y"])
OVERRIDES = st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=300)).map(
    lambda pairs: [f"{key}={value}" for key, value in pairs.items()]
)


def test_a_folder_names_the_overrides_in_which_jobs_differ() -> None:
    words = ["experiment=x", "seed=2", "optimizer.lr=0.001", "+model.dropout=0.5", "out=a/b"]
    assert job_folder(words, 7, {"experiment", "out"}) == "seed=2,optimizer.lr=0.001,model.dropout=0.5"
    assert job_folder(words[:1], 7, {"experiment"}) == "7"


def test_paths_are_reduced_to_their_last_part() -> None:
    name = job_folder(["features=/data/a/regions.h5", "seed=1"], 0, set())
    assert name.startswith("features=regions.h5,seed=1-")


@given(first=OVERRIDES, second=OVERRIDES)
@example(first=["a=x/r.h5"], second=["a=y/r.h5"])
@example(first=["a=x y"], second=["a=x_y"])
def test_every_name_is_that_of_one_file_and_different_jobs_have_different_names(first, second) -> None:
    names = [job_folder(words, 0, set()) for words in (first, second)]
    for name in names:
        assert 0 < len(name.encode()) <= 255 - len(".log")
        assert not set(name) & set("/\0\n'\" $")
        assert name not in (".", "..")
    if differing(first, ()) != differing(second, ()):
        assert names[0] != names[1]
