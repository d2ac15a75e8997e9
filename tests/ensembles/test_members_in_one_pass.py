"""Members run on the batches of one test give what a test of each of them gives, to the last bit."""

import copy

import pytest
import torch
from lightning.pytorch import seed_everything
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import module_member, read_members
from lightning_posttrain.ensembles.members.weights import live_tensors
from tests import nets, toys
from tests.ensembles.judged import Judging, Run, equal

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
]


class Of(toys.Net):
    """A network of one's own behind the same steps."""

    def __init__(self, net, classes=toys.CLASSES):
        super().__init__(classes=classes)
        self.model = net


class Lstm(nn.Module):
    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.body, self.head = kind(8, 12, batch_first=True), nn.Linear(12, toys.CLASSES)

    def forward(self, x):
        return self.head(self.body(x[:, 0])[0][:, -1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, toys.CLASSES)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


class InPlace(nn.Module):
    """Spoils what it is given."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, toys.CLASSES)

    def forward(self, x):
        return self.head(x.sub_(0.5).mul_(2).flatten(1))


class Drifting(nn.Module):
    """Changes buffers in each forward, one in its place and one by another, and both go into the scores."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, toys.CLASSES)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.last = self.last * 0.5 + 1
        return self.head(x.flatten(1)) + 1e-4 * (self.calls + self.last)


class Largest(nn.Module):
    """An embedding whose rows are shortened when they are asked for."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(8, 6, max_norm=0.5), nn.Linear(6, toys.CLASSES)

    def forward(self, x):
        return self.head(self.words((x[:, 0, 0] * 7.9).clamp(0, 7).long()).mean(1))


class Pictures(nn.Module):
    """A transformer of three channels, on pictures of one."""

    def __init__(self, form):
        super().__init__()
        self.body = nets.Transformer(form)
        self.head = nn.Linear(nets.CLASSES, toys.CLASSES)

    def forward(self, x):
        return self.head(self.body(F.interpolate(x, (16, 16)).expand(-1, 3, -1, -1)))


NETS = {
    "CNN with BatchNorm": lambda: toys.Net().model,
    "LSTM": Lstm,
    "GRU": lambda: Lstm(nn.GRU),
    "transformer": lambda: Pictures("layer"),
    "transformer of encoder layers": lambda: Pictures("encoder"),
    "tied weights": Tied,
    "first layer in place": InPlace,
    "buffers that a forward changes": Drifting,
    "embedding with a largest norm": Largest,
    "weight norm": lambda: nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 8)), nn.Linear(8, toys.CLASSES)
    ),
    "compiled part": lambda: torch.compile(toys.Net().model, backend="eager"),
}


def run_of(net, tmp_path, **options):
    torch._dynamo.reset()
    seed_everything(0, verbose=False)
    run = Run(
        net() if isinstance(net, type) and issubclass(net, toys.Net) else Of(net()), toys.loader(), tmp_path, options
    )
    run.fit()
    assert len(run.paths) == 3
    return run


@pytest.mark.parametrize("name", NETS)
def test_members_in_one_pass_are_those_of_a_test_each(name, tmp_path):
    run = run_of(NETS[name], tmp_path)
    other = copy.deepcopy(run.module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert equal(run.together(other), run.apart(run.module))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_members_run_in_the_precision_of_the_trainer(precision, tmp_path):
    run = run_of(NETS["CNN with BatchNorm"], tmp_path, precision=precision)
    assert equal(run.together(run.module), run.apart(run.module))


class OneLogit(toys.Net):
    def __init__(self):
        super().__init__(classes=1)

    def step(self, batch, stage):
        loss = F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], (batch[1] > 1).float())
        self.log(f"{stage}/loss", loss)
        return loss

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")


class Labels(OneLogit):
    def __init__(self):
        toys.Net.__init__(self, classes=3)

    def step(self, batch, stage):
        target = torch.stack([batch[1] == 0, batch[1] > 1, batch[1] > 2], 1).float()
        loss = F.binary_cross_entropy_with_logits(self(batch[0]), target)
        self.log(f"{stage}/loss", loss)
        return loss


class Positions(OneLogit):
    """Scores ``(N, T, C)`` of each position, flattened for the loss."""

    def __init__(self):
        toys.Net.__init__(self)
        self.model = nn.Linear(8, 3)

    def step(self, batch, stage):
        logits = self.model(batch[0][:, 0])
        loss = F.cross_entropy(logits.reshape(-1, 3), batch[2][:, 0].reshape(-1))
        self.log(f"{stage}/loss", loss)
        return loss


class Masks(OneLogit):
    """A segmentation by its loss alone."""

    def __init__(self):
        toys.Net.__init__(self)
        self.model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 3, 1))

    def step(self, batch, stage):
        loss = F.cross_entropy(self(batch[0]), batch[2])
        self.log(f"{stage}/loss", loss)
        return loss


class Heads(toys.Net):
    """A head on features that a backbone gives in the step."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = toys.Net().model, nn.Linear(2 * toys.CLASSES, toys.CLASSES)

    def forward(self, x):
        y = self.backbone(x)
        return self.head(torch.cat([y, y.relu()], 1))

    def step(self, batch, stage):
        y = self.backbone(batch[0])
        loss = F.cross_entropy(self.head(torch.cat([y, y.relu()], 1)), batch[1])
        self.log(f"{stage}/loss", loss)
        return loss


class Given(toys.Net):
    """The same, beside the batch itself."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = toys.Net().model, nn.Bilinear(64, toys.CLASSES, toys.CLASSES)

    def forward(self, x):
        return self.head(x.flatten(1), self.backbone(x))

    def step(self, batch, stage):
        loss = F.cross_entropy(self.head(batch[0].flatten(1), self.backbone(batch[0])), batch[1])
        self.log(f"{stage}/loss", loss)
        return loss


def with_masks():
    pictures, target = toys.images().tensors
    return DataLoader(TensorDataset(pictures, target, (pictures[:, 0].clamp(0, 1) * 2.9).long()), batch_size=10)


@pytest.mark.parametrize("kind", [OneLogit, Labels, Positions, Masks, Heads, Given])
def test_members_have_the_form_of_the_step_whatever_the_task(kind, tmp_path):
    seed_everything(0, verbose=False)
    run = Run(kind(), with_masks() if kind in (Positions, Masks) else toys.loader(), tmp_path)
    run.fit()
    other = copy.deepcopy(run.module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert equal(run.together(other), run.apart(run.module))


@pytest.mark.parametrize("style", toys.STYLES)
@pytest.mark.parametrize("call", toys.CALLS)
def test_members_are_found_however_the_step_is_written(style, call, tmp_path):
    seed_everything(0, verbose=False)
    run = Run(toys.make(style, call), toys.loader(), tmp_path)
    run.fit(epochs=2)
    assert equal(run.together(copy.deepcopy(run.module)), run.apart(run.module))


def test_nothing_of_the_module_and_the_program_changes(tmp_path):
    run = run_of(toys.Net, tmp_path)
    states = [state for path in run.paths for state in read_members(path, run.module)]

    def after(members):
        module = copy.deepcopy(run.module)
        module.kept = [1, 2]
        seed_everything(5, verbose=False)
        run.trainer(Judging(members)).test(module, run.data, verbose=False)
        attributes = {name: sorted(vars(part)) for name, part in module.named_modules()}
        return live_tensors(module), attributes, module.kept, torch.get_rng_state()

    (live, attributes, kept, generator), without = after(Members(states)), after(None)
    assert all(torch.equal(live[name], tensor) for name, tensor in without[0].items())
    assert attributes == without[1]
    assert kept == without[2]
    assert torch.equal(generator, without[3])


def test_training_goes_on_as_without_members(tmp_path):
    run = run_of(toys.Net, tmp_path)

    def trained(members):
        seed_everything(3, verbose=False)
        module = toys.Net()
        run.trainer(Judging(members), max_epochs=2).fit(module, toys.loader(shuffle=True), run.data)
        return module.state_dict()

    states = [state for path in run.paths for state in read_members(path, run.module)]
    with_members, without = trained(Members(states)), trained(None)
    assert all(torch.equal(with_members[name], tensor) for name, tensor in without.items())


@pytest.mark.parametrize("name", ["buffers that a forward changes", "embedding with a largest norm"])
def test_the_members_stay_as_they_were(name, tmp_path):
    run = run_of(NETS[name], tmp_path)
    states = [state for path in run.paths for state in read_members(path, run.module)]
    before = copy.deepcopy([state.tensors for state in states])
    run.trainer(Judging(Members(states))).test(run.module, run.data, verbose=False)
    assert all(
        torch.equal(state.tensors[k], v) for state, old in zip(states, before, strict=True) for k, v in old.items()
    )


def test_the_member_that_the_module_is_costs_no_forward(tmp_path):
    run = run_of(toys.Net, tmp_path)
    states = [state for path in run.paths for state in read_members(path, run.module)]
    calls = []
    run.module.model.register_forward_hook(lambda *_: calls.append(1))
    run.trainer(Judging(Members(states))).test(run.module, run.data, verbose=False)
    batches = len(run.data)
    assert len(calls) == batches * 3 + 1  # the step itself, two other members, and once the proof


def test_members_on_the_cpu_are_the_same(tmp_path):
    run = run_of(toys.Net, tmp_path)
    states = [state for path in run.paths for state in read_members(path, run.module)]
    found = []
    for on in ("cpu", "device", "auto"):
        judging = Judging(Members(states, on=on))
        run.trainer(judging).test(run.module, run.data, verbose=False)
        found.append([[batch.scores for batch in batches] for batches in judging.found])
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


class TwoViews(toys.Net):
    def step(self, batch, stage):
        logits = (self(batch[0]) + self(batch[0].flip(-1))) / 2
        self.log(f"{stage}/loss", F.cross_entropy(logits, batch[1]))
        return {"logits": logits}


def test_a_step_that_does_more_is_refused_with_a_cure_that_works(tmp_path):
    seed_everything(0, verbose=False)
    run = Run(TwoViews(), toys.loader(), tmp_path)
    run.fit()
    with pytest.raises(ValueError, match=r"gives others than the step.*forward_fn=lambda module, inputs"):
        run.together(run.module)
    both = run.together(run.module, forward_fn=lambda module, x: (module(x) + module(x.flip(-1))) / 2)
    assert equal(both, run.apart(run.module))


def test_a_sharded_module_is_refused(tmp_path):
    run = run_of(toys.Net, tmp_path)
    states = read_members(run.paths[0], run.module)
    next(run.module.parameters()).ds_id = 0
    with pytest.raises(ValueError, match=r"sharded over devices.*strategy=\"ddp\""):
        Members(states).scores(None, run.module, lambda: None, None)


def test_modules_are_members(tmp_path):
    run = run_of(toys.Net, tmp_path)
    others = []
    for path in run.paths:
        other = toys.Net()
        other.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        others.append(other)
    states = [module_member(other, f"module {i}", base=run.module) for i, other in enumerate(others, 1)]
    judging = Judging(Members(states))
    run.trainer(judging).test(toys.Net(), run.data, verbose=False)
    assert equal([[batch.scores for batch in batches] for batches in judging.found], run.apart(run.module))
