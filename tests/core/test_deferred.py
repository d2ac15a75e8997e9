import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from lightning_posttrain.core.output.deferred import Deferred


def test_it_is_worked_out_once_whoever_asks_and_not_before():
    asked = []
    found = Deferred(lambda: asked.append(1) or {"one": 1, "two": 2})
    assert not asked
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(found.get, ["one", "two", "three", "one"])) == [1, 2, None, 1]
    assert (len(asked), list(found), found == {"one": 1, "two": 2}) == (1, ["one", "two"], True)


def test_a_copy_is_a_dict():
    copy = pickle.loads(pickle.dumps(Deferred(lambda: {"one": 1})))
    assert (type(copy), copy) == (dict, {"one": 1})


def test_work_that_fails_fails_for_all_who_ask():
    found = Deferred(lambda: {}["nothing"])
    for _ in range(2):
        with pytest.raises(KeyError, match="nothing"):
            len(found)
