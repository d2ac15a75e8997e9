"""Joules, by counters in a folder and by a module that stand in for the machine's."""

import sys
from types import SimpleNamespace

import pytest
import torch

from lightning_posttrain.profile.energy import EnergyMeter
from lightning_posttrain.profile.energy_counters import uuids_of

MICRO = 1_000_000


class Zone:
    """A counter of RAPL's; each comes round at 100,000 J."""

    def __init__(self, folder, number, name, joules=100):
        self.folder = folder / f"intel-rapl:{number}"
        self.folder.mkdir(parents=True)
        (self.folder / "name").write_text(f"{name}\n")
        (self.folder / "max_energy_range_uj").write_text(f"{1000 * 100 * MICRO}\n")
        self.set(joules)

    def set(self, joules):
        (self.folder / "energy_uj").write_text(f"{joules * MICRO}\n")


@pytest.fixture
def zones(tmp_path):
    names = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "1:1": "dram", "2": "psys"}
    return {number: Zone(tmp_path / "powercap", number, name) for number, name in names.items()}


def meter_of(zones, **options):
    return EnergyMeter(folder=zones["0"].folder.parent, **options)


def test_packages_and_memory_add_up_and_their_parts_are_not_counted_twice(zones):
    meter = meter_of(zones)
    meter.begin(0)
    for joules, zone in enumerate(zones.values(), 1):
        zone.set(100 + 10**joules)
    energy = meter.end(5)
    assert list(energy.parts.values()) == [10, 1000, 10_000, 100_000]
    assert energy.joules == 111_010
    assert energy.words.startswith(
        "package-0 (intel-rapl:0, whole machine): 10 J; dram (intel-rapl:0:1, whole machine)"
    )


def test_a_counter_that_comes_round_is_followed(zones):
    zones["0"].set(99_990)
    meter = meter_of(zones)
    meter.begin(0)
    for now, joules in ((11, 20), (15, 1), (22, 50)):
        zones["0"].set(joules)
        meter.note(now)  # the second is too soon for a reading
    assert meter.end(22).parts["package-0 (intel-rapl:0, whole machine)"] == pytest.approx(60)


def test_a_counter_that_may_have_come_round_unseen_is_not_believed(zones):
    meter = meter_of(zones)
    meter.begin(0)
    energy = meter.end(101)
    assert energy.joules is None
    assert "not measured, as readings were 101 s apart" in energy.words


def test_no_counter_is_no_measurement(tmp_path):
    meter = EnergyMeter(folder=tmp_path)
    meter.begin(0)
    energy = meter.end(1)
    assert (energy.joules, energy.parts) == (None, {})
    assert energy.words == f"processors: not measured, as {tmp_path} has no counter of RAPL"


def test_a_counter_that_only_root_may_read_is_no_measurement(zones, monkeypatch):
    class Shut(type(zones["0"].folder)):
        def read_text(self):
            if self.name == "energy_uj":
                raise PermissionError(13, "Permission denied")
            return super().read_text()

    meter = EnergyMeter(folder=Shut(zones["0"].folder.parent))
    meter.begin(0)
    assert meter.end(1).words.endswith("energy_uj may be read by root alone")


def test_a_counter_that_goes_away_is_said(zones):
    meter = meter_of(zones)
    meter.begin(0)
    (zones["0"].folder / "energy_uj").unlink()
    energy = meter.end(1)
    assert len(energy.parts) == 3
    assert "cannot be read: No such file or directory" in energy.words


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """NVML with two boards, one of which counts."""
    millijoules = {"GPU-a": 5_000_000}

    def energy(handle):
        if handle not in millijoules:
            raise NVMLError("Not Supported")
        return millijoules[handle]

    fake = SimpleNamespace(
        NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return millijoules


def test_a_board_tells_its_own_millijoules(nvml, zones):
    meter = meter_of(zones, boards=["GPU-a"])
    meter.begin(0)
    nvml["GPU-a"] += 250_000
    energy = meter.end(1)
    assert energy.parts["GPU-a (NVML, whole board)"] == energy.joules == 250


def test_a_board_whose_counter_went_back_is_not_believed(nvml, zones):
    meter = meter_of(zones, boards=["GPU-a"])
    meter.begin(0)
    nvml["GPU-a"] = 0
    energy = meter.end(1)
    assert "GPU-a (NVML, whole board)" not in energy.parts
    assert "GPU-a (NVML, whole board): not measured, as the counter went back" in energy.words


def test_a_board_without_a_counter_is_said(nvml, zones):
    meter = meter_of(zones, boards=["GPU-b"])
    meter.begin(0)
    assert "NVIDIA devices: not measured, as NVML says: Not Supported" in meter.end(1).words


def test_boards_without_nvml_are_said_with_the_cure(zones, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = meter_of(zones, boards=["GPU-a"])
    meter.begin(0)
    assert "pynvml is missing; pip install nvidia-ml-py" in meter.end(1).words


def test_a_run_on_a_cpu_has_no_boards():
    assert uuids_of([torch.device("cpu")]) == ()
