"""The tables of a spec: what may be given, in which form, and what holds when it is left out.

Field names are the keys of the TOML file. Times are in seconds and have been parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from slurmtune.spec import field as f
from slurmtune.spec import quantity
from slurmtune.spec.hyperparameter import HyperparameterSpec, Scalar

DEFAULT_TRIALS = 100


class Table(BaseModel):
    """A table of the spec: frozen, strict, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StudyTable(Table):
    """``[study]``: what it is called and where it lives."""

    name: f.StudyName
    """Names the directory of the study and its Slurm jobs."""
    description: f.Text = ""
    """For people."""
    dir: f.Folder = "runs"
    """The study lives in DIR/NAME, on a file system that all nodes share."""
    seed: f.CountOrZero = 0
    """Same spec and same seed: same configs."""
    tags: f.TextList = ()
    """For people."""
    group: f.Boolean = False
    """The members of your group may look: `status` and `best` work for them."""


class RunTable(Table):
    """``[run]``: what one trial runs. `command` or `function` is given."""

    command: f.Command | None = None
    """A command line, or its words as a list; may hold placeholders such as {lr}."""
    function: f.FunctionName | None = None
    """module:name of a Python function, in place of a command."""
    args: f.FilledText = "gnu"
    """How values are passed: gnu, hydra, json, none, or a template with placeholders."""
    workdir: f.FilledText = "."
    """Where the program starts, relative to the spec."""
    snapshot: f.TextList = Field(default=(), alias="copy")
    """Files and folders to snapshot when the study starts."""
    parse: Annotated[Mapping[f.MetricName, f.Pattern], f.AnyTable] = Field(default_factory=dict)
    """Metrics to read off the output: name = regular expression with a group."""
    files: Annotated[Mapping[f.InnerPath, f.FilledText], f.AnyTable] = Field(default_factory=dict)
    """Files to write for each trial: path in the trial's folder = template."""


class EnvTable(Table):
    """``[env]``: what is done on the compute node before the program starts."""

    modules: f.TextList = ()
    """Environment modules to load."""
    conda: f.Text = ""
    """Name or path of a conda environment."""
    venv: f.Text = ""
    """Path of a virtual environment."""
    container: f.Text = ""
    """Image of a container."""
    setup: f.TextList = ()
    """Lines of shell."""
    vars: Annotated[Mapping[f.VariableName, f.Text], f.AnyTable] = Field(default_factory=dict)
    """Environment variables."""


class ConstraintTable(Table):
    """One line of ``[constraints]``: a rule that every config keeps."""

    name: str
    expression: str
    """In Python's syntax, over the names of hyperparameters."""


class StartTable(Table):
    """One ``[[start]]``: a config to try first; missing names are sampled."""

    values: Mapping[str, Scalar]


class ObjectiveTable(Table):
    """``[objective]``: a metric and which way is better."""

    metric: f.MetricName
    """Name under which the program reports it."""
    goal: f.GoalName
    """minimize or maximize."""
    limit: f.Number | None = None
    """Hard bound: beyond it a trial is infeasible."""


class GaussianProcessTable(Table):
    """``search.gp``: how the Gaussian-process sampler works."""

    acquisition: f.AcquisitionName = "ei"
    """ei, poi or ucb."""
    kernel: f.KernelName = "matern"
    """matern or rbf."""
    nu: f.PositiveNumber = 2.5
    """Smoothness of the Matern kernel."""
    length_scale: f.PositiveNumber = 1.0
    """Start value of the kernel's length scale, in units of the ranges."""
    kappa: f.PositiveNumber = 2.576
    """Weight of the uncertainty in ucb."""
    eps: f.NumberOrZero = 0.0
    """Least improvement asked for by ei and poi."""
    n_restarts: f.CountOrZero = 5
    """Restarts when the kernel is fitted."""


class MedianTable(Table):
    """``search.median``: how the median rule works."""

    min_trials: f.Count = 5
    """Trials that the median is taken of, at least; below that nobody is stopped."""


class PashaTable(Table):
    """``search.pasha``: how PASHA ends."""

    final: f.Boolean = True
    """Train the best trial of the highest open rung up to `fidelity.max`."""


class PopulationTable(Table):
    """``search.pbt``: how population based training works."""

    quantile: f.AtMostHalf = 0.2
    """The worst part of a generation is replaced by heirs of the best part."""
    resample: f.Share = 0.25
    """How often a value is drawn anew rather than varied."""
    perturb: f.OneToTwo = 1.2
    """Numbers are multiplied by this, or by 2 minus this."""
    min_ready: f.ShareAboveZero = 1.0
    """Part of a generation that must have finished before it is judged."""


class RaceTable(Table):
    """``search.irace``: how iterated racing works."""

    budget: f.Count | None = None
    """Evaluations in all; left out: ten for each of `search.trials`."""
    test: f.RaceTestName = "friedman"
    """friedman, t-test, t-test-bonferroni or t-test-holm."""
    alpha: f.Probability = 0.05
    """Chance of dropping a config that is as good as the best."""
    first_test: f.Count = 5
    """Instances that every config sees before the first test."""
    test_every: f.Count = 1
    """Instances between two tests."""


class DifferentialEvolutionTable(Table):
    """``search.dehb``: how DEHB varies configs."""

    mutation: f.AtMostTwo = 0.5
    """Weight of the difference of two parents."""
    crossover: f.Share = 0.5
    """Part of the values that is taken from the mutant."""


class KernelDensityTable(Table):
    """``search.tpe``: how the sampler tpe models what is good."""

    good: f.Probability = 0.15
    """Part of the results that counts as good."""
    random: f.Share = 0.3333
    """Part of the configs that is drawn without the model."""
    candidates: f.Count = 64
    """Draws from the good part, of which the most promising one is tried."""
    bandwidth_factor: f.PositiveNumber = 3.0
    """The draws spread so much wider than the model."""
    min_bandwidth: f.PositiveNumber = 0.001
    """Least width of a kernel, in units of the ranges."""


class SearchTable(Table):
    """``[search]``: the sampler says what to try, the scheduler for how long."""

    sampler: f.SamplerName = "random"
    """What to try."""
    scheduler: f.SchedulerName = "none"
    """For how long each trial runs."""
    variant: f.VariantName = "promotion"
    """asha: trials pause at a rung and are promoted, or run on until they are stopped."""
    options: f.Arguments = Field(default_factory=dict)
    """Arguments of a scheduler of your own."""
    trials: f.Count | None = None
    """Configs to start; left out: the whole grid, all brackets once, or 100. pbt: members of the
    population, left out: 20."""
    startup: f.Count = 16
    """Configs drawn by `initial` before the sampler's model is trusted."""
    initial: f.InitialName = "sobol"
    """What draws the first configs of a sampler with a model."""
    parallel: f.Count = 32
    """Trials in flight, queued and running together."""
    gp: Annotated[GaussianProcessTable, f.AnyTable] = GaussianProcessTable()
    """Options of the sampler gp."""

    median: Annotated[MedianTable, f.AnyTable] = MedianTable()
    """Options of the scheduler median."""
    pasha: Annotated[PashaTable, f.AnyTable] = PashaTable()
    """Options of the scheduler pasha."""
    pbt: Annotated[PopulationTable, f.AnyTable] = PopulationTable()
    """Options of the scheduler pbt."""
    irace: Annotated[RaceTable, f.AnyTable] = RaceTable()
    """Options of the scheduler irace."""
    dehb: Annotated[DifferentialEvolutionTable, f.AnyTable] = DifferentialEvolutionTable()
    """Options of the scheduler dehb."""
    tpe: Annotated[KernelDensityTable, f.AnyTable] = KernelDensityTable()
    """Options of the sampler tpe, and so of the scheduler bohb."""

    @model_validator(mode="before")
    @classmethod
    def _sampler_of_bohb(cls, data: Any) -> Any:
        """BOHB is Hyperband with the sampler tpe: nobody need say so twice."""
        if isinstance(data, Mapping) and data.get("scheduler") == "bohb":
            return {"sampler": "tpe", **data}
        return data


class FidelityTable(Table):
    """``[fidelity]``: what a trial is trained for."""

    resource: f.MetricName = "epoch"
    """Name of the step that the program reports."""
    min: f.ResourceAmount = 1
    """Resource of the first rung."""
    max: f.ResourceAmount
    """Resource of a full training."""
    eta: f.Factor = 3
    """The best 1/eta of the trials are promoted."""
    rungs: f.Rungs | None = None
    """The resource of each rung, in place of min, max and powers of eta."""
    resume: f.Boolean = True
    """Promoted trials continue from their checkpoint."""
    brackets: f.Count | None = None
    """Ladders with different first rungs; left out: one for asha, all for hyperband and others
    that are made of brackets."""
    guard: f.Boolean = False
    """Leave out a rung whose order of the trials says nothing about the next one; without it you
    are only told of such a rung."""
    hedge: f.ShareUpToHalf = 0.0
    """Part of the trials that goes on to the end whatever its rank: a control group."""
    unit_time: f.PositiveNumber | None = None
    """Seconds for one unit of the resource, a guess for `check`."""

    @model_validator(mode="before")
    @classmethod
    def _ends_of_rungs(cls, data: Any) -> Any:
        """With `rungs`, `min` and `max` need not be given: they are its ends."""
        rungs = data.get("rungs") if isinstance(data, Mapping) else None
        if rungs is None:
            return data
        ends = (rungs[0], rungs[-1]) if isinstance(rungs, (list, tuple)) and rungs else (1, 1)
        # What is no resource is told once, where it stands.
        low, high = (end if f.is_number(end) and end > 0 else 1 for end in ends)
        return {"min": low, "max": high, **data}


class RequestTable(Table):
    """What one slot asks of Slurm; names as in sbatch."""

    partition: f.FilledText | None = None
    account: f.FilledText | None = None
    qos: f.FilledText | None = None
    time: f.SlurmSeconds | None = None
    """Time limit, in sbatch's syntax."""
    time_per_unit: f.SlurmSeconds | None = None
    """Time limit for each unit of the resource, in place of `time`."""
    time_extra: f.SlurmSeconds | None = None
    """Added to the limits that `time_per_unit` gives."""
    gpus_per_node: f.Gpus | None = None
    gres: f.FilledText | None = None
    cpus_per_task: f.Count | None = None
    mem: f.Memory | None = None
    constraint: f.FilledText | None = None
    exclude: f.FilledText | None = None
    extra: Annotated[Mapping[f.OptionName, f.OptionValue], f.AnyTable] = Field(
        default_factory=dict
    )
    """Any other option of sbatch; true stands for an option without a value."""

    @property
    def gpu_count(self) -> int:
        """GPUs of one slot."""
        if self.gpus_per_node is not None:
            return quantity.gpu_count(str(self.gpus_per_node))
        return quantity.gres_gpu_count(self.gres) if self.gres else 0


class RungTable(RequestTable):
    """``[slurm.rung.N]``: what differs from rung N on."""


class SlurmTable(RequestTable):
    """``[slurm]``: where it runs."""

    array_limit: f.Count | None = None
    """Slots of one array that may run at once."""
    reuse: f.Boolean = True
    """A slot serves further attempts while its time lasts."""
    linger: f.Seconds = 60.0
    """How long an idle slot waits for more work, in seconds."""
    ahead: f.NumberFromOne = 1.0
    """Slots queued or running for each of `search.parallel`; above 1, configs are chosen when a
    slot is free rather than when it is queued."""
    requeue: f.Boolean = True
    """Slurm may put a slot back into the queue."""
    signal: f.SignalText = "USR1@120"
    """Grace time to write a checkpoint."""
    comment: f.FilledText = "slurmtune"
    rung: Annotated[Mapping[int, RungTable], f.AnyTable] = Field(default_factory=dict)
    """What differs, by the rung from which on it holds."""

    def at_rung(self, rung: int) -> Self:
        """Return the table that holds at ``rung``: each rung inherits from the one before."""
        changes: dict[str, Any] = {}
        for number in sorted(self.rung):
            if number > rung:
                break
            table = self.rung[number]
            given = {key: getattr(table, key) for key in table.model_fields_set}
            # The two ways to ask for GPUs, or to give a time, replace each other.
            if "gres" in given:
                changes["gpus_per_node"] = None
            if "gpus_per_node" in given:
                changes["gres"] = None
            if "time" in given:
                changes |= {"time_per_unit": None, "time_extra": None}
            if "time_per_unit" in given:
                changes["time"] = None
            changes |= given
        return self.model_copy(update={**changes, "rung": {}})


class RetryTable(Table):
    """``[retry]``: how often an attempt is repeated, by how it ended."""

    node_fail: f.CountOrZero = 3
    preempted: f.CountOrZero = 20
    timeout: f.CountOrZero = 1
    oom: f.CountOrZero = 1
    crash: f.CountOrZero = 0
    bad_node: f.CountOrZero = 2
    """Failures of a node in a day from which on it is left out for a day; 0: it never is."""
    max_failed: f.ShareOrCount = 0.2
    """Failed trials before the study is paused: a count, or a part of those started."""


class StopTable(Table):
    """``[stop]``: when the study ends before its last trial."""

    wall_time: f.Seconds | None = None
    """In seconds."""
    gpu_hours: f.PositiveNumber | None = None
    target: Annotated[Mapping[f.MetricName, f.Number], f.AnyTable] = Field(default_factory=dict)
    """Stop as soon as a finished trial is this good."""
    stall: f.Count | None = None
    """Trials without a better best."""


class CheckpointTable(Table):
    """``[checkpoint]``: which checkpoints stay."""

    keep: f.KeepRule = "all"
    """all, none, promoted or best:N."""


class ReportTable(Table):
    """``[report]``: what is told while the study runs."""

    html: f.Boolean = True
    every: f.Seconds = 600.0
    """Seconds between two versions of the report."""
    watch: f.TextList = ()
    """Other metrics to draw."""
    notify: f.Text = ""
    """Command to run on done, paused and best."""
    export: f.TextList = ()
    """Formats to write when the study is done."""


class Spec(Table):
    """A whole spec, checked."""

    study: Annotated[StudyTable, f.AnyTable]
    run: Annotated[RunTable, f.AnyTable]
    env: Annotated[EnvTable, f.AnyTable] = EnvTable()
    space: Mapping[str, HyperparameterSpec]
    """In the order of the file."""
    constraints: tuple[ConstraintTable, ...] = ()
    start: tuple[StartTable, ...] = ()
    objective: Annotated[tuple[ObjectiveTable, ...], Field(strict=False)]
    search: Annotated[SearchTable, f.AnyTable] = SearchTable()
    fidelity: Annotated[FidelityTable, f.AnyTable] | None = None
    slurm: Annotated[SlurmTable, f.AnyTable] = SlurmTable()
    retry: Annotated[RetryTable, f.AnyTable] = RetryTable()
    stop: Annotated[StopTable, f.AnyTable] = StopTable()
    checkpoint: Annotated[CheckpointTable, f.AnyTable] = CheckpointTable()
    report: Annotated[ReportTable, f.AnyTable] = ReportTable()
