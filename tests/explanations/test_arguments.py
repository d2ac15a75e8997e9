"""What the functions take: parts and what hides them as the package makes them, for one sample or several."""

import pytest
import torch

from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.perturbation.arguments import positions
from lightning_posttrain.explanations.perturbation.lime import lime
from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.segments import parts_of
from lightning_posttrain.explanations.perturbation.shapley import shapley


def pictures(count=2):
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def corner(x):
    bright = 20 * x[:, 0, :4, :4].mean((1, 2)) - 8
    return torch.stack([-bright, bright], 1).softmax(1)


@pytest.mark.parametrize("function", [lime, shapley, anchor])
def test_parts_and_what_hides_them_go_in_as_they_were_made(function):
    x = pictures()
    x[:, :, :4, :4] = 1.0
    parts = parts_of(x, "image", how=16)
    hidden = hidden_of(x, "image", parts, how=0.0)
    found = function(corner, x, hidden, parts=parts)
    plain = function(corner, x, torch.zeros(1, 1, 16, 16), parts=parts.index)
    if function is anchor:
        assert [str(rule) for rule in found] == ["row 1, column 1"] * 2
        assert [rule.conditions[0].part for rule in plain] == [0, 0]
    else:
        assert torch.equal(found.values, plain.values)
        assert found.values.argmax(1).tolist() == [0, 0]


def test_what_hides_a_sample_is_its_own():
    x = pictures(3)
    parts = parts_of(x, "image", how=16)
    hidden = hidden_of(x, "image", parts, how="blur")
    assert hidden.shape == (3, 1, 1, 16, 16)
    together = shapley(corner, x, hidden, parts=parts, target=1)
    for k in range(3):
        alone = shapley(corner, x[k : k + 1], hidden[k], parts=parts.index, target=1)
        assert torch.allclose(together.values[k], alone.values[0], atol=1e-6)


def test_padding_is_no_part_of_a_text():
    def there(ids):
        return (ids == 5).any(1).float() * 0.6 + (ids == 7).any(1).float() * 0.2

    ids = torch.tensor([[5, 6, 7, 0, 0], [8, 5, 9, 7, 6]])
    words = [["a", "b", "c", "", ""], ["d", "a", "e", "c", "b"]]
    parts = parts_of(ids, "tokens", words=words)
    found = lime(there, ids, hidden_of(ids, "tokens", parts), parts=parts, ridge=0.0)
    assert torch.allclose(found.values[0], torch.tensor([0.6, 0, 0.2, 0, 0]).double(), atol=1e-6)
    assert torch.allclose(found.values[1], torch.tensor([0, 0.6, 0, 0.2, 0]).double(), atol=1e-6)
    assert torch.allclose(found.fit, torch.ones(2).double())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parts": 40}, "`parts` is 40, wanted the part of each value, as parts_of"),
        ({"background": torch.zeros(3, 1, 1, 16, 16)}, r"`background` is \(3, 1, 1, 16, 16\), wanted rows as those"),
        ({"background": torch.zeros(0, 1, 16, 16)}, "`background` is"),
        ({"inputs": torch.zeros(0, 1, 16, 16)}, "`inputs` is"),
    ],
)
@pytest.mark.parametrize("function", [lime, shapley, anchor])
def test_what_does_not_go_together_is_said(function, change, words):
    x = pictures()
    given = {"inputs": x, "background": x[:1] * 0, "parts": parts_of(x, "image", how=16), **change}
    with pytest.raises(ValueError, match=words):
        function(corner, given["inputs"], given["background"], parts=given["parts"])


def test_columns_may_be_named():
    assert positions(["b", 0], ["a", "b"]) == (1, 0)
    with pytest.raises(ValueError, match="`categorical` has 'c'"):
        positions(["c"], ["a", "b"])
    with pytest.raises(ValueError, match="`categorical` has 4, wanted columns from 0 to 1"):
        positions([4], None, 2)
    with pytest.raises(ValueError, match="`kind` is 'images', wanted 'image'"):
        parts_of(pictures(), "images")
