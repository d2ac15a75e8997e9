from lightning_posttrain.saliency.render.faithfulness import faithfulness_table
from lightning_posttrain.saliency.result import Faithfulness

ROWS = {
    "integrated_gradients": {"deletion": 0.1, "insertion": 0.8, "completeness_gap": 0.01},
    "random": {"insertion": 0.4, "deletion": 0.4},
}
TITLES = {"integrated_gradients": "Integrated gradients"}


def test_a_row_a_method_a_column_a_measure_and_none_where_it_is_missing():
    table = faithfulness_table(Faithfulness(ROWS, TITLES, samples=16))
    assert table.columns == ("method", "insertion", "deletion", "completeness gap")
    assert table.rows == (("Integrated gradients", 0.8, 0.1, 0.01), ("random", 0.4, 0.4, None))


def test_the_note_explains_the_columns_that_are_there_and_no_others():
    note = faithfulness_table(Faithfulness(ROWS, TITLES, samples=16)).note
    assert note.startswith("Means over 16 samples. ")
    assert "Insertion: " in note
    assert "higher is better" in note
    assert "know nothing of the model" in note
    assert "Infidelity" not in note
    assert "Pointing" not in note


def test_without_maps_that_know_nothing_the_note_is_silent_on_them():
    rows = {"saliency": {"insertion": 0.5}}
    assert "know nothing" not in faithfulness_table(Faithfulness(rows, {}, samples=1)).note


def test_a_chance_stands_beside_its_measure():
    rows = {"saliency": {"energy": 0.5, "odd": 1.0, "pointing_game_chance": 0.1, "pointing_game": 0.7}}
    columns = faithfulness_table(Faithfulness(rows, {}, samples=1)).columns
    assert columns == ("method", "pointing game", "pointing game chance", "energy", "odd")


def test_what_could_not_be_measured_is_said():
    result = Faithfulness(ROWS, TITLES, samples=2, skipped={"infidelity": "too slow"})
    assert faithfulness_table(result).note.endswith("Infidelity: too slow.")
