"""Datasets, samplers and loaders that raise when they are asked something: said once at most, and the run goes on."""

import warnings

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler

from lightning_posttrain import LabelErrors, posttrain_suite
from lightning_posttrain.core.capture.foreign import attribute, length
from lightning_posttrain.core.capture.loaders import dataset_classes
from tests import toys

ERRORS = [RuntimeError, KeyError, FileNotFoundError, NotImplementedError, ZeroDivisionError]


class Broken(Dataset):
    """Raises when asked for attributes by name."""

    def __init__(self, names, error=RuntimeError):
        self.data, self.names, self.error = toys.images(37), names, error

    def __getitem__(self, i):
        return self.data[i]

    def __len__(self):
        return len(self.data)

    def _of(self, name):
        if name in self.names:
            raise self.error("labels are not downloaded")
        raise AttributeError(name)

    classes = property(lambda self: self._of("classes"))
    dataset = property(lambda self: self._of("dataset"))
    transform = property(lambda self: self._of("transform"))


class Stream(IterableDataset):
    """Its length raises."""

    def __init__(self, error):
        self.data, self.error = toys.images(37), error

    def __iter__(self):
        return iter(self.data)

    def __len__(self):
        raise self.error("a stream has none")


class Odd(SequentialSampler):
    """Its positions raise."""

    @property
    def positions(self):
        raise RuntimeError("not drawn yet")


def said(run):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    return [str(one.message) for one in found if "cannot be read" in str(one.message)]


@pytest.mark.parametrize("error", ERRORS)
def test_a_dataset_whose_attributes_raise_costs_no_run_and_is_said_once_each(error):
    listed = [*posttrain_suite(on_error="raise"), LabelErrors(on_error="raise")]
    data = Broken(("classes", "dataset"), error)
    trainer = toys.quiet(listed, max_epochs=2)
    texts = said(lambda: trainer.fit(toys.Net(), toys.loader(), toys.loader(data)))
    assert sorted(text.split(" cannot")[0] for text in texts) == [
        "lightning_posttrain: the `classes` of Broken",
        "lightning_posttrain: the `dataset` of Broken",
    ]
    assert f"({error.__name__}: " in texts[0]
    assert {"val"} <= set(listed[0].results)
    assert listed[0].results["val"].class_names == tuple(map(str, range(toys.CLASSES)))


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_a_stream_whose_length_raises_costs_no_run(error, caplog):
    callback = LabelErrors(on_error="raise")
    with caplog.at_level("INFO"):
        texts = said(lambda: toys.quiet(callback).validate(toys.Net(), DataLoader(Stream(error), batch_size=8)))
    assert (texts, callback.results) == ([], {})
    assert any("LabelErrors follows no samples of val" in text for text in caplog.messages)


def test_another_error_of_a_length_is_said_once():
    data = Stream(RuntimeError)
    (text,) = said(lambda: (length(data), length(data)))
    assert "the length of Stream cannot be read and is taken as missing (RuntimeError: a stream has none)" in text


def test_a_sampler_whose_positions_raise_is_one_that_tells_none():
    data = toys.images(20)
    callback = LabelErrors(on_error="raise")
    loader = DataLoader(data, batch_size=5, sampler=Odd(data))
    (text,) = said(lambda: toys.quiet(callback).validate(toys.Net(), loader, verbose=False))
    assert "the `positions` of Odd cannot be read and is taken as missing (RuntimeError: not drawn yet)" in text
    assert len(callback.results["val"].index) == 20


def test_datasets_within_datasets_have_an_end():
    class Itself(Dataset):
        @property
        def dataset(self):
            return self

    class Answers:
        def __getattr__(self, name):
            return self

    assert dataset_classes(type("Loader", (), {"dataset": Itself()})) is None
    assert dataset_classes(type("Loader", (), {"dataset": Answers()})) is None
    named = toys.images(3)
    named.classes = ["a", "b"]
    inside = torch.utils.data.Subset(torch.utils.data.Subset(named, [0, 1]), [0])
    assert dataset_classes(DataLoader(inside)) == ("a", "b")


def test_what_is_missing_is_not_said_and_what_can_be_no_key_is_told():
    assert said(lambda: attribute(3, "classes")) == []
    assert said(lambda: length(iter([]))) == []

    class Slots:
        __slots__ = ()
        __hash__ = None
        classes = property(lambda self: 1 / 0)

    assert len(said(lambda: attribute(Slots(), "classes"))) == 1
