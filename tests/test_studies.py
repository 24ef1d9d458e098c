"""Recorded studies: run by run into a file, read by name, summed up, compared."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import StudentT

from helpers.data import render_deck
from helpers.evaluation import compare_arms, read_study, studies, summarise_study
from helpers.evaluation.studies import student_quantile
from helpers.recipes import studies as arms_of_studies
from helpers.recipes.studies import STUDIES, main
from helpers.recipes.study import Study, run_study
from helpers.training import evaluate


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 29])
@pytest.mark.parametrize("share", [0.8, 0.975])
def test_the_quantile_is_that_of_the_density(share, degrees):
    t = student_quantile(share, degrees)
    grid = torch.linspace(0, t, 20001, dtype=torch.float64)
    density = StudentT(torch.tensor(float(degrees), dtype=torch.float64)).log_prob(grid).exp()
    assert 0.5 + torch.trapezoid(density, grid).item() == pytest.approx(share, abs=1e-6)


def study_of(values: np.ndarray, arm: str) -> pd.DataFrame:
    options = {"purpose": "report", "setting": "", "arm": arm, "rate": 0.1}
    return pd.DataFrame({"seed": range(len(values)), "accuracy": values, **options})


def test_an_interval_holds_the_truth_19_times_in_20_and_finds_what_it_says():
    generator = np.random.default_rng(0)
    rounds, held, found = 400, 0, 0
    for _ in range(rounds):
        one, other = generator.normal([[0.5], [0.3]], 0.05, (2, 5))
        frame = pd.concat([study_of(one, "A"), study_of(other, "B")])
        result = compare_arms(frame, "A", "B")
        held += result["low"] <= 0.2 <= result["high"]
        row = summarise_study(frame).loc["", "A"]
        assert row["accuracy"] == pytest.approx(one.mean())
        assert row["low"] < row["accuracy"] < row["high"]
        found += result["detectable"] / rounds
    assert held / rounds == pytest.approx(0.95, abs=0.03)
    true = (2.776 + 0.941) * 0.05 * 2**0.5 / 5**0.5
    assert found == pytest.approx(true * 0.94, rel=0.05)  # The deviation of 5 is 6% too small.


def test_what_only_chose_a_rate_does_not_count():
    frame = study_of(np.array([0.4, 0.6]), "A")
    chosen = frame.assign(purpose="rate", accuracy=0.99, seed=[100, 101])
    summary = summarise_study(pd.concat([frame, chosen]))
    assert summary.loc[("", "A"), "accuracy"] == 0.5
    assert summary.loc[("", "A"), "seeds"] == 2
    one = summarise_study(frame[:1]).loc["", "A"]
    assert one["low":"high"].isna().all()
    with pytest.raises(ValueError, match="share 0 seeds"):
        compare_arms(frame, "A", "B")


class Counting:
    """A training that says how often it was made, and can fail."""

    def __init__(self, fail_at: int = -1) -> None:
        self.asked, self.fail_at = [], fail_at

    def __call__(self, seed: int, rate: float, best: float) -> tuple:
        if len(self.asked) == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append((seed, rate))
        right = torch.arange(20) < 20 - 100 * abs(rate - best)
        batches = [(torch.eye(2)[right.long()], torch.ones(20, dtype=torch.long))]
        return torch.nn.Identity(), SimpleNamespace(valid=batches, test=batches)


def make_study(train: Counting) -> Study:
    arms = {("short", "A"): {"best": 0.1, "rates": [0.05, 0.1, 0.2]}}
    arms |= {("short", "B"): {"best": 0.3, "rates": [0.1, 0.2]}}
    return Study("try", "Which?", train, arms | {("1,600 steps", "A"): {"best": 0.0, "seeds": 1}})


def test_a_study_broken_off_goes_on(tmp_path):
    for fail_at in (2, 7):
        with pytest.raises(KeyboardInterrupt):
            run_study(make_study(Counting(fail_at)), tmp_path)
    counting = Counting()
    frame = run_study(make_study(counting), tmp_path)
    assert len(counting.asked) == len(frame) - 9
    assert run_study(make_study(again := Counting()), tmp_path).equals(frame)
    assert again.asked == []

    fresh = run_study(make_study(Counting()), tmp_path / "fresh").drop(columns="seconds")
    pd.testing.assert_frame_equal(frame.drop(columns="seconds"), fresh)
    assert frame.attrs["question"] == "Which?"
    assert frame.attrs["command"] == "make studies NAME=try"
    assert set(frame.attrs) == {"question", "command", "versions", "machine"}


def test_rates_are_chosen_with_seeds_that_are_not_reported(tmp_path):
    frame = run_study(make_study(Counting()), tmp_path)
    rates, report = (frame[frame["purpose"] == purpose] for purpose in ("rate", "report"))
    assert set(rates["seed"]).isdisjoint(report["seed"])
    assert set(rates["count"]) == {20}  # Valid alone,
    assert set(report["count"]) == {40}  # and valid and test.
    best = report.groupby(["setting", "arm"])["rate"].unique().map(list).to_dict()
    # The best of B lay at the end of its rates, so further ones were tried: 0.4, and 0.8.
    assert best == {("short", "A"): [0.1], ("short", "B"): [0.2], ("1,600 steps", "A"): [0.0]}
    assert rates[rates["arm"] == "B"]["rate"].tolist() == [0.1, 0.2, 0.4]


@pytest.fixture(scope="module")
def small_deck(tmp_path_factory):
    return render_deck(tmp_path_factory.mktemp("decks") / "deck", train=2, valid=1, test=1, size=32)


@pytest.mark.filterwarnings("ignore:class .* never met")
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_its_arms_train(study, small_deck, monkeypatch):
    some_of = arms_of_studies.some_of
    monkeypatch.setattr(arms_of_studies, "some_of", lambda loader, n, steps: some_of(loader, n, 2))
    for name in ("draw_deck", "find_cards"):
        monkeypatch.setattr(arms_of_studies, name, lambda: small_deck)
    monkeypatch.setattr(arms_of_studies, "drawn_deck", lambda pictures: small_deck)
    deck = arms_of_studies.deck
    monkeypatch.setattr(arms_of_studies, "deck", lambda *args, size=32, **options: deck(
        *args, size=min(size, 64), **options
    ))  # fmt: skip
    plans = [*study.arms.values()]
    for plan in [*plans[:3], plans[-1]]:
        settings = {key: value for key, value in plan.items() if key not in ("rates", "seeds")}
        model, loaders = study.train(seed=0, rate=plan.get("rates", [0.0])[0], **settings)
        assert evaluate(model, [*loaders.valid, *loaders.test])["count"] == 106


def test_two_heads_name_a_card_as_likely_as_its_rank_times_its_suit():
    model = arms_of_studies.TwoHeads(torch.nn.Identity())
    outputs = torch.randn(3, 19)
    ranks, suits = (part.softmax(1) for part in model(outputs))
    eight, hearts = arms_of_studies.RANKS.index("eight"), arms_of_studies.SUITS.index("hearts")
    card = arms_of_studies.CLASSES.index("eight of hearts")
    logits = model.eval()(outputs)
    torch.testing.assert_close(logits[:, card].exp(), ranks[:, eight] * suits[:, hearts])


def test_a_study_of_photographs_is_left_out_without_any(monkeypatch, capsys):
    monkeypatch.delenv("CARDS_DIR", raising=False)
    monkeypatch.setattr(arms_of_studies, "run_study", pytest.fail)
    main(["drawings"])
    assert "CARDS_DIR" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no study 'optimisers'"):
        main(["optimisers"])


def test_what_is_recorded_is_what_the_studies_are():
    recorded = {path.stem for path in studies.results_folder().glob("*.csv")}
    for study in (study for study in STUDIES if study.name in recorded):
        frame = read_study(study.name)
        assert frame.attrs["question"] == study.question
        report = frame[frame["purpose"] == "report"]
        assert set(report["seed"]) <= set(range(5))
        assert not report.duplicated(["setting", "arm", "seed"]).any()
        counts = report.groupby(["setting", "arm"]).size().to_dict()
        assert counts == {arm: plan.get("seeds", 5) for arm, plan in study.arms.items()}
    with pytest.raises(FileNotFoundError, match="no study 'guesses'"):
        read_study("guesses")
