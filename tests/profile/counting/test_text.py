import re

import pytest
import torch
from torch import nn

from lightning_posttrain.profile.counting import architecture_of, architecture_text
from lightning_posttrain.profile.counting.text import short
from tests.profile.counting.nets import NETS, ViT, made

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def found(net, batch):
    with torch.inference_mode():
        return architecture_of(net.eval(), lambda: net(batch), rows=len(batch))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("width", [80, 120])
def test_the_tree_keeps_to_its_width_and_shows_every_layer(name, width):
    architecture = found(*made(name))
    lines = architecture_text(architecture, width=width).splitlines()
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= width
    shown = " ".join(table)
    for kind in architecture.kinds:
        assert kind[:12] in shown


def test_the_first_line_has_the_whole():
    text = architecture_text(found(*made("UNet")))
    root = text.splitlines()[2]
    assert re.fullmatch(r"UNet +N × 3 × 8 × 8 +1,819 +68.6 k +100%", root.strip()), root


def test_equal_blocks_are_one_line_with_the_figures_of_one():
    architecture = found(ViT(depth=6), torch.rand(3, 1, 8, 8))
    text = architecture_text(architecture)
    (line,) = [line for line in text.splitlines() if "TransformerEncoderLayer" in line]
    assert "layers.0 … 5" in line
    assert "6 × TransformerEncoderLayer" in line
    one = sum(row.parameters for row in architecture.rows if row.name.startswith("encoder.layers.0."))
    assert f"{one:,}" in line
    (whole,) = [line for line in text.splitlines() if "TransformerEncoder " in line]
    assert f"{6 * one:,}" in whole
    assert "n × a class: n equal neighbours, with the figures of one" in text
    assert len(text.splitlines()) < 25


def test_unlike_neighbours_are_not_folded():
    text = architecture_text(found(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)), torch.rand(2, 4)))
    assert "0 … 1" in text
    assert "└─ 2" in text


def test_figures_of_a_block_are_the_sums_of_what_stands_below():
    architecture = found(*made("ResNet-18"))
    lines = architecture_text(architecture).splitlines()
    (stage,) = [line for line in lines if line.startswith("├─ layer4")]
    below = sum(row.parameters for row in architecture.rows if row.name.startswith("layer4."))
    assert f" {below:,} " in stage


def test_calls_of_a_shared_layer_are_told():
    assert "Conv2d · 3 calls" in architecture_text(found(*made("shared")))


def test_what_was_not_counted_and_not_used_is_told():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(10, 10)

        def forward(self, x):
            return torch.fft.rfft(x).abs()

    text = architecture_text(found(Net(), torch.rand(2, 8)))
    assert "not counted, so FLOPs are more than that: aten::_fft_r2c (1 call)" in text
    assert "not used: 110 parameters, unused.weight, unused.bias" in text
    assert "Linear: not used" in text


def test_shared_parameters_are_told():
    assert "shared, counted once: words.weight = decoder.weight" in architecture_text(found(*made("BERT")))


def test_the_batch_is_a_letter():
    text = architecture_text(found(nn.Linear(2, 2), torch.rand(2, 2)))
    assert "N × 2" in text
    assert "N is the batch, 2 here" in text


def test_a_depth_leaves_out_what_is_below():
    architecture = found(*made("ResNet-18"))
    flat = architecture_text(architecture, depth=1).splitlines()
    assert [line.split()[:2] for line in flat[2:10]] == [
        ["ResNet18", "N"],
        *(["├─", name] for name in ("stem", "pool", "layer1", "layer2", "layer3", "layer4")),
        ["└─", "head"],
    ]
    assert flat[10] == ""
    with pytest.raises(ValueError, match="`depth` is -1, wanted the levels that are shown, from 0, or None for all"):
        architecture_text(architecture, depth=-1)


def test_a_line_too_short_is_refused():
    with pytest.raises(ValueError, match="`width` is 40, wanted 80 characters at least"):
        architecture_text(found(*made("CNN")), width=40)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.6, "1.00 k"), (9_996, "10.0 k"), (3.628e9, "3.63 G"), (12.5, "12.5")],
)
def test_counts_in_three_digits(value, text):
    assert short(value) == text
