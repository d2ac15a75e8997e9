import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.core.output.deferred import Deferred, DeferredResult, DeferredSequence, Joined


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


def test_names_that_are_known_before_are_told_without_work():
    found = Deferred(lambda: pytest.fail("worked out"), ["one", "two"])
    joined = Joined({"zero": 0}, found)
    assert (list(joined), len(joined), "two" in joined, "three" in joined) == (["zero", "one", "two"], 3, True, False)
    assert joined["zero"] == 0


def test_joined_mappings_are_looked_up_where_the_name_is():
    joined = Joined({"one": 1}, Deferred(lambda: {"two": 2}, ["two"]))
    assert pickle.loads(pickle.dumps(joined)) == {"one": 1, "two": 2} == joined
    with pytest.raises(KeyError, match="three"):
        joined["three"]


def test_a_sequence_and_a_result_are_worked_out_when_they_are_asked_for():
    asked = []
    sequence = DeferredSequence(lambda: asked.append(1) or ("one", "two"))
    result = DeferredResult(lambda: asked.append(2) or Confusion(torch.eye(2, dtype=torch.int64), ("a", "b")))
    assert not asked
    assert (sequence[1], len(sequence), pickle.loads(pickle.dumps(sequence))) == ("two", 2, ("one", "two"))
    assert (result.to_dict(), result.notes, result.alerts, result.scalars()) == (result.found.to_dict(), (), (), {})
    assert asked == [1, 2]


def test_tensors_that_are_worked_out_in_inference_mode_can_be_trained_with():
    found = Deferred(lambda: {"one": torch.ones(1)})
    with torch.inference_mode():
        one = found["one"]
    assert not one.is_inference()
