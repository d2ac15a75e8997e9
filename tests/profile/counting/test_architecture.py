import json

import pytest
import torch
from torch import nn

from lightning_posttrain.profile.counting import Architecture, ModuleRow, architecture_of
from tests.profile.counting.nets import BATCH, NETS, made

each_net = pytest.mark.parametrize("name", NETS)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def found(name):
    net, batch = made(name)
    with torch.inference_mode():
        return net, architecture_of(net, lambda: net(batch), rows=BATCH)


def row(architecture, name, role="layer"):
    (one,) = [row for row in architecture.rows if row.name == name and row.role == role]
    return one


@each_net
def test_rows_add_up_to_the_whole(name):
    net, architecture = found(name)
    assert sum(row.parameters for row in architecture.rows) == sum(p.numel() for p in net.parameters())
    assert sum(row.parameters for row in architecture.rows) == architecture.parameters.total
    assert sum(row.flops for row in architecture.rows) == architecture.total_flops == architecture.flops * BATCH
    assert len({(row.name, row.role) for row in architecture.rows}) == len(architecture.rows)


@each_net
def test_a_layer_counts_once_and_has_the_name_of_a_module(name):
    net, architecture = found(name)
    names = [row.name for row in architecture.rows if row.role == "layer"]
    assert len(names) == len(set(names)) == architecture.layers == sum(architecture.kinds.values())
    for row in architecture.rows:
        assert type(net.get_submodule(row.name)).__name__ == row.kind
    assert architecture.weight_layers <= architecture.layers


@each_net
def test_what_was_saved_is_what_was_found(name):
    _, architecture = found(name)
    assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


@each_net
def test_inference_mode_changes_no_row_but_the_names_of_its_operations(name):
    net, batch = made(name)
    net(batch)
    tables = []
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            rows = architecture_of(net, lambda: net(batch), rows=BATCH).rows
        tables.append([(r.name, r.role, r.calls, r.inputs, r.outputs, r.parameters, r.flops) for r in rows])
    assert tables[0] == tables[1] == tables[2]


def test_a_layer_that_is_called_again_has_one_row():
    _, architecture = found("shared")
    again = row(architecture, "again")
    assert (again.calls, again.parameters) == (3, 8 * 8 * 9 + 8)
    assert again.flops == 3 * 2 * BATCH * 64 * 9 * 8 * 8
    assert again.inputs == again.outputs == ((BATCH, 8, 8, 8),)


def test_a_module_with_two_names_has_the_first():
    _, architecture = found("partly")
    assert [(row.name, row.calls) for row in architecture.rows if row.role == "layer"] == [("frozen", 1), ("layer", 2)]


def test_many_steps_of_a_cell_are_one_row_in_little_time():
    net = NETS["cells"].build()
    net.steps = 1000
    with torch.inference_mode():
        architecture = architecture_of(net, lambda: net(torch.rand(BATCH, 4)), rows=BATCH)
    assert row(architecture, "cell").calls == 1000
    assert row(architecture, "cell").flops == 1000 * 2 * BATCH * 4 * 8 * (4 + 8)


def test_rows_stand_in_the_order_of_calls_and_own_work_behind_the_parts():
    _, architecture = found("ViT")
    names = [(row.name, row.role) for row in architecture.rows]
    assert names[0] == ("patches", "layer")
    assert names.index(("encoder.layers.0.norm2", "layer")) + 1 == names.index(("encoder.layers.0", "itself"))
    assert names.index(("encoder.layers.0", "itself")) < names.index(("encoder.layers.1.self_attn", "layer"))
    assert names[-1] == ("", "itself")


def test_bare_parameters_are_those_of_the_module_that_has_them():
    _, architecture = found("ViT")
    assert row(architecture, "", "itself").parameters == 16 + 5 * 16


def test_projections_of_attention_are_read_by_what_they_are_part_of():
    _, architecture = found("ViT")
    attention = row(architecture, "encoder.layers.0.self_attn")
    assert attention.parameters == 3 * 16 * 16 + 3 * 16
    assert attention.flops == 2 * BATCH * (5 * 16 * 48 + 2 * 5 * 5 * 16 + 5 * 16 * 16)
    out = row(architecture, "encoder.layers.0.self_attn.out_proj", "part")
    assert (out.parameters, out.calls) == (16 * 16 + 16, 0)
    assert out.operation == "NonDynamicallyQuantizableLinear: read by what it is part of"
    assert architecture.rows[architecture.rows.index(attention) + 1] == out


def test_own_work_is_told_by_what_takes_most():
    _, architecture = found("BERT")
    itself = row(architecture, "", "itself")
    assert itself.operation.startswith("(itself) scaled_dot_product_attention, ")
    assert itself.flops == BATCH * 2 * 2 * 4 * 12 * 12 * 4
    assert itself.parameters == 16


def test_tied_parameters_stand_where_they_are_met_first():
    _, architecture = found("BERT")
    assert row(architecture, "words").parameters == 30 * 16
    assert row(architecture, "decoder").parameters == 30


def test_what_makes_up_a_parametrised_weight_is_its_layers():
    _, architecture = found("parametrised")
    assert [row.name for row in architecture.rows] == ["0", "1"]
    assert architecture.rows[0].parameters == 4 + 8 * 4 + 4
    assert architecture.rows[0].weighted


def test_a_module_that_nobody_calls_is_not_used():
    _, architecture = found("partly")
    unused = row(architecture, "unused", "unused")
    assert (unused.operation, unused.parameters) == ("Linear: not used", 10_100)


def test_a_forward_that_fails_and_is_caught_leaves_no_part_at_work():
    _, architecture = found("sturdy")
    assert row(architecture, "fails.inner").flops == 2 * BATCH * 8 * 8
    assert row(architecture, "", "itself").flops == 2 * BATCH * 8 * 3
    assert row(architecture, "fails.inner").outputs == ((BATCH, 8),)


def test_layers_with_weights_are_those_that_take_products():
    net = nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm([3, 4]), nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1))
    with torch.inference_mode():
        architecture = architecture_of(net, lambda: net(torch.zeros(2, 3, dtype=torch.long)), rows=2)
    assert (architecture.layers, architecture.weight_layers) == (5, 1)
    assert architecture.kinds == {"Embedding": 1, "LayerNorm": 1, "Flatten": 1, "Linear": 1, "Softmax": 1}


def test_a_network_of_one_layer_is_one_row():
    _, architecture = found("one layer")
    assert architecture.rows == (
        ModuleRow("", "Linear", "layer", 1, ((2, 8),), ((2, 2),), 18, 64, architecture.rows[0].operations, True),
    )
    assert architecture.blocks == ()


def test_arguments_by_name_have_shapes_too():
    class Net(nn.Module):
        def forward(self, x, *, mask):
            return {"out": x * mask, "mask": mask}

    net = Net()
    architecture = architecture_of(net, lambda: net(torch.zeros(2, 3), mask=torch.zeros(2, 1)), rows=2)
    assert architecture.rows[0].inputs == ((2, 3), (2, 1))
    assert sorted(architecture.rows[0].outputs) == [(2, 1), (2, 3)]


def state_of(net):
    """All that a count must leave as it was."""
    hooks = [
        {key: list(value) for key, value in vars(part).items() if "hook" in key and hasattr(value, "__len__")}
        for part in net.modules()
    ]
    flags = (
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        torch.backends.cuda.flash_sdp_enabled(),
        torch.is_inference_mode_enabled(),
        torch._C._len_torch_dispatch_stack(),
    )
    tensors = {name: value.clone() for name, value in net.state_dict().items()}
    return hooks, flags, torch.get_rng_state(), tensors


def assert_equal_states(before, after):
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert before[3].keys() == after[3].keys()
    assert all(torch.equal(before[3][name], after[3][name]) for name in before[3])


@each_net
def test_counting_leaves_no_trace(name):
    net, batch = made(name)
    net(batch)
    before = state_of(net)
    with torch.inference_mode():
        architecture_of(net, lambda: net(batch), rows=BATCH)
    assert_equal_states(before, state_of(net))


def test_counting_leaves_no_trace_where_the_forward_fails():
    net, batch = made("ViT")
    handle = net.encoder.register_forward_hook(lambda *_: 1 / 0)
    before = state_of(net)
    with pytest.raises(ZeroDivisionError), torch.inference_mode():
        architecture_of(net, lambda: net(batch), rows=BATCH)
    assert_equal_states(before, state_of(net))
    handle.remove()
    with torch.inference_mode():
        assert architecture_of(net, lambda: net(batch), rows=BATCH).total_flops == NETS["ViT"].by_hand


def test_an_unchanged_forward_gives_the_same_numbers_while_it_is_counted():
    for name in NETS:
        net, batch = made(name)
        with torch.inference_mode():
            torch.backends.mha.set_fastpath_enabled(False)
            expected, heard = net(batch), []
            torch.backends.mha.set_fastpath_enabled(True)
            architecture_of(net, lambda net=net, batch=batch, heard=heard: heard.append(net(batch)), rows=BATCH)
        torch.testing.assert_close(heard[0], expected, rtol=1e-6, atol=1e-6)


def test_the_number_of_rows_is_asked_for():
    with pytest.raises(ValueError, match="`rows` is 0, wanted the number of samples in the forward, one at least"):
        architecture_of(nn.Linear(2, 2), lambda: None, rows=0)


def test_a_run_that_does_nothing_is_refused():
    with pytest.raises(ValueError, match="`run` did nothing, wanted a forward of `module`"):
        architecture_of(nn.Linear(2, 2), lambda: None, rows=1)


def test_a_module_without_numbers_is_refused_with_what_to_do():
    net = nn.Sequential(nn.Linear(4, 3, device="meta"))
    with pytest.raises(ValueError, match=r"`module` is on the meta device \('0.weight'\)") as refused:
        architecture_of(net, lambda: net(torch.rand(2, 4)), rows=2)
    assert "module.to_empty(device=...)" in str(refused.value)
    net = net.to_empty(device="cpu")
    assert architecture_of(net, lambda: net(torch.rand(2, 4)), rows=2).flops == 24


def test_a_network_and_a_batch_without_numbers_count_all_the_same():
    with torch.device("meta"):
        net, batch = NETS["CNN"].build().eval(), torch.zeros(BATCH, 1, 8, 8)
    assert architecture_of(net, lambda: net(batch), rows=BATCH).total_flops == NETS["CNN"].by_hand
