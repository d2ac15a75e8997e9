import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from lightning_posttrain.core.capture.class_names import distinct_names, naming_of
from tests import toys

NAMES = ("cat", "dog", "owl", "ox")


def named(classes, rows=24):
    data = toys.images(rows)
    data.classes = classes
    return data


@pytest.mark.parametrize(
    "classes",
    [
        list(NAMES),
        np.array(NAMES),
        {"dog": 1, "cat": 0, "ox": 3, "owl": 2},
        {1: "dog", 0: "cat", 3: "ox", 2: "owl"},
        {np.int64(k): name for k, name in enumerate(NAMES)},
        [("cat", "house cat"), ("dog", "hound"), ("owl",), ("ox", "bull")],
    ],
    ids=["list", "array", "name to index", "index to name", "numpy keys", "synonyms"],
)
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda data: data,
        lambda data: Subset(data, range(20)),
        lambda data: Subset(Subset(data, range(20)), range(18)),
        lambda data: random_split(data, [0.75, 0.25])[0],
        lambda data: ConcatDataset([data, data]),
        lambda data: Subset(ConcatDataset([data, Subset(data, range(9))]), range(20)),
    ],
    ids=["itself", "subset", "subset of a subset", "split", "concatenated", "split of concatenated"],
)
def test_names_are_found_in_every_form_and_through_every_wrapper(classes, wrapped):
    matrix = ConfusionMatrix()
    toys.quiet(matrix).validate(toys.Net(), DataLoader(wrapped(named(classes)), batch_size=8), verbose=False)
    assert matrix.results["val"].class_names == NAMES


def test_names_that_come_twice_are_told_apart_by_their_index():
    assert naming_of(named(["crane", "owl", "crane", ""])).names == ("crane (0)", "owl", "crane (2)", "(3)")
    assert distinct_names(["a", "a", "a (1)"]) == ("a (0)", "a (1)", "a (1) (2)")


class Broken(TensorDataset):
    error: type[Exception] = KeyError

    @property
    def classes(self):
        raise self.error("no labels.txt")


class Missing(Broken):
    error = AttributeError


def data_of(kind):
    return kind(*toys.images(24).tensors)


def differing():
    return ConcatDataset([named(list(NAMES)), named(list(NAMES[::-1]))])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (differing, "the parts of the ConcatDataset name their classes differently"),
        (lambda: named(["cat", "dog"]), "has 2 names, and there are 4 classes"),
        (lambda: named({"cat": 1, "dog": 7}), "is a dict that does not name classes one by one"),
        (lambda: named("catdog"), "is a str that does not name classes one by one"),
    ],
    ids=["differing parts", "other count", "odd dict", "text"],
)
def test_why_numbers_are_shown_is_said_once(data, said):
    matrix, metrics = ConfusionMatrix(), ClassificationMetrics()
    loader = DataLoader(data(), batch_size=8)
    with pytest.warns(UserWarning, match="Classes are shown by their number") as caught:
        toys.quiet([matrix, metrics], max_epochs=2).fit(toys.Net(), toys.loader(), loader)
    told = [str(one.message) for one in caught if "dataset.classes" in str(one.message)]
    assert len(told) == 1
    assert said in told[0]
    assert "class_names=[...]" in told[0]
    assert matrix.results["val"].class_names == ("0", "1", "2", "3")


def test_nothing_is_said_where_there_are_no_names_or_the_user_gave_them():
    loader = DataLoader(data_of(Broken), batch_size=8)
    toys.quiet(ConfusionMatrix(class_names=NAMES)).validate(toys.Net(), loader, verbose=False)
    toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    assert naming_of(torch.zeros(3)) == (None, "")


def test_names_that_cannot_be_read_are_said_once_and_a_property_that_says_it_is_missing_is_missing():
    matrix = ConfusionMatrix()
    with pytest.warns(UserWarning, match=r"`classes` of Broken cannot be read .*KeyError: 'no labels.txt'"):
        toys.quiet(matrix).validate(toys.Net(), DataLoader(data_of(Broken), batch_size=8), verbose=False)
    assert matrix.results["val"].class_names == ("0", "1", "2", "3")
    toys.quiet(matrix).validate(toys.Net(), DataLoader(data_of(Missing), batch_size=8), verbose=False)
    assert matrix.results["val"].class_names == ("0", "1", "2", "3")
