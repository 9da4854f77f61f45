"""From stored runs to boards: one per preset, ranked rows above the line, all others below it with their reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from reports.boards.board import CONTROL, FAILED, INCOMPLETE, OTHER_PROTOCOL, SET_ASIDE, SUPERSEDED, Board, Row, Seed
from reports.boards.left_out import UnusableError, leave_out, of_sound_ones
from reports.boards.measures import measures_of
from reports.checks.verdicts import FAIL, WARN, Check, judge, overall
from reports.numbers.attack_facts import AttackFacts, attack_facts
from reports.numbers.completeness import describe_failure, missing_cells, progress, standing_failures
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import WORST, add_worst
from reports.numbers.outcomes import Outcomes, outcomes_of
from reports.numbers.protocol import Protocol
from reports.numbers.statistics.comparisons import Comparison, compare_all, ranks
from reports.numbers.submissions import submissions, with_unchanged_images
from results import Results, Run
from results.file_names import file_names


def judged(results: Results, preset: str) -> list[Seed]:
    """Judge the runs that are rows of one preset, with the evidence as the checks see it. Runs of other presets are not read.

    A run that cannot be read or judged is left out; its `problems` say why.
    """
    read = [each for run in results.runs for each in _rows_of(run, preset).values()]

    def seeds(evidences: Sequence[Evidence]) -> list[Seed]:
        return [Seed(evidence, judge(evidence)) for evidence in with_controls(evidences)]

    return of_sound_ones(read, seeds, lambda evidence, error: leave_out(evidence.run, preset, error)) or []


def build_boards(results: Results, checks: Sequence[Check] | None = None) -> list[Board]:
    """Build one board per preset that any run is a row of, in the order of their names.

    checks: None for all. Tables of a run are read once and let go. A run of which no row can be made is left out, and its
    `problems` say why; the others are as if it were not there.
    """
    gathered: dict[str, list[Evidence]] = defaultdict(list)
    for run in sorted(results.runs, key=lambda run: (run.label, run.row, str(run.seed).zfill(20), run.hash)):
        for preset, evidence in _rows_of(run).items():
            gathered[preset].append(evidence)
    stems = file_names(gathered)

    def board(preset: str) -> Board | None:
        return of_sound_ones(
            gathered[preset],
            lambda evidences: _board(preset, stems[preset], evidences, checks),
            lambda evidence, error: leave_out(evidence.run, preset, error),
        )

    return [found for preset in sorted(gathered) if (found := board(preset)) is not None]


def _rows_of(run: Run, only: str | None = None) -> dict[str, Evidence]:
    """The evidence on a run under each preset that it is a row of, or under `only`, without those that cannot be read."""
    found: dict[str, Evidence] = {}
    try:
        presets = [name for name in run.protocols if only in (None, name)]
    except Exception as error:
        leave_out(run, only or "all", error)
        return found

    def rows(names: Sequence[str]) -> dict[str, Evidence]:
        protocols = {name: Protocol(run.protocols[name]) for name in names}
        return _read(run, {name: protocol for name, protocol in protocols.items() if protocol.is_row})

    return of_sound_ones(presets, rows, lambda preset, error: leave_out(run, preset, error)) or found


def _read(run: Run, protocols: dict[str, Protocol]) -> dict[str, Evidence]:
    """Read the run's evidence under each protocol. `worst` is derived from the attacks that the protocol demands."""
    if not protocols:
        return {}
    tasks, evaluations, facts = run.tasks, run.evaluations, run.facts
    known = attack_facts(evaluations)
    held = evaluations.groupby("attack")["attack_version"].max()
    everything: dict[int, Outcomes] = {}
    found = {}
    for preset, protocol in protocols.items():
        if protocol.eps is None and protocol.eps_text:
            raise UnusableError(f"eps = {protocol.eps_text[:40]}: no number that anything can be measured at")
        count = protocol.tasks or len(tasks) or 1
        if count not in everything:
            everything[count] = outcomes_of(run.predictions, count)
        # Numbers of an older version than the preset demands are of another attack.
        older = {name for name, version in protocol.versions.items() if held.get(name, version) < version}
        demanded = {name: facts_ for name, facts_ in known.items() if name in protocol.attacks and name not in older}
        submitted = submissions(known, {facts_.threat for facts_ in demanded.values()})
        demanded |= submitted
        extra = {name: facts_ for name, facts_ in known.items() if name in protocol.checks and name not in demanded}
        names = [name for attack in [*demanded.values(), *extra.values()] for name in (attack.name, attack.any)]
        outcomes = everything[count].only([name for name in (*protocol.attacks, *names) if name not in older])
        outcomes = with_unchanged_images(outcomes, submitted)
        evidence = Evidence(run, protocol, outcomes, tasks, evaluations, facts, demanded, extra)
        found[preset] = replace(evidence, outcomes=_with_worst(evidence))
    # Outcomes hold the same as predictions, in a fraction of the memory.
    run.__dict__.pop("predictions", None)
    return found


def _with_worst(evidence: Evidence) -> Outcomes:
    """Add `worst` to the outcomes, at the ranking's norm and eps and at every other one that has attacks.

    If a demanded attack is missing after the last task it is not added, because it would be another number.
    """
    outcomes = evidence.outcomes
    if any(i == outcomes.last for _, i, _ in missing_cells(evidence)):
        return outcomes
    for name, attacks in evidence.in_worst().items():
        outcomes = add_worst(outcomes, attacks, name)
    return outcomes


def _board(preset: str, stem: str, evidences: Sequence[Evidence], checks: Sequence[Check] | None) -> Board:
    """Judge and rank the rows of one preset."""
    grouped: dict[tuple[str, str], list[Seed]] = defaultdict(list)
    for evidence in with_controls(evidences):
        grouped[evidence.label, evidence.run.row].append(Seed(evidence.without_checks(), judge(evidence, checks)))
    rows = [_row(label, identity, seeds) for (label, identity), seeds in sorted(grouped.items())]
    _set_superseded_aside(rows)
    _set_other_protocols_aside(rows)
    _warn_of_unequal_attacks(rows)
    references = [row for row in rows if row.verdict not in SET_ASIDE]
    for row in rows:
        row.measures = measures_of(
            row.used_seeds, _reference("joint_at", references), _reference("single_task_at", references)
        )
    comparisons = _rank(rows)
    # A rank counts rows that are significantly better. With few seeds a row of a low accuracy may share a higher one's rank.
    rows.sort(key=lambda row: (row.rank is None, -row.acc if row.acc == row.acc else 0.0, row.label))
    return _describe(preset, stem, rows, comparisons)


def with_controls(evidences: Sequence[Evidence]) -> Iterator[Evidence]:
    """Give each run's evidence its control: the undefended network per task of the same seed and threat, if one was run.

    They come one at a time, because the traces that checks read of an evidence are large and go with it.
    """
    controls: dict[tuple[int, str, int, str], Evidence] = {}
    for evidence in sorted(evidences, key=lambda each: each.protocol.demanded_at):
        if evidence.run.method == CONTROL and not evidence.run.identity.get("settings"):
            controls[_comparable(evidence)] = evidence
    for evidence in evidences:
        control = controls.get(_comparable(evidence))
        is_itself = control is not None and control.run.hash == evidence.run.hash
        yield replace(evidence, control=None if is_itself else control)


def _comparable(evidence: Evidence) -> tuple[int, str, int, str]:
    """The key that a run shares with its control: seed, threat, number of tasks, question at test."""
    return evidence.run.seed, str(evidence.ranking), evidence.outcomes.tasks, evidence.run.stream_protocol


def _row(label: str, identity: str, seeds: list[Seed]) -> Row:
    """Make a row with the verdict of its worst seed: failed, else incomplete, else a failed check, else warn or pass."""
    row = Row(label, seeds[0].run.method, identity, any(seed.run.published for seed in seeds), seeds, "")

    def name(seed: Seed) -> str:
        return f"seed {seed.run.seed}: " if len(seeds) > 1 else ""

    for seed in seeds:
        failed = standing_failures(seed.evidence)
        if failed:
            row.verdict, row.reason = FAILED, f"failed: {name(seed)}{describe_failure(failed[-1])}"
            return row
    for seed in seeds:
        if not seed.is_complete:
            row.verdict, row.reason = INCOMPLETE, f"incomplete: {name(seed)}{progress(seed.evidence)}"
            return row
    row.verdict = overall([verdict for seed in seeds for verdict in seed.verdicts])
    noted = [(seed, verdict) for seed in seeds for verdict in seed.verdicts if verdict.status == row.verdict]
    if row.verdict in (FAIL, WARN):
        first: dict[str, str] = {}
        for seed, verdict in noted:
            first.setdefault(verdict.check, f"{verdict.check}: {name(seed)}{verdict.reason}")
        row.reason = "; ".join(first.values())
    return row


def _demanded_at(row: Row) -> tuple[str, str]:
    return row.protocol.demanded_at, row.identity


def _set_superseded_aside(rows: list[Row]) -> None:
    """Set aside the rows of a label that was demanded again under another identity: the one demanded last is current.

    A published row stays beside one of other data: whoever runs the preset on another copy of the images repeats nothing of it.
    """
    for row in rows:
        rivals = [
            each
            for each in rows
            if each.label == row.label and not (row.published and _threat(each)[2] != _threat(row)[2])
        ]
        newer = max(rivals, key=_demanded_at)
        if newer is not row:
            row.verdict = SUPERSEDED
            row.reason = f"superseded: {newer.label} was demanded again with other settings ({newer.short_identity})"


def _set_other_protocols_aside(rows: list[Row]) -> None:
    """Set aside the rows of another eps or other data. The protocol of most rows is the board's; of equally many, the latest."""
    candidates = [row for row in rows if row.verdict != SUPERSEDED]
    if not candidates:
        return
    count = Counter(_threat(row) for row in candidates)
    latest = {_threat(row): row.protocol.demanded_at for row in sorted(candidates, key=_demanded_at)}
    usual = max(count, key=lambda threat: (count[threat], latest[threat]))
    for row in candidates:
        if _threat(row) != usual:
            row.verdict = OTHER_PROTOCOL
            row.reason = (
                f"other protocol: eps {_threat(row)[0]} on {_threat(row)[1]} tasks, the board has eps {usual[0]} on "
                f"{usual[1]} tasks" + ("" if _threat(row)[:2] != usual[:2] else _difference(row, usual))
            )


def _difference(row: Row, usual: tuple[str, int, str]) -> str:
    """The words for a row of the usual eps and number of tasks."""
    one, other = _threat(row)[2].partition(" ")[0], usual[2].partition(" ")[0]
    return " of other data" if one != other else ", and asks the other question: is the task told at test or not"


def _threat(row: Row) -> tuple[str, int, str]:
    """The eps, the number of tasks and the data: its fingerprint, and the question at test if that is not about one task."""
    scenario = row.seeds[0].run.identity.get("scenario") or {}
    fingerprint = str(scenario.get("fingerprint", "")) if isinstance(scenario, dict) else str(scenario)
    asked = row.seeds[0].run.stream_protocol
    data = fingerprint if asked == "task" else f"{fingerprint} {asked}"
    return str(row.protocol.eps), row.seeds[0].evidence.outcomes.tasks, data


def _warn_of_unequal_attacks(rows: list[Row]) -> None:
    """Warn of rows that lack attacks of others: `worst` over fewer attacks is an easier number.

    An extra attack is missed only if it broke, in a row that failed no check, something that no demanded attack broke.
    """
    candidates = [row for row in rows if row.verdict not in (*SET_ASIDE, FAILED, INCOMPLETE)]
    sets = {id(row): {a.name for seed in row.seeds for a in seed.evidence.at_ranking_eps()} for row in candidates}
    evidences = [seed.evidence for row in candidates if row.verdict != FAIL for seed in row.seeds]
    found_more = {name for evidence in evidences for name, count in evidence.found.items() if count}
    everything = set().union(found_more, *sets.values())
    for row in candidates:
        extra = set.intersection(*(set(seed.evidence.found) for seed in row.seeds))
        lacking = sorted(everything - sets[id(row)] - extra)
        if lacking and row.verdict != FAIL:
            row.verdict = WARN
            row.reason = "; ".join(filter(None, [row.reason, f"worst is without {', '.join(lacking)}"]))


def _reference(method: str, rows: list[Row]) -> dict[int, Evidence]:
    """The runs of the row of `method`, by seed. Of several rows the one labelled as the method, else the first by label."""
    found = [row for row in rows if row.method == method and row.verdict not in (FAILED, INCOMPLETE)]
    if not found:
        return {}
    row = min(found, key=lambda row: (row.label != method, row.label))
    return {seed.run.seed: seed.evidence for seed in row.seeds}


def _rank(rows: list[Row]) -> list[Comparison]:
    """Rank the rows that have a `worst` and no failed check. Returns the comparisons between them."""
    unranked = (FAIL, FAILED, INCOMPLETE, *SET_ASIDE)
    ranked = [row for row in rows if row.verdict not in unranked]
    for row in ranked:
        if row.acc != row.acc:
            row.verdict, row.reason = INCOMPLETE, "incomplete: no sample of some task is covered by every attack"
    ranked = sorted((row for row in ranked if row.verdict not in unranked), key=lambda row: (-row.acc, row.label))
    comparisons = compare_all([row.outcomes_under(WORST) for row in ranked])
    by_label = ranks([row.label for row in ranked], comparisons)
    for row in ranked:
        row.rank = by_label[row.label]
    return comparisons


def _describe(preset: str, stem: str, rows: list[Row], comparisons: list[Comparison]) -> Board:
    """Make the board of judged rows. Its data and its eps are those of the first ranked row."""
    usual = next((row for row in rows if row.is_ranked), rows[0])
    protocols = [row.protocol for row in rows if row.is_ranked] or [usual.protocol]
    attacks: dict[str, AttackFacts] = {}
    for row in rows:
        for seed in row.seeds:
            attacks |= seed.evidence.attacks
    tasks = usual.seeds[0].evidence.tasks
    known = tasks.dropna(subset="chance").sort_values("task") if len(tasks) else tasks
    return Board(
        preset,
        stem,
        usual.protocol.eps,
        usual.seeds[0].evidence.outcomes.tasks,
        list(dict.fromkeys(attack for protocol in protocols for attack in protocol.matrix)),
        list(dict.fromkeys(attack for protocol in protocols for attack in protocol.final)),
        dict(sorted(attacks.items())),
        known["chance"].tolist() if len(known) else [],
        [len(classes) for classes in known["classes"]] if len(known) else [],
        [str(name) for name in tasks.sort_values("task")["name"]] if isinstance(tasks, pd.DataFrame) else [],
        rows,
        comparisons,
    )
