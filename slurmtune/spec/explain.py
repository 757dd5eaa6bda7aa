"""What stands behind each code of a problem, for ``slurmtune explain CODE``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from slurmtune.errors import UsageError
from slurmtune.spec.words import did_you_mean

_CODE = re.compile(r"[A-Za-z]\d+")
EXPLANATIONS: Mapping[str, str] = {
    "T1": (
        'A value is not written as TOML. Text stands in quotes: partition = "gpu". Numbers, '
        "true, false, [lists] and { tables } stand without."
    ),
    "T2": "TOML knows true and false, in lower case. There is no None: leave a key out instead.",
    "T3": (
        "A value ended before its line did, most often a time or a path without quotes: time "
        '= "1:00:00".'
    ),
    "T4": (
        "A key or a [table] is given twice in a file. TOML takes neither the first nor the "
        "last: join them. Several objectives or starts are written with two brackets: "
        "[[objective]]."
    ),
    "T5": "TOML wants a digit before the point (0.5, not .5) and no zeros before other digits.",
    "T6": (
        "A table in braces must end on the line where it begins, without a comma before the "
        "}. For more room open a table: [space.lr] and a key on each line."
    ),
    "T7": (
        "A [ or { has no partner. The place that is shown is where the parser lost hope; look "
        "at the lines above it."
    ),
    "T8": (
        "The file is text in UTF-8, without NUL and other control characters. Editors on "
        "Windows may save UTF-16: choose UTF-8."
    ),
    "T9": "A spec has at most 1 MiB. Long lists of values are better written as range or int.",
    "T10": "Tables and lists may be nested 64 deep. No spec needs more than five.",
    "T11": "Whole numbers have 64 bits: from -9223372036854775808 to 9223372036854775807.",
    "T12": (
        "An override is KEY=VALUE with a dotted key: -s search.trials=81 -s "
        "slurm.partition=debug. The value is TOML, or else text. Names with dots are quoted."
    ),
    "T13": (
        "The line is not TOML: key = value, one to a line, below a [table]. Text with \\ in it "
        "is easier in single quotes."
    ),
    "T14": "The file cannot be read. Names in `include` are relative to the spec.",
    "K1": (
        "No such key exists in this table. Nothing is ignored in silence, since a misspelt "
        "key would otherwise have no effect."
    ),
    "K2": (
        "The key exists, but in another table. In TOML a key belongs to the last [table] "
        "above it, so an added line often lands in the wrong one."
    ),
    "K3": "Another tool has this word; here it is called otherwise.",
    "K4": "Keys have underscores where sbatch has hyphens: gpus_per_node.",
    "K5": (
        "The common options of sbatch have keys in [slurm]. Any other goes into slurm.extra "
        'under sbatch\'s own name: extra = { mail-type = "END" }.'
    ),
    "K6": (
        "No such table exists. The tables: study, run, env, space, constraints, start, "
        "objective, search, fidelity, slurm, retry, stop, checkpoint, report."
    ),
    "K7": "Four tables are needed: [study], [run], [space] and [objective].",
    "K8": "This key has no default: nobody but you can know it.",
    "S1": "The first number is the lowest value and the second the highest; both can occur.",
    "S2": (
        "A logarithmic scale has no zero: between any number and 0 lie infinitely many decades."
    ),
    "S3": (
        "Bounds are the values themselves, not their logarithms: [1e-5, 1e-1]. Some tools "
        "take exponents, natural or decimal; the remedy shows both readings."
    ),
    "S4": (
        'This distribution takes numbers. "1e-5" in quotes is text; some places need whole '
        "numbers."
    ),
    "S5": (
        "A hyperparameter is  name = { DISTRIBUTION = [...] }. Distributions: values pvalues "
        "bool fixed range linspace logspace geomspace uniform quniform loguniform qloguniform "
        "int logint normal qnormal lognormal qlognormal."
    ),
    "S6": (
        "Optuna and others say type, low, high and log. Here the name of the distribution is "
        "the key and the numbers are its value: { uniform = [0.0, 0.5] }."
    ),
    "S7": (
        "W&B says distribution, min and max. Here the name of the distribution is the key and "
        "the numbers are its value: { loguniform = [1e-5, 1e-1] }."
    ),
    "S8": (
        "Numbers are given as a list: linspace = [0.0, 0.5, 6]. The form start:stop:step is "
        "Polyaxon's."
    ),
    "S9": (
        "A bare value could mean a choice, a range or a constant. Say which: values, uniform, "
        "fixed."
    ),
    "S10": "The probabilities of pvalues must sum to 1; the remedy shows them scaled.",
    "S11": "The default, or the prior, must be a value that the hyperparameter can have.",
    "S12": "A condition in `when` is about another hyperparameter of [space].",
    "S13": (
        "A grid holds every combination, so that each hyperparameter must have finitely many "
        "values. linspace and geomspace take a few of a range."
    ),
    "S14": "Each distribution takes a certain list; the message says which.",
    "S15": "Values and bounds are finite: inf, nan and dates have no place in a space.",
    "S16": "Steps, numbers of values and standard deviations are above 0.",
    "S17": (
        "Names become arguments, file contents and variables: letters, digits, _ . and -, a "
        "letter or _ first, at most 64 characters."
    ),
    "S18": "A hyperparameter has one distribution.",
    "S20": (
        "A list of values must hold something, and everything once: a value listed twice "
        "would be twice as likely. 1 and 1.0 are the same value."
    ),
    "S21": "More than 100000 single values are better written as int or quniform.",
    "S22": "A hyperparameter cannot depend on itself, not even by way of others.",
    "S23": (
        "An entry of `when` is a value, a list (one of these) or a comparison in quotes, such "
        'as ">= 3". All entries must hold. It must be possible for them to hold.'
    ),
    "S24": (
        "A constraint is a question about hyperparameters in Python's syntax: numbers, quoted "
        "text, names, + - * / // % **, comparisons, and, or, not, min, max, abs. It is never "
        "executed as Python."
    ),
    "S25": (
        "A start holds values of hyperparameters, inside their ranges; missing ones are sampled."
    ),
    "S26": (
        'Options: default and when for all; type = "int" or "float" for numbers; clip for '
        "normal distributions; ordered for values; prior = [value, confidence]."
    ),
    "S27": (
        "logspace takes exponents of 10, as numpy does: [-5, -2, 4] is 1e-5 1e-4 1e-3 1e-2. "
        "geomspace takes the values themselves."
    ),
    "S28": "Nothing to search.",
    "S29": "The numbers fit the form of the distribution but leave no values to draw.",
    "M1": "The value is none of those that exist; all are listed.",
    "M2": (
        "The sampler says what to try, the scheduler for how long each trial runs. They are "
        "chosen separately."
    ),
    "M3": (
        "Some names stand for a pair of sampler and scheduler, which are given separately here."
    ),
    "M4": "goal is minimize or maximize.",
    "M5": (
        "Schedulers that stop trials early need to know what a trial is trained for: "
        '[fidelity] resource = "epoch", max = 81.'
    ),
    "M6": (
        "The first rung is at fidelity.min, each next one eta times as far, the last at "
        "fidelity.max; or fidelity.rungs lists them. With one rung there would be nothing to "
        "decide. For irace the rungs are instances (folds, seeds, data sets): as many as "
        "fidelity.max, and at least the first_test of them."
    ),
    "M7": (
        'The value has another type. Nothing is converted: "81" is text, 81.0 is no whole '
        "number and 1 is not true."
    ),
    "M8": "The number is out of range.",
    "M9": (
        "A metric has a name without commas and quotes, not beginning with _, and each "
        "objective its own."
    ),
    "M10": "stop.target is about the metrics of [objective].",
    "M11": (
        "The options of a scheduler or sampler do nothing while another one is chosen. Most "
        "likely the wrong one was chosen, or the option is left over."
    ),
    "M12": (
        "A scheduler of your own is FILE.py:CLASS, with FILE relative to the spec. The class is "
        "made with levels=..., reduction_factor=... and what stands in search.options; derive "
        "it from slurmtune.schedulers.base.BaseScheduler. Its file is copied into the study."
    ),
    "M13": (
        "With so few trials, or so small a budget, the scheduler could not keep its plan: "
        "nobody would reach the last rung, or be compared with anybody."
    ),
    "M14": (
        "These two exclude each other; the message says why, and the remedy which of them to "
        "change. slurmtune explain NAME tells more about a scheduler or sampler."
    ),
    "M15": (
        "fidelity.guard watches whether the order of the trials at a rung says anything about "
        "their order at the next one. asha, async_hyperband and pasha leave out a rung that "
        "says nothing; the others have fixed plans, and you are told."
    ),
    "R1": (
        "Times are sbatch's: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S, in quotes. A bare "
        "number counts minutes."
    ),
    "R2": 'Sizes are sbatch\'s: 4000 (megabytes), "32G", "512M", "1T".',
    "R3": (
        "Rungs count from 0; how many there are follows from fidelity.min, max and eta, or from "
        "fidelity.rungs. Without a scheduler, and with median, there is only rung 0; pbt has one "
        "for each generation, irace one for each instance."
    ),
    "R4": 'A number of GPUs: 1, or with a type "a100:2".',
    "R5": (
        "{name} in a command or template stands for a hyperparameter, or for one of start end "
        "config trial rung seed checkpoint. ${NAME} is left to the shell."
    ),
    "R6": (
        "The name of the study names a folder and Slurm's jobs: letters, digits, . _ and -, "
        "at most 64."
    ),
    "R7": (
        '[run] needs a command, such as "python train.py", or a function, such as "train:main".'
    ),
    "R8": (
        "slurm.extra takes options of sbatch by their long names, without dashes. Options "
        "with a key of their own, and those that slurmtune needs itself, are refused."
    ),
    "R9": (
        "Text that reaches a batch script stands on one line: a line break in it could start "
        "a line of its own, which would be executed. Empty text is refused where it can mean "
        "nothing."
    ),
    "R10": "These two say the same thing in different ways; keep one.",
    "R11": "parse reads metrics by regular expressions; the first group ( ) is the number.",
    "R12": (
        "Files of a trial are written into its folder: relative paths without `..`. A study's "
        "folder may not hold %, which Slurm replaces in the paths of logs."
    ),
    "R13": 'sbatch\'s --signal: a name and the seconds before the time limit, "USR1@120".',
    "R14": 'A function is module:name, such as "train:main".',
    "R15": (
        'Durations carry a unit: "60s", "10m", "2h", "1d", or have sbatch\'s form with a colon.'
    ),
    "R16": 'max_failed is a count, 10, or a part of the trials, "20%".',
    "R17": "Names of environment variables hold letters, digits and _.",
    "R18": (
        "A command is split into words as a shell would: quotes come in pairs. A list of "
        "words needs no quotes."
    ),
    "R19": (
        "A hyperparameter with a `when` is absent from some configs, and so is the text for its "
        "placeholder. The file {config} holds just what is there."
    ),
    "I1": (
        'include = ["cluster.toml"] at the top of a spec takes other files below it. Included '
        "files cannot include others."
    ),
    "I2": (
        "Defaults of the site and of the user hold [slurm], [env] and [report] only: what is "
        "tried must stand in the spec."
    ),
    "U1": (
        "The key is understood and has no function yet. `check` tells it as a note; `launch` "
        "refuses where ignoring it would change which configs are tried, or with which "
        "resources."
    ),
}


def explain(code: str) -> str:
    """Return the explanation of a code such as ``K2``.

    Raises:
        UsageError: there is no such code.
    """
    known = EXPLANATIONS.get(code.strip().upper())
    if known is None:
        from slurmtune.spec.methods import names

        guess = did_you_mean(code, [*names(), *EXPLANATIONS])
        if _CODE.fullmatch(code.strip()):
            raise UsageError(f"there is no message {code!r}. {guess}".rstrip())
        what = f"{code!r} is no trial, no code of a message, no scheduler and no sampler"
        raise UsageError(f"{what}; {guess or 'such as: t17, K2, asha'}")
    return f"{code.strip().upper()}: {known}"
