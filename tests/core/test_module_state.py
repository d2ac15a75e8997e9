"""What a module keeps is after a run as before, by object and by value, whatever it is and wherever it is held."""

import array
import collections
import enum
import functools
import io
import itertools
import pathlib
import queue
import random
import re
import socket
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchmetrics import CatMetric

from lightning_posttrain.core.capture.module_state import CannotBePutBackError, kept_state, walk
from tests.state_of import state_of


class Plain:
    def __init__(self, value):
        self.value = value


class Slotted:
    __slots__ = ("empty", "value")

    def __init__(self, value):
        self.value = value


class Both(Slotted):
    """Slots of its base, and a dict."""


class Items(list):
    """A list with an attribute."""


Pair = collections.namedtuple("Pair", ["first", "second"])


def keeping(value):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[1].kept = value
    return net


def seen(net):
    return state_of(vars(net), by_object=True)


def vandal_of_slots(one):
    one.value = 7
    one.empty = 3


def vandal_of_dict(one):
    one["a"].append(1)
    one.pop("b")
    one["new"] = 2


# what is kept, and what a forward does with it
KINDS = {
    "list": (lambda: [1, 2], lambda one: one.append(3)),
    "list, in another order": (lambda: [[1], [2]], list.reverse),
    "list of very many numbers": (lambda: list(range(5000)), list.clear),
    "lists of lists": (lambda: [[1], [2, 3]], lambda one: one[1].clear()),
    "dict": (lambda: {"a": [], "b": 1}, vandal_of_dict),
    "dict, in another order": (lambda: {"a": 1, "b": 2}, lambda one: one.update(a=one.pop("a"))),
    "OrderedDict": (lambda: collections.OrderedDict(a=[], b=1), lambda one: one.move_to_end("a")),
    "defaultdict": (lambda: collections.defaultdict(list, a=[1]), lambda one: one["b"].append(2)),
    "Counter": (lambda: collections.Counter("ab"), lambda one: one.update("abc")),
    "UserDict": (lambda: collections.UserDict(a=1), lambda one: one.update(b=2)),
    "set": (lambda: {1, 2}, lambda one: one.add(3)),
    "set of objects": (lambda: {Plain(1)}, lambda one: setattr(next(iter(one)), "value", 2)),
    "object as a key": (lambda: {Plain(1): 0}, lambda one: setattr(next(iter(one)), "value", 2)),
    "deque": (lambda: collections.deque([[1], 2], maxlen=2), lambda one: one.append(3)),
    "bytearray": (lambda: bytearray(b"ab"), lambda one: one.append(3)),
    "array": (lambda: array.array("d", [1.0]), lambda one: one.append(3.0)),
    "tuple": (lambda: (1, ["a"]), lambda one: one[1].append("b")),
    "named tuple": (lambda: Pair({"a": 1}, 2), lambda one: one.first.clear()),
    "tensor": (lambda: torch.zeros(2, 3), lambda one: one.add_(1)),
    "tensor without a size": (lambda: torch.tensor(float("nan")), lambda one: one.fill_(0.0)),
    "tensor of zeros with another sign": (lambda: torch.zeros(2), lambda one: one.mul_(-1)),
    "complex tensor": (lambda: torch.zeros(2, dtype=torch.complex128), lambda one: one.add_(1j)),
    "tensor of half precision": (lambda: torch.zeros(2, dtype=torch.float16), lambda one: one.add_(1)),
    "tensor of truth": (lambda: torch.zeros(2, dtype=torch.bool), lambda one: one.logical_not_()),
    "transposed tensor": (lambda: torch.zeros(2, 3).T, lambda one: one.add_(1)),
    "expanded tensor": (lambda: torch.zeros(1).expand(4), lambda one: one[:1].add_(1)),
    "tensor that gets other memory": (lambda: torch.zeros(2), lambda one: setattr(one, "data", torch.ones(5))),
    "tensor that grows": (lambda: torch.zeros(2), lambda one: one.resize_(4).fill_(1)),
    "NumPy array": (lambda: np.zeros((2, 2)), lambda one: np.add(one, 1, out=one)),
    "NumPy array of objects": (lambda: np.array([[1], None], object), lambda one: one[0].append(2)),
    "NumPy array that grows": (lambda: np.zeros(2), lambda one: one.resize(4, refcheck=False)),
    "masked array": (lambda: np.ma.masked_array([1.0, 2.0], [0, 1]), lambda one: one.mask.fill(0)),
    "torch.Generator": (torch.Generator, lambda one: torch.rand(1, generator=one)),
    "numpy.random.Generator": (lambda: np.random.default_rng(1), lambda one: one.random()),
    "bit generator": (lambda: np.random.PCG64(1), lambda one: one.random_raw()),
    "numpy.random.RandomState": (lambda: np.random.RandomState(1), lambda one: one.normal()),
    "random.Random": (lambda: random.Random(1), lambda one: one.gauss()),
    "object": (lambda: Plain([1]), lambda one: setattr(one, "value", 2) or setattr(one, "other", 3)),
    "object that loses an attribute": (lambda: Plain(1), lambda one: delattr(one, "value")),
    "namespace": (lambda: SimpleNamespace(a=1), lambda one: vars(one).update(a=2)),
    "slots": (lambda: Slotted(1), vandal_of_slots),
    "slots and a dict": (lambda: Both([1]), lambda one: (one.value.clear(), setattr(one, "other", 2))),
    "list with attributes": (lambda: Items([1]), lambda one: (one.append(2), setattr(one, "other", 2))),
    "partial": (lambda: functools.partial(max, [1], key={"a": 1}), lambda one: one.keywords["key"].clear()),
    "method": (lambda: SimpleNamespace(call=Plain([1]).__init__), lambda one: one.call(5)),
    "queue": (queue.Queue, lambda one: one.put(1)),
    "file in memory": (lambda: io.BytesIO(b"abc"), lambda one: one.write(b"x")),
    "text in memory": (lambda: io.StringIO("abc"), lambda one: one.read(2)),
    "metric": (CatMetric, lambda one: one.update(torch.ones(2))),
    "module": (lambda: [nn.BatchNorm1d(2)], lambda one: one[0](torch.rand(3, 2))),
    "distribution": (
        lambda: torch.distributions.Normal(torch.zeros(2), torch.ones(2)), lambda one: one.loc.add_(1)
    ),
}  # fmt: skip

HOLDERS = {
    "attribute": (lambda value: value, lambda held: held),
    "dict": (lambda value: {"a": {"b": value}}, lambda held: held["a"]["b"]),
    "tuple in a list": (lambda value: [(0, value)], lambda held: held[0][1]),
    "object": (lambda value: Plain(Slotted(value)), lambda held: held.value.value),
    "deque": (lambda value: collections.deque([value]), lambda held: held[0]),
    "module": (lambda value: [keeping(value)], lambda held: held[0][1].kept),
    "partial": (lambda value: functools.partial(print, value), lambda held: held.args[0]),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_put_back_in_each_holder(kind, holder):
    make, vandal = KINDS[kind]
    hold, get = HOLDERS[holder]
    value = make()
    net = keeping(hold(value))
    mark = state_of(value, by_object=True)
    before = seen(net)
    with kept_state(net):
        vandal(get(net[1].kept))
        assert state_of(value, by_object=True) != mark
    assert get(net[1].kept) is value
    assert state_of(value, by_object=True) == mark
    assert seen(net) == before


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_put_back_after_an_exception_too(kind):
    make, vandal = KINDS[kind]
    net = keeping(make())
    before = seen(net)
    with pytest.raises(KeyError, match="inside"), kept_state(net):
        raise KeyError(["inside", vandal(net[1].kept)])
    assert seen(net) == before


def test_the_number_that_normal_draws_keep_for_later_is_put_back():
    net = keeping([random.Random(1), np.random.RandomState(1)])
    for draw in (lambda: net[1].kept[0].gauss(0, 1), net[1].kept[1].normal):
        draw()  # a second number is waiting
        with kept_state(net):
            drawn = draw()
        assert draw() == drawn


VALUES = (torch.Tensor, np.ndarray)


def vandalise(value, seen):
    """Change all that can be changed, at any depth."""
    if id(value) in seen or isinstance(value, (str, int)):
        return
    seen[id(value)] = value
    inside = (
        [*value.values()] if isinstance(value, dict) else [*vars(value).values()] if isinstance(value, Plain) else []
    )
    inside += [*value] if isinstance(value, (list, tuple, collections.deque)) else []
    for one in inside:
        vandalise(one, seen)
    if isinstance(value, VALUES):
        value += 1
    elif isinstance(value, (list, collections.deque)):
        value.reverse()
        value.append("added")
        value.popleft() if isinstance(value, collections.deque) else value.pop(0)
    elif isinstance(value, dict):
        value["added"] = 1
        value.pop(next(iter(value)))
    elif isinstance(value, set):
        value.add("added")
    elif isinstance(value, Plain):
        value.added, value.value = 1, 2


leaves = st.one_of(
    st.integers(), st.text(max_size=2), st.just(0).map(lambda _: torch.zeros(2)), st.just(0).map(lambda _: np.zeros(2)),
    st.sets(st.integers(), max_size=2),
)  # fmt: skip
structures = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(collections.deque),
        st.dictionaries(st.text(max_size=1), inner, max_size=3),
        inner.map(Plain),
        inner.map(lambda one: [one, {"shared": one}, one]),
    ),
    max_leaves=12,
)


@given(structures)
def test_whatever_is_nested_shared_or_goes_in_circles_is_put_back(value):
    circle = [value]
    circle.append({"again": circle, "net": None})
    net = keeping(circle)
    circle[1]["net"] = (net, Plain(circle))
    before = seen(net)
    with kept_state(net):
        vandalise(circle[0], {})
        circle[1].clear()
        circle.reverse()
    assert seen(net) == before


class Changing(nn.Module):
    """Adds, takes away and exchanges attributes, buffers, parts and hooks when it is called."""

    shared, calls = [], 0

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("none", None)
        self.handle = self.layer.register_forward_hook(lambda *_: None)
        self.gone = 1

    def forward(self, x):
        self.added, self.mean, self.none = 1, self.mean + 1, torch.ones(1)
        self.register_buffer("late", torch.ones(1), persistent=False)
        self.late_part = nn.Linear(2, 2)
        del self.gone
        self.handle.remove()
        self.layer.register_forward_pre_hook(lambda *_: None)
        type(self).calls += 1
        type(self).other = 1
        self.shared.append(1)
        return self.eval().layer(x)


def test_attributes_buffers_parts_hooks_and_those_of_the_class_are_as_they_were():
    net = Changing()
    before, names = seen(net), list(net.state_dict())
    with kept_state(net):
        net(torch.ones(1, 2))
        assert seen(net) != before
    assert seen(net) == before
    assert list(net.state_dict()) == names
    assert net.training
    assert (Changing.calls, Changing.shared, hasattr(Changing, "other")) == (0, [], False)


def test_an_embedding_that_shortens_its_rows_is_put_back():
    net = nn.Sequential(nn.Embedding(3, 2, max_norm=0.1), nn.EmbeddingBag(3, 2, max_norm=0.1))
    before = seen(net)
    with kept_state(net):
        net[0](torch.tensor([1]))
        net[1](torch.tensor([[1]]))
        assert seen(net) != before
    assert seen(net) == before


def test_what_nothing_changed_is_not_written_to():
    net = keeping({"tensor": torch.zeros(2), "items": {"a": 1}})
    keys, version = iter(net[1].kept["items"]), net[1].running_mean._version
    with kept_state(net):
        net.eval()(torch.ones(2, 2))
    assert (net[1].kept["tensor"]._version, net[1].running_mean._version) == (0, version)
    assert next(keys) == "a"


def test_the_random_numbers_of_the_program_are_put_back_and_start_from_the_seed():
    drawn, net = [], nn.Linear(1, 1)
    for seed in (None, 3, 3):
        before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
        with kept_state(net, seed=seed):
            drawn.append((float(torch.rand(())), random.random(), float(np.random.rand())))
        assert repr(before) == repr((torch.get_rng_state(), random.getstate(), repr(np.random.get_state())))
    assert drawn[1] == drawn[2] != drawn[0]
    assert drawn[0] == (float(torch.rand(())), random.random(), float(np.random.rand()))


def test_tensors_made_in_inference_mode_stand_aside_wherever_they_are():
    with torch.inference_mode():
        made = torch.ones(2)
    net = keeping(Pair({"a": [made]}, (made, {made})))
    net.register_buffer("made", made)
    net[1].register_buffer("also", made)
    kept = net[1].kept
    with kept_state(net, gradients=True):
        x = torch.ones(2, requires_grad=True)
        (x * net[1].kept.first["a"][0] * net[1].kept.second[0] * net.made).sum().backward()
        assert net.made is net[1].kept.second[0] is net[1].also
    assert net[1].kept is kept
    assert kept.first["a"][0] is kept.second[0] is net.made is made
    assert torch.equal(made, torch.ones(2))


def test_a_run_in_inference_mode_is_put_back_too():
    net = keeping({"mean": torch.zeros(2)})
    with torch.inference_mode():
        net[1].made = torch.zeros(2)
        before = seen(net)
        with kept_state(net):
            net[1].kept["mean"] += 1
            net[1].made += 1
        assert seen(net) == before


def numbers():
    yield from range(5)


MOVING = {
    "generator": numbers,
    "generator in map": lambda: map(str, numbers()),
    "socket": socket.socket,
    "queue": queue.SimpleQueue,
    "loader": lambda: iter(torch.utils.data.DataLoader([1, 2])),
}
used = {
    "generator": next, "generator in map": next, "socket": lambda one: one.recv(1), "queue": lambda one: one.get(),
    "loader": next,
}  # fmt: skip


@pytest.mark.parametrize("holder", ["attribute", "dict", "tuple in a list", "object", "deque", "module"])
@pytest.mark.parametrize("kind", MOVING)
def test_what_cannot_be_copied_raises_when_it_is_used_before_it_has_moved(kind, holder):
    hold, get = HOLDERS[holder]
    value = MOVING[kind]()
    net = keeping(hold(value))
    with kept_state(net):
        assert net.eval()(torch.ones(1, 2)).shape == (1, 2)
        assert bool(get(net[1].kept))
        with pytest.raises(CannotBePutBackError, match=r"^`1\.kept.*` \(a .*\) cannot be copied, and moves on when"):
            used[kind](get(net[1].kept))
    assert get(net[1].kept) is value
    if kind.startswith("generator"):
        assert int(next(value)) == 0
    if kind == "socket":
        value.close()


def test_where_nothing_can_stand_for_it_no_run_is_made():
    value = numbers()
    net = keeping([1, functools.partial(print, value)])
    with pytest.raises(CannotBePutBackError, match=r"`1\.kept\[1\]\['args'\]\[0\]` \(a generator\)"), kept_state(net):
        raise AssertionError("was run")
    assert next(value) == 0


ITERATORS = {
    "list": lambda: iter([1, 2, 3]),
    "tuple": lambda: iter((1, 2, 3)),
    "range": lambda: iter(range(3)),
    "dict": lambda: iter({1: 2, 3: 4}),
    "deque": lambda: iter(collections.deque([1, 2])),
    "reversed": lambda: reversed([1, 2]),
    "enumerate": lambda: enumerate([1, 2, 3]),
    "zip": lambda: zip([1, 2], [3, 4], strict=True),
    "map": lambda: map(str, [1, 2]),
    "filter": lambda: filter(None, [1, 2]),
    "count": lambda: itertools.count(3),
    "cycle": lambda: itertools.cycle([1, 2]),
    "chain": lambda: itertools.chain([1], [2]),
    "islice": lambda: itertools.islice([1, 2, 3], 2),
}


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("kind", ITERATORS)
def test_an_iterator_of_pythons_own_goes_on_where_it_was(kind, ahead):
    value, same = ITERATORS[kind](), ITERATORS[kind]()
    for iterator in (value, same):
        list(itertools.islice(iterator, ahead))
    net = keeping([value, (value,)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with kept_state(net):
            assert net[1].kept[0] is net[1].kept[1][0]
            assert list(itertools.islice(net[1].kept[0], 5))
    assert net[1].kept[0] is net[1].kept[1][0] is value
    assert list(itertools.islice(value, 5)) == list(itertools.islice(same, 5))


class Own:
    """An iterator as users write them."""

    def __init__(self):
        self.at, self.taken = 0, iter([5, 6])

    def __iter__(self):
        return self

    def __next__(self):
        self.at += 1
        return self.at, next(self.taken)


def test_an_iterator_that_a_user_wrote_is_put_back_also_inside_another():
    net = keeping([Own(), zip(Own(), [1, 2], strict=True)])
    with kept_state(net):
        assert (next(net[1].kept[0]), next(net[1].kept[1])) == ((1, 5), ((1, 5), 1))
    assert (next(net[1].kept[0]), next(net[1].kept[1])) == ((1, 5), ((1, 5), 1))


class Colour(enum.Enum):
    RED = 1


class Rows(torch.utils.data.Dataset):
    def __init__(self):
        self.items = [numbers()]


def test_what_modules_ordinarily_hold_is_no_reason_not_to_run_and_is_left_alone(tmp_path):
    (tmp_path / "lines").write_text("a\nb\n")
    with (tmp_path / "lines").open() as lines, (tmp_path / "log").open("w") as log:
        kept = {
            "lock": threading.Lock(), "thread": threading.current_thread(), "local": threading.local(),
            "pattern": re.compile("a"), "path": pathlib.Path("a"), "colour": Colour.RED, "class": Plain, "rows": Rows(),
            "event": threading.Event(), "weak": torch.nn.Linear, "function": print, "stream": log, "lines": lines,
            "optimizer": torch.optim.SGD([torch.zeros(1)]), "loader": torch.utils.data.DataLoader([1]),
            "system": random.SystemRandom(), "dtype": torch.float32, "size": torch.Size([1]),
            "sparse": torch.eye(2).to_sparse(), "meta": torch.zeros(1, device="meta"), "module": torch,
            "read-only": np.frombuffer(b"ab", np.uint8),
        }  # fmt: skip
        net = keeping(kept)
        with kept_state(net):
            assert all(net[1].kept[name] is value for name, value in kept.items())
            kept["event"].set()
            assert lines.readline() == "a\n"
        assert kept["event"].is_set()
        assert lines.readline() == "a\n"


def test_a_file_that_cannot_go_back_is_not_read():
    class Pipe(io.RawIOBase):
        def readable(self):
            return True

    net = keeping(Pipe())
    with kept_state(net), pytest.raises(CannotBePutBackError, match=r"`1\.kept` \(a .*Pipe\) cannot be moved back"):
        net[1].kept.read()


def test_what_is_too_large_to_copy_is_not_used(monkeypatch):
    monkeypatch.setattr(walk, "MOST_OBJECTS", 50)
    monkeypatch.setattr(walk, "MOST_BYTES", 2 << 20)
    bank = [[[i]] for i in range(60)]
    net = keeping(bank)
    net.tensor, net.array, net.small = torch.zeros(1 << 19), np.zeros(1 << 18), torch.zeros(2)
    with kept_state(net):
        assert torch.equal(net.small + net.tensor[:2], torch.zeros(2))
        for use in (lambda: net[1].kept[0], lambda: net[1].kept.append(1), lambda: len(net[1].kept)):
            with pytest.raises(CannotBePutBackError, match=r"`1\.kept` \(a list\) holds more than 50 objects"):
                use()
        for use in (lambda: torch.ones(1) * net.array, lambda: net.array + 1, lambda: np.add(1, net.array)):
            with pytest.raises(CannotBePutBackError, match=r"`array` \(a ndarray\) makes more than 2 MiB to copy"):
                use()
    assert net[1].kept is bank
    assert isinstance(net.array, np.ndarray)


def test_memory_of_weights_is_not_copied(monkeypatch):
    monkeypatch.setattr(walk, "MOST_BYTES", 1 << 10)
    net = nn.Linear(1000, 1000)
    net.flat, net.also = [net.weight.detach(), net.weight], net.weight.data[:50]
    with kept_state(net):
        assert net.also.sum().isfinite()


def test_a_part_that_has_no_shape_yet_is_not_run():
    net = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(CannotBePutBackError, match=r"`0\.weight` .* call the module once before"), kept_state(net):
        net(torch.ones(1, 3))
    assert net[0].has_uninitialized_params()


@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
def test_a_compiled_script_is_put_back_too():
    net = nn.Sequential(torch.jit.script(nn.BatchNorm1d(2)))
    with kept_state(net):
        net(torch.rand(3, 2))
    assert torch.equal(net[0].running_mean, torch.zeros(2))


def test_slots_without_a_value_ask_nothing_of_the_object():
    class Asked:
        __slots__ = ("empty",)

        def __getattr__(self, name):
            raise AssertionError(f"asked for {name}")

    net = keeping(Asked())
    with kept_state(net):
        net[1].kept.empty = 1
    with pytest.raises(AssertionError, match="asked for empty"):
        _ = net[1].kept.empty


def test_where_something_cannot_be_put_back_the_rest_is():
    class Stubborn(random.Random):
        def setstate(self, state):
            raise OSError("not this one")

    net = keeping([Stubborn(1), [1]])
    before = net[1].running_mean.clone()
    with pytest.raises(OSError, match="not this one"), kept_state(net):
        net[1].kept[1].append(net(torch.rand(3, 2)))
    assert net[1].kept[1] == [1]
    assert torch.equal(net[1].running_mean, before)
