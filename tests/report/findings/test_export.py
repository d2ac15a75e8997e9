def one(name, *, kept=True, rows=500, flipped=0, reason="it gives the answers that were tested"):
    bound = 0.006 if rows else None
    return {
        "name": name, "files": [f"model.{name}"], "kept": kept, "rows": rows, "flipped_rows": flipped,
        "flips_bound": bound, "reason": reason,
    }  # fmt: skip


def test_formats_that_are_kept_are_said_with_what_changes(said):
    found = said(export={"formats": [one("onnx", flipped=1)]})["export"]
    assert found.level == "good"
    assert found.text == "Kept: model.onnx (1 of 500 rows change their answer, at most 0.6 % of new rows would (95 %))."


def test_formats_that_are_refused_are_said_with_the_reason(said):
    found = said(export={"formats": [one("onnx"), one("pt2", kept=False, reason="a loop depends on the data.")]})
    assert found["export"].level == "warn"
    assert found["export"].text.endswith("Not kept: model.pt2, as a loop depends on the data.")


def test_a_run_without_export_says_nothing(said):
    assert "export" not in said(export={"formats": []})
