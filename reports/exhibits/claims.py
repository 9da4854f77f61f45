"""The thesis' claims, asked of a board's own rows: each is a difference between two things that were measured alike.

A published difference is between two numbers of one protocol, ours between two of another. So a claim may hold here or not, and
its size in print is no yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan
from weakref import WeakKeyDictionary

import pandas as pd

from reports.boards.board import Row
from reports.boards.sweeps import strongest
from reports.exhibits.exhibits import Exhibits
from reports.numbers.attack_facts import AttackFacts
from reports.numbers.metrics import WORST
from reports.numbers.statistics.comparisons import Comparison, compare, later_against_first
from reports.numbers.statistics.intervals import LEVEL
from reports.numbers.wording import in_eps
from reports.tables.words import NOT_AVAILABLE, percent, points, short_name

CONFIRMED, REFUTED, UNDECIDED, ONE_SEED, NOT_RANKED, NOT_RUN = (
    "confirmed",
    "refuted",
    "undecided",
    "undecided: one seed",
    "not ranked",
    "not run",
)
"""The answers of a board to a claim."""
BETTER = (
    ("cmat", "packnet"),
    ("cmat", "anp_vs"),
    ("cmat", "madry_at"),
    ("packnet", "anp_vs"),
    ("packnet", "madry_at"),
)
"""Methods of which the thesis says that the first is the more robust one."""
OWN = ("cmat", "packnet")
"""The methods whose bars and sequences the thesis shows."""
REFERENCE = "single_task_at"
_KNOWN: WeakKeyDictionary[Exhibits, list[Answer]] = WeakKeyDictionary()
"""The answers that were found, as long as their board is there: tables, the page and a picture ask for the same ones."""


@dataclass(frozen=True)
class Answer:
    """The answer of a board to one claim.

    claim: in words; a positive difference speaks for it.
    under: the attack, or the two that are compared.
    published: the difference in print, of accuracies in [0, 1]; NaN if there is none, or if the data are not the thesis'.
    found: None if a row or an attack that it needs was not run, or if a row is not ranked.
    training: image gradients that the first method took in training, over those of the second; NaN if there is one method, or if
        they are unknown.
    ranked: False if a row that it needs is there and not ranked: its numbers are no evidence.
    """

    claim: str
    under: str
    published: float
    found: Comparison | None
    training: float = nan
    ranked: bool = True

    @property
    def is_measured(self) -> bool:
        """True if there is a difference to show."""
        return self.found is not None and isfinite(self.found.difference)

    @property
    def verdict(self) -> str:
        """One seed decides nothing, because another seed is another network."""
        if self.found is None or not self.is_measured:
            return NOT_RUN if self.ranked else NOT_RANKED
        if self.found.seeds < 2:
            return ONE_SEED
        if not self.found.p < 1 - LEVEL:
            return UNDECIDED
        return CONFIRMED if self.found.difference > 0 else REFUTED


def answers(exhibits: Exhibits) -> list[Answer]:
    """The answers of a board to every claim; none if it is class-incremental, or has no ranked row of CMAT or PackNet.

    Rows are compared under `worst` and under the attack of the matrix, any-iterate, on common seeds and images. Only on the
    thesis' own data there are answers that something was not run or not ranked.
    """
    if not exhibits.asks_within_tasks or not any(_ranked(exhibits, method) for method in OWN):
        return []
    if exhibits not in _KNOWN:
        found = [*_better(exhibits), *_harder(exhibits), *_later(exhibits)]
        _KNOWN[exhibits] = [answer for answer in found if answer.is_measured or exhibits.is_of_thesis_data]
    return _KNOWN[exhibits]


def _ranked(exhibits: Exhibits, method: str) -> Row | None:
    row = exhibits.row_of(method)
    return row if row is not None and row.is_ranked else None


def _attacks(exhibits: Exhibits) -> list[str]:
    """`worst`, and the outcome of the matrix' attack."""
    usual = exhibits.board.attacks.get(exhibits.board.robust_matrix or "")
    return [WORST, *([strongest(usual, exhibits.board.outcomes)] if usual else [])]


def _better(exhibits: Exhibits) -> Iterator[Answer]:
    printed = dict(zip(exhibits.published.methods["method"], exhibits.published.methods["accuracy"], strict=True))
    for better, worse in BETTER:
        first, second = _ranked(exhibits, better), _ranked(exhibits, worse)
        published = printed[better] - printed[worse] if exhibits.is_of_thesis_data else nan
        for attack in _attacks(exhibits):
            found = compare(first.outcomes_under(attack), second.outcomes_under(attack)) if first and second else None
            under = short_name(attack, exhibits.board)
            training = _training(first, second)
            yield Answer(
                f"{better} is above {worse}", under, published, found, training, _all_ranked(exhibits, better, worse)
            )


def _all_ranked(exhibits: Exhibits, *methods: str) -> bool:
    """False if the row of one of the methods is there and not ranked."""
    rows = [exhibits.row_of(method) for method in methods]
    return all(row.is_ranked for row in rows if row is not None)


def _training(first: Row | None, second: Row | None) -> float:
    """The image gradients that a method took in training, over those of another one. No machine and no load changes them."""
    if first is None or second is None:
        return nan
    taken = [row.measures.value("train_gradient_evaluations") for row in (first, second)]
    return taken[0] / taken[1] if taken[1] > 0 else nan


def _harder(exhibits: Exhibits) -> Iterator[Answer]:
    """Accuracy falls with the number of PGD steps, and with their size."""
    board = exhibits.board
    usual = board.attacks.get(board.robust_matrix or "")
    if usual is None or usual.eps is None:
        return
    by_steps = exhibits.swept.get(usual.eps, {})
    alike = [
        attack for attack in board.attacks.values() if attack.apart_from("step_size") == usual.apart_from("step_size")
    ]
    by_size = {attack.step_in_eps: attack for attack in alike if attack.step_in_eps}
    bars = exhibits.published.pgd_steps
    for method in OWN:
        if len(by_steps) > 1:
            few, many = min(by_steps), max(by_steps)
            here = bars[(bars["method"] == method) & (bars["epsilon"] == usual.eps)].set_index("pgd_steps")["accuracy"]
            in_print = exhibits.is_of_thesis_data and {few, many} <= set(here.index)
            published = float(here[few] - here[many]) if in_print else nan
            claim = f"more steps cost {method} accuracy"
            yield _lost(exhibits, method, claim, (by_steps[few], by_steps[many]), published)
        if len(by_size) > 1:
            claim = f"larger steps cost {method} accuracy"
            yield _lost(exhibits, method, claim, (by_size[min(by_size)], by_size[max(by_size)]), nan)


def _lost(
    exhibits: Exhibits, method: str, claim: str, pair: tuple[AttackFacts, AttackFacts], published: float
) -> Answer:
    """The accuracy under the first attack less that under the second, on the images that both cover."""
    row = _ranked(exhibits, method)
    first, second = (strongest(attack, exhibits.board.outcomes) for attack in pair)
    found = compare(row.outcomes_under(first), row.outcomes_under(second)) if row else None
    weak, strong = pair
    if weak.steps != strong.steps:
        under = f"{weak.kind}-{weak.steps} to -{strong.steps} a={in_eps(weak.step_in_eps)}"
    else:
        under = f"{weak.kind}-{weak.steps} a={in_eps(weak.step_in_eps)} to {in_eps(strong.step_in_eps)}"
    return Answer(claim, under, published, found, ranked=_all_ranked(exhibits, method))


def _later(exhibits: Exhibits) -> Iterator[Answer]:
    """Later tasks are learned better than the first: as they are, and beyond what one network per task has on them."""
    if exhibits.board.tasks < 2:
        return
    reference = _ranked(exhibits, REFERENCE)
    for method in OWN:
        row = _ranked(exhibits, method)
        for attack in _attacks(exhibits)[1:]:
            under = short_name(attack, exhibits.board)
            mine = row.outcomes_under(attack) if row else None
            yield Answer(
                f"{method}: later tasks are above the first",
                under,
                nan,
                later_against_first(mine) if mine else None,
                ranked=_all_ranked(exhibits, method),
            )
            yield Answer(
                f"{method}: later tasks gain more over {REFERENCE}",
                under,
                nan,
                later_against_first(mine, reference.outcomes_under(attack)) if mine and reference else None,
                ranked=_all_ranked(exhibits, method, REFERENCE),
            )


# -- tables -----------------------------------------------------------------------------------------------------------


def claims_table(exhibits: Exhibits) -> pd.DataFrame:
    """A line per claim and attack: the published difference, ours with its interval, and what that says; NaN for missing numbers.

    seeds, samples: numbers of common seeds, and of common images of one seed.
    training: image gradients that the first method took in training, over those of the second.
    """
    records = []
    for answer in answers(exhibits):
        record = {"claim": answer.claim, "under": answer.under, "published": answer.published}
        found = answer.found
        numbers = (nan,) * 4 if found is None else (found.difference, found.low, found.high, found.p)
        record |= dict(zip(("difference", "low", "high", "p"), numbers, strict=True))
        record |= {"seeds": found.seeds if found else 0, "samples": found.samples if found else 0}
        record |= {"training": answer.training}
        records.append({**record, "test": found.test if found else "", "answer": answer.verdict})
    return pd.DataFrame(records)


def claims_table_for_reading(exhibits: Exhibits) -> pd.DataFrame:
    """The claims as text, differences in points; without the published column if the data are not those of the thesis."""
    records = []
    for line in claims_table(exhibits).to_dict("records"):
        record = {"claim": line["claim"], "under": line["under"], "published": points(line["published"])}
        known = line["difference"] == line["difference"]
        bounds = f" [{percent(line['low'])}, {percent(line['high'])}]" if known else ""
        record |= {"ours": points(line["difference"]) + bounds, "p": f"{line['p']:.2g}" if known else NOT_AVAILABLE}
        record |= {"seeds": str(line["seeds"]), "images": f"{line['samples']:,}"}
        training = f"{line['training']:.1f}x" if isfinite(line["training"]) else ""
        records.append({**record, "training": training, "answer": line["answer"]})
    found = pd.DataFrame(records)
    return found if exhibits.is_of_thesis_data or found.empty else found.drop(columns="published")


def claims_caption(exhibits: Exhibits) -> str:
    """The words over the claims."""
    text = (
        "Differences of accuracies in points with 95 % intervals, paired by seed and image, after the last task. A claim is "
        "confirmed or refuted if p is below .05, and undecided otherwise, or if there is one seed: another seed is another "
        "network. With two seeds p is too small. Claims are asked one by one, and no p is corrected for their number. "
        f"What a row gains over {REFERENCE}, one network per task, on later tasks and on the first is compared because the first "
        "task may be a hard one for everybody. Training: the image gradients that the first method took in training, over those "
        "of the second; those of rows from which a method has its goals or its start are not counted."
    )
    if exhibits.is_of_thesis_data:
        text += (
            " Published: the difference of two numbers in print, which stand under other protocols than ours, and partly under "
            "two of their own. It is what was claimed, and no size that ours should have."
        )
    return text
