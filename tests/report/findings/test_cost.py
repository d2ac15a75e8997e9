import pytest


def profile(share=0.3, *, kind="callback", wall=100.0, unused=0):
    return {
        "parameters": 1000, "flops": 2e6, "latency": {"1": {"median": 0.002, "calls": 200}}, "wall": wall,
        "count": {"total": 1000, "unused_total": unused, "unused": ["head.old"] if unused else []},
        "spent": [{"name": "SaliencyMaps", "kind": kind, "seconds": share * wall, "share": share}],
    }  # fmt: skip


def test_parameters_that_nothing_uses_are_said(said):
    text = said(fit__profile=profile(unused=50))["unused"].text
    assert text.startswith('50 of 1,000 parameters (5.0 %) are used by nothing: "head.old".')
    assert "unused" not in said(fit__profile=profile())


def test_a_callback_that_takes_a_fifth_of_the_time_is_said(said):
    found = said(fit__profile=profile())["slowest"]
    assert found.text.startswith("The callback SaliencyMaps takes 30 % of the time, 30 of 100 seconds of the fit.")
    assert "Waiting for data takes" in said(fit__profile=profile(kind="data"))["slowest"].text


@pytest.mark.parametrize("record", [profile(0.1), profile(kind="training"), profile(wall=5.0)])
def test_what_is_quick_or_is_the_work_itself_is_not_said(said, record):
    assert "slowest" not in said(fit__profile=record)


def test_the_size_is_said_in_words(said):
    text = said(profile=profile())["size"].text
    assert text == (
        "The model has 1,000 parameters, 2,000,000 arithmetic operations (FLOPs) a row, 2 ms for a row alone "
        "(median of 200 calls)."
    )
    assert "size" not in said(fit__profile={}, profile={})
