"""Every scheduler and sampler in a few lines, for ``slurmtune explain NAME``."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import get_args

from slurmtune.spec.available import SAMPLERS
from slurmtune.spec.field import Sampler, Scheduler

_WIDTH = 80
_LABEL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A scheduler or a sampler, as told to people."""

    title: str
    does: str
    when: str
    cost: str
    options: str
    source: str


SCHEDULERS: dict[str, Method] = {
    "none": Method(
        title="every trial is trained in full",
        does=(
            "Nobody is stopped and nobody is compared: each trial runs once, up to fidelity.max "
            "if there is a [fidelity], else until its program ends."
        ),
        when=(
            "Trials are short, or there are few; early results say nothing about final ones; or "
            "every result is needed, as for a grid that goes into a paper."
        ),
        cost="search.trials times a full training. No checkpoints are needed.",
        options="None. It is what holds when search.scheduler is left out.",
        source="Random search with it: Bergstra and Bengio, JMLR 2012.",
    ),
    "asha": Method(
        title="asynchronous successive halving",
        does=(
            "Trials train to the first rung and pause. Whoever is among the best 1/eta of a rung "
            "so far is promoted to the next one, from its checkpoint; nobody waits for others. "
            "A free slot takes the promotion from the highest rung, else a new trial. With "
            'variant = "stopping" trials run on and are stopped at a rung instead.'
        ),
        when=(
            "The first choice: many trials, many slots, early results that tell something. It "
            "keeps all slots busy and forgives slow nodes and failures."
        ),
        cost=(
            "About trials * min for the first rung and as much again for each rung above it. "
            "Promotes a few more than sha does, since it decides early. The slots of the "
            "stopping variant ask for what the last rung needs."
        ),
        options=(
            "fidelity.min, max, eta or rungs; variant; brackets > 1 makes it async_hyperband; "
            "guard leaves out a rung that tells nothing; hedge."
        ),
        source='Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.',
    ),
    "sha": Method(
        title="successive halving, rung by rung",
        does=(
            "All trials train to the first rung; when the last of them has finished, the best "
            "1/eta go on to the next, and so forth. Of n trials, n // eta^k reach rung k."
        ),
        when=(
            "The number of trials is fixed and small, and decisions should rest on complete "
            "rungs. The slowest trial of a rung holds up the others: with many slots, use asha."
        ),
        cost=(
            "Exactly what `check` shows. search.trials must be at least eta^(rungs - 1), so that "
            "one reaches the last rung; a later launch cannot change it."
        ),
        options="fidelity.min, max, eta or rungs; hedge.",
        source="Jamieson and Talwalkar, AISTATS 2016.",
    ),
    "hyperband": Method(
        title="several brackets of successive halving",
        does=(
            "The first bracket starts many trials at the lowest rung, the next ones fewer trials "
            "at higher rungs, the last a few at full length. A bracket takes trials as soon as "
            "those before it have theirs, so that slots do not wait; it is complete for itself."
        ),
        when=(
            "It is not known how early results may be trusted: if the first rungs mislead, the "
            "later brackets do not depend on them. If they do not mislead, asha finds as much "
            "for less."
        ),
        cost=(
            "Each bracket costs about the same. Left out, search.trials is one round of all "
            "brackets (143 trials for 1 to 81 with eta 3); more trials repeat them. A last "
            "bracket that is not filled still sends its best trial to the end; `check` tells."
        ),
        options="fidelity.min, max, eta or rungs; brackets, the first so many of them; hedge.",
        source="Li et al., JMLR 2018, Algorithm 1.",
    ),
    "async_hyperband": Method(
        title="brackets as in Hyperband, each of them asha",
        does=(
            "Every new trial is given a bracket, with shares as in hyperband: most begin at the "
            "lowest rung, some higher. Within its bracket each is promoted as in asha. Equal "
            "rungs of different brackets are not compared with each other."
        ),
        when="As for hyperband, with many slots or trials of very different length.",
        cost=(
            "As hyperband. After one round (143 trials for 1 to 81 with eta 3) every bracket has "
            "had exactly its share."
        ),
        options=(
            "fidelity.min, max, eta or rungs; brackets; guard; hedge. asha with brackets > 1 is "
            "the same."
        ),
        source="Li et al., MLSys 2020; shares: Klein et al., 2020, appendix A.",
    ),
    "pasha": Method(
        title="asha whose ladder grows only when it must",
        does=(
            "Begins with two rungs. As long as the two highest open rungs rank the trials alike, "
            "up to the noise seen in their curves, training longer would change nothing; when "
            "they do not, one more rung is opened, at most up to fidelity.max."
        ),
        when=(
            "fidelity.max is a guess on the safe side and the order of the trials settles early, "
            "as with large data sets."
        ),
        cost=(
            "At most that of asha, often a small part of it; plus one full training of the best "
            "trial at the end, unless search.pasha.final = false."
        ),
        options="search.pasha.final; fidelity.min, max, eta or rungs; guard; hedge.",
        source="Bohdal et al., ICLR 2023.",
    ),
    "median": Method(
        title="the median stopping rule",
        does=(
            "Trials run on. One whose best result so far is worse than the median of the running "
            "averages of the completed trials, up to the same step, is stopped. Every report "
            "counts, not only those at rungs."
        ),
        when=(
            "Programs report often and cannot continue from a checkpoint, and nobody wants to "
            "choose rungs. Learning curves should not cross much."
        ),
        cost="At most that of full training; usually about half of the trials are stopped.",
        options=(
            "fidelity.min: nobody is stopped below it. search.median.min_trials: completed "
            "trials that are needed before anybody is stopped."
        ),
        source='Golovin et al., "Google Vizier", KDD 2017, section 3.2.1.',
    ),
    "pbt": Method(
        title="population based training",
        does=(
            "A population trains side by side. After each generation the worst fifth is replaced "
            "by heirs of the best fifth: they take over the weights of a donor and vary its "
            "values. What it finds is a schedule of values, not one config: `show` tells a "
            "trial's line."
        ),
        when=(
            "Values that should change during training, such as learning rates or augmentation, "
            "and long trainings. Not for what shapes the model: weights could not be copied."
        ),
        cost=(
            "population times a full training, always. search.trials is the size of the "
            "population (20); a generation ends every fidelity.min."
        ),
        options=(
            "search.pbt: quantile, resample, perturb, min_ready (below 1, stragglers are not "
            "waited for). Needs checkpoints that other trials may load."
        ),
        source="Jaderberg et al., 2017, with truncation selection.",
    ),
    "irace": Method(
        title="iterated racing over folds, seeds or data sets",
        does=(
            "Configs are evaluated on one instance after the other; as soon as a statistical "
            "test says that one is worse than the best, it is dropped. The best of a race are "
            "the parents of the next one's configs, drawn around them ever more closely."
        ),
        when=(
            "Results are noisy and a config must be good on average: folds, seeds, data sets, "
            "problem instances. A rung is an instance and nothing is resumed: {end} tells which."
        ),
        cost=(
            "At most search.irace.budget evaluations of one config on one instance; left out, "
            "ten for each of search.trials. Given trials may run out before the budget does."
        ),
        options=(
            "search.irace: budget, test (friedman, t-test, t-test-bonferroni, t-test-holm), "
            "alpha, first_test, test_every. fidelity.max: how many instances there are."
        ),
        source='Lopez-Ibanez et al., "The irace package", 2016.',
    ),
    "dehb": Method(
        title="differential evolution with Hyperband",
        does=(
            "Brackets as in Hyperband, with the smaller sizes of its authors. From the second "
            "round on the configs of a rung are offspring: a member of that rung's population, "
            "crossed with a mutant of good ones from the rung below, and kept if it is no worse."
        ),
        when=(
            "Many cheap evaluations, many or discrete hyperparameters, where a model of the "
            "results is slow or wrong."
        ),
        cost=(
            "One round is search.trials when left out (128 trials for 1 to 81 with eta 3). In "
            "later rounds each evaluation is a new config and trains from the start."
        ),
        options="search.dehb: mutation, crossover; fidelity.min, max, eta or rungs; brackets.",
        source="Awad, Mallik and Hutter, IJCAI 2021.",
    ),
    "bohb": Method(
        title="Hyperband with configs from a model",
        does=(
            "hyperband says how long trials run, and the sampler tpe what is tried: densities of "
            "the good and of the other configs at the highest rung that has enough results. A "
            "third of the configs is drawn at random, as a safeguard."
        ),
        when=(
            "As hyperband, with enough trials that learning from them pays: a few dozen at "
            "least, and not more than about twenty hyperparameters."
        ),
        cost="That of hyperband; the model costs milliseconds for each config.",
        options=(
            "search.tpe: good, random, candidates, bandwidth_factor, min_bandwidth; "
            "fidelity.brackets; hedge. The sampler need not be given."
        ),
        source="Falkner, Klein and Hutter, ICML 2018.",
    ),
}

SAMPLER_METHODS: dict[str, Method] = {
    "random": Method(
        title="independent draws",
        does=(
            "Each config is drawn from the distributions of [space], independent of all results. "
            "No config is tried twice, and those that break a constraint are drawn again."
        ),
        when=(
            "Always sound, above all with a scheduler that stops trials early and many trials. "
            "The yardstick for everything else."
        ),
        cost="Nothing.",
        options="None. It is what holds when search.sampler is left out.",
        source="Bergstra and Bengio, JMLR 2012.",
    ),
    "grid": Method(
        title="every combination once",
        does=(
            "All combinations of the values that [space] lists, in order, the last hyperparameter "
            "fastest; those that break a constraint are left out."
        ),
        when=(
            "Few hyperparameters with few values, and a complete table is wanted. For search it "
            "wastes trials on hyperparameters that do not matter."
        ),
        cost=(
            "The product of the numbers of values; `check` tells it. search.trials ends it early."
        ),
        options="search.trials. Continuous ranges need linspace or geomspace.",
        source="",
    ),
    "sobol": Method(
        title="evenly spread points",
        does=(
            "Points of a scrambled Sobol sequence: they fill the space more evenly than random "
            "draws do, in every projection on one or two hyperparameters."
        ),
        when=(
            "Up to about a hundred trials without a model, or the first trials of one. Best with "
            "a power of two, and never worse than random."
        ),
        cost="Nothing.",
        options="None.",
        source="Joe and Kuo 2008, scrambled as in Owen 1998.",
    ),
    "halton": Method(
        title="evenly spread points in prime bases",
        does=(
            "Points of a Halton sequence, one prime base for each hyperparameter, with permuted "
            "digits. Any number of points is spread well."
        ),
        when="As sobol, with up to about ten hyperparameters and any number of trials.",
        cost="Nothing.",
        options="None.",
        source="Halton 1960; permuted as in Owen 2017.",
    ),
    "hammersley": Method(
        title="evenly spread points of a set of known size",
        does=(
            "As halton, with the first hyperparameter in equal steps over search.trials. More "
            "trials later form another set."
        ),
        when="The number of trials is known and stays.",
        cost="Nothing.",
        options="search.trials is the size of the set.",
        source="Hammersley 1960.",
    ),
    "lhs": Method(
        title="a Latin hypercube",
        does=(
            "Each hyperparameter's range is cut into as many parts as there are trials, and each "
            "part is used once. More trials later form another cube."
        ),
        when="A few dozen trials whose number is known, to see what matters.",
        cost="Nothing.",
        options="search.trials is the size of the cube.",
        source="McKay, Beckman and Conover 1979.",
    ),
    "tpe": Method(
        title="a model of what is good",
        does=(
            "Results at the highest rung that has enough of them are split into good ones and the "
            "rest; a kernel density is fitted to each. Of 64 draws from that of the good ones, "
            "the one is tried that it favours most over the other density. Before there is a "
            "model, and for a third of the configs, it draws without it."
        ),
        when=(
            "From a few dozen trials on, with up to about twenty hyperparameters. With a "
            "scheduler: bohb, or asha for more slots."
        ),
        cost="Milliseconds for each config.",
        options=(
            "search.tpe: good, random, candidates, bandwidth_factor, min_bandwidth; "
            "search.initial draws the configs before the model."
        ),
        source="Bergstra et al., NeurIPS 2011; in the form of Falkner et al., ICML 2018.",
    ),
}

_LATER: dict[str, str] = {
    "poisson": "points that keep a distance from each other (Poisson discs)",
    "rsa": "points that keep a distance from each other (random sequential addition)",
    "gp": "Bayesian optimisation with a Gaussian process",
    "cmaes": "evolution of a normal distribution (CMA-ES)",
    "evolution": "a genetic algorithm",
    "pso": "a swarm of particles",
    "neldermead": "the simplex method of Nelder and Mead",
    "optuna": "a sampler of Optuna",
}


def names() -> list[str]:
    """Return what can be described: schedulers and samplers, as written in a spec."""
    return list(dict.fromkeys([*get_args(Scheduler), *get_args(Sampler)]))


def describe(name: str) -> str | None:
    """Return what a scheduler or sampler does, when to use it, its cost, options and source.

    None when there is none of that name.
    """
    key = name.strip().lower().replace("-", "_")
    if key in SCHEDULERS:
        return _text(key, "scheduler", SCHEDULERS[key])
    if key in SAMPLER_METHODS:
        return _text(key, "sampler", SAMPLER_METHODS[key])
    if key in get_args(Sampler) and key not in SAMPLERS:
        return (
            f"{key} (sampler): {_LATER[key]}\n\n"
            "  Not available yet: a spec may name it, `check` says so, and `launch` refuses it.\n"
            "  Until then: random, sobol, or tpe."
        )
    return None


def _text(name: str, kind: str, method: Method) -> str:
    parts = [
        ("", method.does),
        ("When", method.when),
        ("Cost", method.cost),
        ("Options", method.options),
        ("Source", method.source),
    ]
    lines = [f"{name} ({kind}): {method.title}", ""]
    for label, words in parts:
        if not words:
            continue
        indent = 2 if not label else 2 + _LABEL
        lines += textwrap.wrap(
            words,
            _WIDTH,
            initial_indent="  " if not label else f"  {label:<{_LABEL}}",
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
