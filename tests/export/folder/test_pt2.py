"""Programs in files that could run code when they are loaded are refused, and nothing of them runs."""

import contextlib
import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_posttrain.export.folder.graph_text import check_graph
from lightning_posttrain.export.folder.pt2 import check_pt2, load_program

GRAPH, WEIGHTS = "m/models/model.json", "m/data/weights/model_weights_config.json"
EXAMPLES = "m/data/sample_inputs/model.pt"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
        self.scale = torch.tensor([1.0, 2.0])

    def forward(self, x):
        probabilities = (self.net(x) * self.scale).softmax(1)
        return probabilities, probabilities.argmax(1)


def saved(path, module, rows, free=()):
    shapes = {0: torch.export.Dim("batch", min=1), **dict.fromkeys(free, torch.export.Dim.AUTO)}
    program = torch.export.export(module.eval(), (rows,), dynamic_shapes=(shapes,))
    program.example_inputs = None
    torch.export.save(program, path, extra_files={"manifest.json": "{}"})
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.manual_seed(0)
    return saved(tmp_path_factory.mktemp("program") / "m.pt2", Net(), torch.randn(2, 3))


@pytest.fixture
def altered(whole, tmp_path):
    """Writes the program again, each entry as a function gives it; None leaves it out."""

    def alter(change, more=(), **options):
        path = tmp_path / "altered.pt2"
        with zipfile.ZipFile(whole) as read, zipfile.ZipFile(path, "w", **options) as written:
            for name in read.namelist():
                content = change(name, read.read(name))
                if content is not None:
                    written.writestr(name, content)
            for name, content in more:
                written.writestr(name, content)
        return path

    return alter


def json_of(name, edit):
    def change(each, content):
        if each != name:
            return content
        read = json.loads(content)
        edit(read)
        return json.dumps(read).encode()

    return change


def as_it_is(name, content):
    return content


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def payload(path):
    buffer = io.BytesIO()
    torch.save(Touch(path), buffer)
    return buffer.getvalue()


def test_a_program_that_was_saved_without_examples_is_loaded_and_answers_as_the_module(whole, altered):
    torch.manual_seed(0)
    module = Net().eval()
    rows = torch.randn(5, 3)
    for path in (whole, altered(as_it_is)):
        check_pt2(path)
        for got, eager in zip(load_program(path).module()(rows), module(rows), strict=True):
            torch.testing.assert_close(got, eager)


def test_a_pickle_among_the_example_inputs_is_refused_and_does_not_run(altered, tmp_path):
    witness = tmp_path / "ran"
    path = altered(lambda name, content: payload(witness) if name == EXAMPLES else content)
    with pytest.raises(ValueError, match=r"'altered.pt2' is refused: .*sample_inputs/model.pt' is not empty"):
        load_program(path)
    assert not witness.exists()
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(path)
    assert witness.exists(), "torch itself ran it"


@pytest.mark.parametrize(
    "name", ["m/data/weights/model_weights_config.json", "m/data/constants/model_constants_config.json"]
)
@pytest.mark.parametrize("mark", [True, 1, "false", None])
def test_weights_and_constants_marked_as_pickles_are_refused(altered, name, mark):
    def edit(config):
        next(iter(config["config"].values()))["use_pickle"] = mark

    with pytest.raises(ValueError, match="is a pickle, which runs code"):
        check_pt2(altered(json_of(name, edit)))


@pytest.mark.parametrize("name", ["custom_obj_0", "opaque_obj_0", "../weights/weight_0", "weight_0.pt", None])
def test_constants_that_are_no_plain_tensors_are_refused(altered, name):
    def edit(config):
        next(iter(config["config"].values()))["path_name"] = name

    with pytest.raises(ValueError, match="wanted a plain tensor"):
        check_pt2(altered(json_of("m/data/constants/model_constants_config.json", edit)))


@pytest.mark.parametrize(
    "name",
    [
        "data/weights/model.pt",
        "data/constants/custom_obj_0",
        "data/aotinductor/model/a.so",
        "models/other.json",
        "x.pkl",
    ],
)
def test_whatever_a_program_of_plain_tensors_has_not_is_refused(altered, name):
    with pytest.raises(ValueError, match="which a program of plain tensors has not"):
        check_pt2(altered(as_it_is, more=[(f"m/{name}", pickle.dumps(1))]))


def test_an_entry_that_is_there_twice_is_refused(altered):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = altered(as_it_is, more=[(EXAMPLES, b"")])
    with pytest.raises(ValueError, match="or twice"):
        check_pt2(path)
    with pytest.raises(ValueError, match="or twice"):
        check_pt2(altered(as_it_is, more=[(EXAMPLES.replace("m/", "n/"), b"")]))


CODE = "Mod.eval.__func__.__globals__['sys'].modules['os'].system('touch {}')"


def test_an_expression_that_would_be_evaluated_as_python_is_refused_and_does_not_run(altered, tmp_path):
    witness = tmp_path / "ran"

    def edit(graph):
        sizes = next(iter(graph["graph_module"]["graph"]["tensor_values"].values()))["sizes"]
        sizes[0] = {"as_expr": {"expr_str": CODE.format(witness), "hint": {"as_int": 2}}}

    path = altered(json_of(GRAPH, edit))
    with pytest.raises(ValueError, match="is not one of sizes"):
        load_program(path)
    assert not witness.exists()
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(path)
    assert witness.exists(), "torch itself ran it"


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.serialization.load",
        "torch.ops.load_library",
        "torch.ops.import_module",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.__class__.mro",
        "torch.ops.mine.op.default",
        "torch.ops.higher_order.call_torchbind",
        "_operator.call",
        "_operator.attrgetter",
        "#executorch:x",
        "builtins.exec",
        7,
        None,
    ],
)
def test_an_operator_that_is_none_of_networks_is_refused(altered, target):
    def edit(graph):
        graph["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(ValueError, match="which is not among the operators of networks"):
        check_pt2(altered(json_of(GRAPH, edit)))


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        "Symbol('s0').__class__",
        "[x for x in (1,)]",
        "lambda: 1",
        "exec('1')",
        "Max('__import__(1)', 1)",
        "(lambda: 1)()",
        "f'{L}'",
        "9**9**9",
        "open(s0)",
        "(" * 5000,
        "1+" * 20_000 + "1",
        "s0 s1",
        "",
        3,
        None,
    ],
)
def test_expressions_that_are_not_of_sizes_are_refused(text):
    with pytest.raises(ValueError, match="is not one of sizes"):
        check_graph({"sizes": [{"expr_str": text}]})
    with pytest.raises(ValueError, match="is not one of sizes"):
        check_graph({"guards_code": [text]})


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "FloorDiv(Mul(Integer(3), Symbol('s77', positive=True, integer=True)), Integer(2))",
        "2*s77 + Max(1, s77//2)",
        "L['x'].size()[1] != max(1, L['x'].size()[1] // 2)",
        "((3*L['x'].size()[0]) // 2) <= L['x'].size()[1]**2 and not s0 == 1",
    ],
)
def test_expressions_of_sizes_pass(text):
    check_graph({"expr_str": text, "guards_code": [text]})


@pytest.mark.parametrize(
    "spec",
    [
        '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]',
        '[1, {"type": "builtins.dict", "context": "[{\\"__enum__\\": true, \\"fqn\\": \\"os:x\\"}]"}]',
        '[1, {"type": ["x"]}]',
        "[[",
        7,
    ],
)
def test_containers_that_import_modules_are_refused(spec):
    with pytest.raises(ValueError, match="arguments"):
        check_graph({"in_spec": spec})


def test_packed_entries_are_refused_before_they_are_unpacked(altered):
    with pytest.raises(ValueError, match="is packed"):
        check_pt2(altered(as_it_is, compression=zipfile.ZIP_DEFLATED))


def test_a_bomb_of_entries_that_share_their_bytes_is_refused(tmp_path):
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/weights/weight_0", bytes(10_000))
        first = archive.infolist()[0]
        for number in range(1, 50):
            twin = zipfile.ZipInfo(f"m/data/weights/weight_{number}")
            twin.file_size = twin.compress_size = first.file_size
            twin.CRC, twin.header_offset = first.CRC, first.header_offset
            archive.filelist.append(twin)
    with pytest.raises(ValueError, match="larger than"):
        check_pt2(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all", pickle.dumps({"a": 1})])
def test_what_is_no_archive_is_refused_in_words(tmp_path, content):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"'model.pt2' is no file of torch.export: .*Export again"):
        check_pt2(path)


def test_a_file_of_the_form_of_older_releases_is_refused(tmp_path):
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.1")
        archive.writestr("serialized_state_dict.pt", pickle.dumps({}))
    with pytest.raises(ValueError, match=r"Export again with torch 2\.8 or later"):
        check_pt2(path)


def test_a_missing_table_or_graph_is_said(altered):
    for name in (WEIGHTS, GRAPH):
        with pytest.raises(ValueError, match="is missing"):
            check_pt2(altered(lambda each, content, name=name: None if each == name else content))
        with pytest.raises(ValueError, match="is no JSON"):
            check_pt2(altered(lambda each, content, name=name: b"{" if each == name else content))


class Branches(nn.Module):
    def forward(self, x):
        turned = torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - 1, (x,))
        half = turned[:, : x.shape[1] // 2]
        with torch.no_grad():
            return (
                nn.functional.interpolate(half[:, None, None], scale_factor=2.0)[:, 0, 0],
                x.long() & 1,
                x * x.shape[0],
            )


@pytest.mark.slow
def test_branches_free_lengths_and_sizes_as_numbers_pass(tmp_path):
    path = saved(tmp_path / "m.pt2", Branches(), torch.randn(4, 8), free=[1])
    rows = torch.randn(3, 8)
    got = load_program(path).module()(rows)
    for ours, eager in zip(got, Branches()(rows), strict=True):
        torch.testing.assert_close(ours, eager)
