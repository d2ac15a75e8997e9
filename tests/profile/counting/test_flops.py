import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lightning_posttrain.profile.counting import architecture_of
from lightning_posttrain.profile.counting.products import formula_of
from tests.profile.counting.nets import BATCH, NETS, made

BY_HAND = [name for name, net in NETS.items() if net.by_hand is not None]
GRADIENTS = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "gradients": torch.enable_grad}
each_mode = pytest.mark.parametrize("mode", GRADIENTS.values(), ids=GRADIENTS)


def counted(module, run, rows=BATCH, mode=torch.inference_mode):
    with mode():
        return architecture_of(module, run, rows=rows)


def flops_of(run, mode=torch.inference_mode):
    """FLOPs of some lines outside of any module, and what of them could not be counted."""
    found = counted(nn.Identity(), run, rows=1, mode=mode)
    return found.flops, dict(found.uncounted)


@each_mode
@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_flops_equal_a_count_by_hand(name, mode):
    net, batch = made(name)
    found = counted(net, lambda: net(batch), mode=mode)
    assert found.total_flops == NETS[name].by_hand
    assert found.flops * BATCH == NETS[name].by_hand
    assert found.uncounted == {}


@pytest.mark.parametrize("name", ["CNN", "shared", "GRU", "UNet", "ResNet-18", "BERT", "ViT", "lazy", "cells"])
def test_flops_equal_those_of_torch_where_nothing_is_fused(name):
    net, batch = made(name)
    net(batch)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as theirs:
            net(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert counted(net, lambda: net(batch)).total_flops == theirs.get_total_flops() > 0


def test_resnet_18_has_the_parameters_and_products_that_are_known_of_it():
    net, batch = made("ResNet-18")
    net.head = nn.Linear(512, 1000)
    batch = F.interpolate(batch, 224)
    found = counted(net.eval(), lambda: net(batch))
    assert found.parameters.total == 11_689_512
    assert found.flops == 2 * 1_814_073_344
    assert found.weight_layers == 18 + 3  # with its projections of shortcuts


@pytest.mark.parametrize("heads", [4, 2])
@each_mode
def test_fused_attention_counts_both_products(mode, heads):
    query, key, value = torch.rand(2, 4, 10, 8), torch.rand(2, heads, 7, 8), torch.rand(2, heads, 7, 6)
    run = lambda: F.scaled_dot_product_attention(query, key, value, enable_gqa=True)  # noqa: E731
    assert flops_of(run, mode) == (2 * 2 * 4 * 10 * 7 * (8 + 6), {})


def test_packed_series_count_the_steps_that_are_there():
    net = nn.LSTM(3, 5)
    packed = nn.utils.rnn.pack_sequence([torch.rand(6, 3), torch.rand(2, 3)])
    assert counted(net, lambda: net(packed)).total_flops == 2 * (6 + 2) * 4 * 5 * (3 + 5)


@pytest.mark.parametrize(("kernel", "at"), [("_cudnn_rnn", 1), ("miopen_rnn", 1), ("_lstm_mps", 2)])
def test_fused_recurrent_kernels_of_other_devices_count_as_those_of_a_cpu(kernel, at):
    packet = getattr(torch.ops.aten, kernel)
    names = [argument.name for argument in packet.default._schema.arguments]
    assert names[0] == "input"
    assert names[at] in ("weight", "params")
    net = nn.LSTM(6, 16, num_layers=2, bidirectional=True)
    batch = torch.rand(10, BATCH, 6)
    arguments = [batch, None, None]
    arguments[at] = list(net.parameters())
    assert formula_of(packet)(tuple(arguments), {}, None) == counted(net, lambda: net(batch)).total_flops > 0


def test_grouped_products_count_each_row_once():
    grouped = formula_of(torch.ops.aten._grouped_mm)
    rows, stacked = torch.rand(12, 8), torch.rand(3, 8, 5)
    assert grouped((rows, stacked), {}, torch.rand(12, 5)) == 2 * 12 * 8 * 5
    assert grouped((rows.T, torch.rand(12, 5)), {}, torch.rand(3, 8, 5)) == 2 * 8 * 12 * 5
    assert grouped((torch.rand(3, 4, 8), stacked), {}, torch.rand(3, 4, 5)) == 2 * 3 * 4 * 8 * 5


A, B, V = torch.rand(5, 7), torch.rand(7, 3), torch.rand(7)
PRODUCTS = {
    "mv": (lambda: A @ V, 5 * 7),
    "addmv": (lambda: torch.addmv(torch.rand(5), A, V), 5 * 7),
    "dot": (lambda: V @ V, 7),
    "in place": (lambda: torch.rand(5, 3).addmm_(A, B), 5 * 7 * 3),
    "einsum": (lambda: torch.einsum("bij,jk->bik", torch.rand(2, 5, 7), B), 2 * 5 * 7 * 3),
    "tensordot": (lambda: torch.tensordot(A, B, 1), 5 * 7 * 3),
    "addbmm": (lambda: torch.addbmm(torch.rand(5, 3), torch.rand(2, 5, 7), torch.rand(2, 7, 3)), 2 * 5 * 7 * 3),
    "addr": (lambda: torch.addr(torch.rand(5, 7), A[:, 0], V), 5 * 7),
    "conv_tbc": (lambda: torch.conv_tbc(torch.rand(9, 2, 3), torch.rand(3, 3, 4), torch.rand(4)), 7 * 2 * 4 * 3 * 3),
    "integers": (lambda: torch._int_mm(torch.ones(32, 16).char(), torch.ones(16, 8).char()), 32 * 16 * 8),
    "sparse": (lambda: torch.sparse.mm(torch.eye(7).to_sparse(), B), 7 * 3),
    "sparse vector": (lambda: torch.mv(torch.eye(7).to_sparse(), V), 7),
    "vmap": (lambda: torch.vmap(lambda x: x @ B)(torch.rand(2, 5, 7)), 2 * 5 * 7 * 3),
    "ragged": (lambda: F.linear(torch.nested.nested_tensor([A, A[:2]], layout=torch.jagged), B.T), (5 + 2) * 7 * 3),
}


@each_mode
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*:UserWarning")
def test_products_outside_of_layers_count(name, mode):
    run, products = PRODUCTS[name]
    assert flops_of(run, mode) == (2 * products, {})


NAMED = {
    "aten::_fft_r2c": lambda: torch.fft.rfft(V),
    "aten::_linalg_svd": lambda: torch.linalg.svd(A),
    "aten::linalg_inv_ex": lambda: torch.linalg.inv(torch.eye(3)),
    "aten::linalg_cholesky_ex": lambda: torch.linalg.cholesky(torch.eye(3)),
    "aten::_cdist_forward": lambda: torch.cdist(A, A),
    "aten::_euclidean_dist": lambda: torch.cdist(torch.rand(30, 3), torch.rand(30, 3)),
}


@each_mode
@pytest.mark.parametrize("name", NAMED)
def test_work_without_a_formula_is_named_with_its_calls(name, mode):
    assert flops_of(lambda: [NAMED[name]() for _ in range(3)], mode) == (0, {name: 3})


def test_an_operator_of_others_is_named():
    @torch.library.custom_op("posttrain_tests::scan", mutates_args=())
    def scan(x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(0)

    assert flops_of(lambda: scan(V)) == (0, {"posttrain_tests::scan": 1})


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_a_product_of_two_sparse_factors_is_named():
    sparse = torch.eye(3).to_sparse()
    assert flops_of(lambda: sparse @ sparse, torch.no_grad) == (0, {"aten::mm": 1})


def free():
    image, grid = torch.rand(1, 2, 8, 8), torch.rand(1, 4, 4, 2)
    F.grid_sample(F.interpolate(image, scale_factor=2, mode="bilinear"), grid, align_corners=False)
    F.layer_norm(F.avg_pool2d(image, 2).softmax(1), (4, 4)).norm().sort()
    torch.linalg.norm(A)
    torch.outer(V, V)[V.argsort()].cumsum(0).clone().add_(torch.rand_like(A[0]))
    F.embedding_bag(torch.zeros(2, 3, dtype=torch.long), A)
    torch.fft.fftfreq(4)


@each_mode
def test_what_is_nothing_by_convention_is_not_named(mode):
    assert flops_of(free, mode) == (0, {})


def test_quantised_layers_are_named_and_their_bytes_told():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(64, 32), nn.ReLU()), {nn.Linear})
    batch = torch.rand(BATCH, 64)
    found = counted(net, lambda: net(batch))
    assert found.uncounted == {"quantized::linear_dynamic": 1}
    assert found.parameters.total == 0
    (note,) = found.parameters.notes
    size = 64 * 32 + 4 * 32 + 4 + 8  # integers, the bias, the scale and the zero point of outputs
    assert note == f"quantised, its weights are no parameters but {size:,} bytes of its state: 0"


def test_the_branch_of_a_condition_that_is_taken_counts():
    square = torch.rand(3, 3)
    run = lambda: torch.cond(torch.tensor(True), lambda x: x @ x, lambda x: x + 1, (square,))  # noqa: E731
    assert flops_of(run) == (2 * 27, {})


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", [torch.compile, lambda net: net.compile() or net], ids=["wrapped", "in place"])
def test_compiled_modules_count_as_they_are_written(compiled):
    net, batch = made("CNN")
    quick = compiled(copy.deepcopy(net))
    found = counted(quick, lambda: quick(batch))
    assert found.total_flops == NETS["CNN"].by_hand
    assert found.layers == 7


def test_flex_attention_counts_both_products():
    from torch.nn.attention.flex_attention import flex_attention

    query, key, value = torch.rand(3, 1, 2, 16, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert flops_of(lambda: flex_attention(query, key, value)) == (2 * 2 * 16 * 16 * (8 + 8), {})


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_modules_count_for_what_they_are_part_of():
    net = nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Linear(4, 3)))
    batch = torch.rand(BATCH, 4)
    found = counted(net, lambda: net(batch))
    assert found.total_flops == 2 * BATCH * (16 + 12)
    assert [(row.name, row.role, row.parameters) for row in found.rows] == [
        ("0", "layer", 20),
        ("", "itself", 0),
        ("1", "part", 15),
    ]


def test_a_run_of_parts_counts_them_all():
    net = nn.ModuleDict({"encoder": nn.Linear(8, 4), "decoder": nn.Linear(4, 8)})
    batch = torch.rand(BATCH, 8)
    found = counted(net, lambda: net["decoder"](net["encoder"](batch) @ torch.eye(4)))
    assert [(row.name, row.flops) for row in found.rows] == [
        ("encoder", 2 * BATCH * 32),
        ("decoder", 2 * BATCH * 32),
        ("", 2 * BATCH * 16),
    ]
    assert found.rows[-1].operation == "(itself) matmul"


def test_flops_of_a_sample_are_whole_where_they_divide():
    net = nn.Linear(3, 1)
    assert counted(net, lambda: net(torch.zeros(2, 3)), rows=2).flops == 6
    assert counted(net, lambda: net(torch.zeros(3, 3)), rows=4).flops == 4.5


def test_counting_loads_no_compiler():
    import subprocess
    import sys

    code = (
        "import sys, torch; from lightning_posttrain.profile.counting import architecture_of; "
        "net = torch.nn.Linear(2, 2); architecture_of(net, lambda: net(torch.zeros(1, 2)), rows=1); "
        "print('torch._dynamo' in sys.modules, 'lightning' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
