"""Records of methods that share one network's weights are shown as they are, and nowhere else."""

import re

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from reports.numbers.capacity import decisions, layer_names, owners, structures
from reports.tables.capacity import capacity_table, decisions_table
from reports.write import write_report
from results import load, schema
from tests.reports.quick_report import quick_report
from tests.reports.synthetic_capacity import SMALL, capacity_facts, cmat, packnet, proof_facts
from tests.reports.synthetic_runs import FakeRun, judged_board_of, write_run

NASTY = "cmat <b>2/255</b> | 5%_x & [bold]$a$[/]"
NASTY_TASK = "pair_{} <i>or</i> *two* | $b$"
GROWING = cmat(grows={1: 1.5}, ratio=[0.8, 0.5, 0.6], reached=[0.65, 0.59, 0.4])
CLAIMS = ["unforgetting"]


def frame(facts):
    columns = pd.DataFrame(facts, columns=schema.FACTS.names)
    return columns.astype({"value": float})


def cmat_run(label=None, seed=0, fake=GROWING, **fields):
    facts = [*capacity_facts(fake), *proof_facts(fake.tasks)]
    return FakeRun("cmat", label, seed, facts=facts, claims=CLAIMS, tasks=fake.tasks, quality=2.2, **fields)


def packnet_run(**fields):
    return FakeRun("packnet", facts=[*capacity_facts(packnet()), *proof_facts(3)], claims=CLAIMS, **fields)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """PackNet, CMAT (with a nasty label and two seeds) and a method that records nothing of the kind."""
    root = tmp_path_factory.mktemp("stored")
    named = {"task_name": NASTY_TASK}
    fakes = [packnet_run(**named), cmat_run(NASTY, **named), cmat_run(NASTY, seed=1, **named)]
    for fake in [*fakes, FakeRun("madry_at", claims=[], **named)]:
        write_run(root, fake)
    return root


@pytest.fixture(scope="module")
def report(stored, tmp_path_factory):
    return write_report(load(stored, None), tmp_path_factory.mktemp("report"))


# -- facts to frames --------------------------------------------------------------------------------------------------


def test_owner_counts_add_up_to_the_layer_and_to_the_recorded_shares():
    facts = frame(capacity_facts(GROWING))
    table, decided = owners(facts), decisions(facts)
    for task, of_task in table.groupby("task"):
        assert of_task["weights"].sum() == decided["shared_weights"][task]
        shares = of_task.groupby("owner")["weights"].sum() / of_task["weights"].sum()
        assert shares["free"] == pytest.approx(decided["free_share"][task])
        assert shares[str(task)] == pytest.approx(decided["owned_share"][task])
    sizes = table[table["task"] == 0].groupby("layer", sort=False)["weights"].sum()
    assert sizes.tolist() == [rows * rest for rows, rest in SMALL]


def test_what_an_earlier_task_owns_it_keeps():
    table = owners(frame(capacity_facts(GROWING)))
    of_first = table[table["owner"] == "0"].pivot_table(index="layer", columns="task", values="weights")
    assert (of_first.nunique(axis=1) == 1).all()


def test_decisions_are_what_was_recorded():
    decided = decisions(frame(capacity_facts(GROWING)))
    assert decided.index.tolist() == [0, 1, 2]
    assert decided["mu"].tolist() == [1.0, 1.5, 1.5]
    assert decided["prune_ratio"].tolist() == [0.8, 0.5, 0.6]
    assert decided["goal_met"].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(decided["picked_share"][0])
    assert 0.5 < decided["picked_share"][1] < 0.9


def test_the_share_of_one_layer_is_not_taken_for_that_of_all():
    facts = capacity_facts(cmat())
    whole = next(f["value"] for f in facts if f["name"] == "picked_share" and f["text"] is None and f["task"] == 2)
    moved = sorted(facts, key=lambda f: f["name"] == "picked_share" and f["text"] is not None)
    assert decisions(frame(moved))["picked_share"][2] == whole


@pytest.mark.parametrize(
    ("recorded", "reached"),
    [
        ({"train": 0.5}, 0.5),
        ({"train": 0.5, "prune": 0.3, "retrain": 0.45}, 0.45),
        ({"train": 0.5, "prune": 0.3, "retrain": 0.2, "undone": 0.3}, 0.3),
    ],
)
def test_what_packnet_reached_is_the_stage_that_was_kept(recorded, reached):
    facts = [{"task": 0, "phase": "method", "name": "free_share", "value": 0.5}]
    names = {"undone": "selected_clean"}
    for stage, value in recorded.items():
        name = names.get(stage, f"reached_{stage}")
        facts.append({"task": 0, "phase": "method", "name": name, "value": value})
    assert decisions(frame(facts))["reached"][0] == reached


def test_what_no_method_recorded_gives_nothing():
    others = frame([{**fact, "phase": "harness"} for fact in capacity_facts(GROWING)])
    for facts in (others, frame([])):
        assert decisions(facts).empty
        assert owners(facts).empty
        assert not structures(facts)


def test_an_owner_map_that_cannot_be_read_is_left_out():
    facts = capacity_facts(cmat())
    for fact in facts:
        if fact["name"] == "structure prune":
            fact["text"] = fact["text"].replace('"rows": 8', '"rows": 7')
        if fact["name"] == "structure retrain":
            fact["text"] = fact["text"][:-5]
    assert set(structures(frame(facts))) == {(0, "train"), (1, "train"), (2, "train")}


def test_owner_maps_are_read_as_they_were_written():
    found = structures(frame(capacity_facts(GROWING)))
    assert list(found) == [(t, m) for t in range(3) for m in ("train", "prune", "retrain") if (t, m) != (0, "retrain")]
    assert (found[0, "train"].owners == 1).all()
    assert found[0, "train"].owners.shape == (8, 9)
    assert found[1, "train"].owners.shape == (9, 9)
    assert (found[1, "train"].owners[8] == 2).all()
    assert (found[1, "train"].owners[:8] == 1).sum() == (found[0, "prune"].owners == 1).sum()
    last = found[2, "retrain"]
    assert not (last.used & (last.owners == 0)).any()
    assert last.earlier(2).sum() == np.isin(last.owners, (1, 2)).sum()
    assert last.owned(2).sum() == (last.owners == 3).sum() > 0


def test_layers_have_names_where_the_backbone_is_known():
    layers = [f"layers.{k}.weight" for k in range(4)]
    assert layer_names(layers, {"name": "small_conv", "width": 1}) == ["conv 1", "conv 2", "conv 3", "fc 1"]
    # The convolution beside the body of a residual block is no step of the sequence.
    block = ["layers.0.weight", "layers.4.body.0.weight", "layers.4.body.3.weight", "layers.4.shortcut.0.weight"]
    assert layer_names(block, {"name": "resnet18"}) == ["conv 1", "conv 2", "conv 3", "shortcut 4"]
    assert layer_names(layers, {"name": "another"}) == layer_names(layers, None) == ["1", "2", "3", "4"]


# -- tables -----------------------------------------------------------------------------------------------------------


def test_tables_hold_every_seed_and_the_page_the_first(report):
    capacity = pd.read_csv(report.output / "tables" / "digits__capacity.csv", keep_default_na=False)
    assert capacity.groupby(["label", "seed"]).size().to_dict() == {(NASTY, 0): 3, (NASTY, 1): 3, ("packnet", 0): 3}
    table = decisions_table(report.boards[0])
    assert table["label"].value_counts().to_dict() == {NASTY: 3, "packnet": 3}
    assert "first; all are in tables/" in (report.output / "leaderboard.md").read_text(encoding="utf-8")


def test_the_decisions_table_is_golden(report):
    table = decisions_table(report.boards[0]).set_index("label")
    proven = "yes: same bits, same logits"
    first, grown, missed = table.loc[NASTY].to_numpy().tolist()
    assert first[:3] + first[4:] == [
        f"0 {NASTY_TASK.format(0)}", "60.0 ± 2.0", "65.0", "0.8", "1", "20.0", "80.0", "–", f"{proven}, 1 attack repeated",
    ]  # fmt: skip
    assert (grown[3], grown[5], grown[-1]) == ("yes", "1.5", proven)
    assert (missed[2], missed[3]) == ("40.0", "no")
    of_packnet = table.loc["packnet"].to_numpy().tolist()[1]
    assert of_packnet[:6] == [f"1 {NASTY_TASK.format(1)}", "–", "65.0", "–", "0.6", "1"]
    assert of_packnet[8] == "–"


def test_the_owners_table_is_long(report):
    table = pd.read_csv(report.output / "tables" / "digits__owners.csv")
    assert list(table.columns) == ["label", "row", "seed", "task", "layer", "owner", "weights"]
    assert table.groupby("label")["seed"].nunique().to_dict() == {NASTY: 2, "packnet": 1}
    packed = table[(table["label"] == "packnet") & (table["task"] == 2)]
    assert packed["weights"].sum() == sum(rows * rest for rows, rest in SMALL)
    assert set(packed["owner"]) == {"free", "0", "1", "2"}


def test_a_task_that_owns_nothing_says_so(tmp_path):
    board = judged_board_of(tmp_path, cmat_run(fake=cmat(ratio=[0.0, 0.0, 0.0])))
    assert decisions_table(board)["owned %"].tolist() == ["100.0", "0.0 exhausted", "0.0 exhausted"]
    assert capacity_table(board)["exhausted"].tolist() == ["", *["no free weight was left"] * 2]


def test_what_was_found_changed_stands_in_the_table_of_a_row_below_the_line(tmp_path):
    facts = [*capacity_facts(GROWING), *proof_facts(3, different=[(1, "classifier"), (1, "logits")])]
    board = judged_board_of(tmp_path, FakeRun("cmat", facts=facts, claims=CLAIMS))
    assert not board.ranked
    assert decisions_table(board)["never changed since"][1] == "no: other classifier, logits"


def test_rows_that_are_set_aside_are_not_in_the_table_for_reading(tmp_path):
    old = cmat_run(settings={"a": 1}, demanded_at="2025-01-01T00:00:00+00:00")
    board = judged_board_of(tmp_path, old, cmat_run(fake=cmat()))
    assert len(decisions_table(board)) == 3
    assert len(capacity_table(board)) == 6


# -- what a reader gets -----------------------------------------------------------------------------------------------


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_boards_without_such_facts_have_neither_tables_nor_figures(tmp_path):
    write_run(tmp_path / "runs", FakeRun())
    report = quick_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert not [name for name in names(report.output) if re.search("capacity|owners|structure|growth", name)]
    for name in ("index.html", "leaderboard.md"):
        assert "Capacity" not in (report.output / name).read_text(encoding="utf-8")


def test_boards_with_such_facts_have_all_of_them(report):
    found = names(report.output)
    for figure in ("owners", "structure", "growth"):
        assert {f"figures/digits__{figure}.{suffix}" for suffix in ("png", "svg", "pdf")} <= found
    page = report.page.read_text(encoding="utf-8")
    assert page.count(">Capacity and decisions</h") == 1
    assert "Owners of the weights of each layer" in page


def test_the_same_facts_give_the_same_bytes(report, stored, tmp_path):
    again = write_report(load(stored, None), tmp_path)
    for name in names(report.output):
        if re.search("capacity|owners|structure|growth|leaderboard", name):
            assert (report.output / name).read_bytes() == (again.output / name).read_bytes(), name


def test_labels_are_no_markup(report):
    page = report.page.read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "<i>" not in page
    text = (report.output / "leaderboard.md").read_text(encoding="utf-8")
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert "<b>" not in rendered
    decided = rendered[rendered.index("Capacity and decisions") :]
    assert decided.count("&lt;b&gt;2/255&lt;/b&gt; | 5%_x &amp; [bold]$a$[/]") == 3
    assert decided.count("2 pair_2 &lt;i&gt;or&lt;/i&gt; *two* | $b$") == 2
    lengths = {len(re.findall("<t[hd][ >]", row)) for row in re.findall("<tr>.*?</tr>", decided, re.S)}
    assert lengths == {11}
