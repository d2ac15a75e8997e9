import pytest
from torch.utils.data import DataLoader

from lightning_posttrain import ClassificationMetrics
from tests import toys

ODD = ["100% [x]*", "100% [x]", "a?b", "plain"]


def logged(log, classes=None, **options):
    data = toys.images(24)
    if classes is not None:
        data.classes = classes
    trainer = toys.quiet(ClassificationMetrics(log=log, **options))
    trainer.validate(toys.Net(), DataLoader(data, batch_size=8), verbose=False)
    return {name.removeprefix("val/") for name in trainer.callback_metrics} - {"loss"}


@pytest.mark.parametrize("given", [{"classes": ODD}, {"class_names": ODD}], ids=["of the dataset", "said"])
@pytest.mark.parametrize("name", ODD)
def test_a_figures_very_name_is_that_figure_alone(name, given):
    assert logged([f"per_class/recall/{name}"], **given) == {f"per_class/recall/{name}"}


def test_in_a_pattern_brackets_are_letters():
    assert logged(["per_class/recall/*[x]*"], classes=ODD) == {f"per_class/recall/{name}" for name in ODD[:2]}
    assert logged(["per_class/recall/*"], classes=ODD) == {f"per_class/recall/{name}" for name in ODD}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("per_class/recall/plian", "per_class/recall/plain"),
        ("per_class/recal/plain", "per_class/recall/plain"),
        ("f1_marco", "f1_macro"),
    ],
)
@pytest.mark.parametrize("given", [{"classes": ODD}, {"class_names": ODD}], ids=["of the dataset", "said"])
def test_a_name_that_no_figure_has_raises_with_the_nearest(name, near, given):
    with pytest.raises(ValueError, match="`log` has") as caught:
        logged(["accuracy", name], **given)
    assert repr(name) in str(caught.value)
    assert repr(near) in str(caught.value)


def test_a_class_by_its_number_is_one_where_classes_have_no_names():
    assert logged(["per_class/recall/2"]) == {"per_class/recall/2"}
    with pytest.raises(ValueError, match="per_class/recall/4"):
        logged(["per_class/recall/4"])


def test_a_name_that_validation_has_costs_no_test_whose_dataset_names_no_classes():
    named = toys.images(24)
    named.classes = ODD
    metrics = ClassificationMetrics(log=["per_class/recall/plain"])
    trainer, module = toys.quiet(metrics), toys.Net()
    trainer.fit(module, toys.loader(), DataLoader(named, batch_size=8))
    trainer.test(module, toys.loader(), verbose=False)
    assert "test/accuracy" not in trainer.callback_metrics
    assert metrics.results["test"].class_names == ("0", "1", "2", "3")
