"""``slurmtune launch``: start a study, or continue it, and watch it."""

from __future__ import annotations

import math
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from slurmtune.cli import check, cluster, crash, output, show, study, summary, text
from slurmtune.cli.options import (
    AccountOption,
    ConstraintOption,
    ExcludeOption,
    NameOption,
    PartitionOption,
    QosOption,
    SetOption,
    SpecArgument,
    TimeOption,
    YesOption,
    overrides,
)
from slurmtune.cli.signals import SECOND_SECONDS, SignalWatch
from slurmtune.errors import BackendError, SlurmtuneError, UsageError

if TYPE_CHECKING:
    from slurmtune.spec.launching import LaunchOptions, Session

_LATEST_CANCEL_SECONDS = 15.0
_LADDER = 7
"""Rungs that the first line lists."""
POLL_VARIABLE = "SLURMTUNE_POLL_SECONDS"
"""Least time between two questions to Slurm, for small clusters of one's own; the default suits
shared ones."""
_LEAST_POLL_SECONDS = 1.0
_MOST_POLL_SECONDS = 3600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="launch")(launch)


def launch(
    spec: SpecArgument = "spec.toml",
    *,
    local: Annotated[
        int | None,
        typer.Option(
            "--local",
            metavar="[N]",
            help="Run on this machine, N attempts at once; without N one for each CPU or GPU.",
            show_default=False,
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="0,1",
            help="GPUs of this machine for --local; left out: CUDA_VISIBLE_DEVICES, else none.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only check, as `slurmtune check` does.")
    ] = False,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Replace a driver that seems alive.")
    ] = False,
    yes: YesOption = False,
    set_: SetOption = None,
    partition: PartitionOption = None,
    account: AccountOption = None,
    qos: QosOption = None,
    time: TimeOption = None,
    constraint: ConstraintOption = None,
    exclude: ExcludeOption = None,
    job_name: NameOption = None,
) -> None:
    """Start a study and watch it; the same command again continues it.

    \b
    Examples
      slurmtune launch spec.toml
      slurmtune launch spec.toml --local=2        two at once, without Slurm
      slurmtune launch spec.toml -p gpu -t 30 -s search.trials=9
      nohup slurmtune launch spec.toml > launch.log &

    Ctrl-C stops watching: jobs that run go on, and the same command continues. Ctrl-C again
    within 5 s cancels the jobs.
    """
    given = overrides(
        set_,
        partition=partition,
        account=account,
        qos=qos,
        time=time,
        constraint=constraint,
        exclude=exclude,
        job_name=job_name,
    )
    if dry_run:
        check.run(spec, given, offline=local is not None)
        return
    if gpus is not None and local is None:
        raise UsageError("--gpus is for --local; on Slurm see slurm.gpus_per_node")
    checked = check.examine(spec, given, launching=True)
    for problem in checked.loaded.problems:
        output.complain(f"{problem}\n")
    if local is None and all(change.allowed for change in checked.changes):
        _ask_slurm(checked)
    if (
        takeover
        and study.driver_state_at(checked.directory).alive
        and not output.ask(f"{checked.loaded.spec.study.name}: replace its driver?", yes=yes)
    ):
        output.say("nothing was started")
        return
    raise typer.Exit(_drive(checked, _options(local, gpus, takeover=takeover)))


def _options(local: int | None, gpus: str | None, *, takeover: bool) -> LaunchOptions:
    from slurmtune.spec.launching import LaunchOptions

    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus is None else gpus
    names = tuple(name.strip() for name in devices.split(",") if name.strip())
    if local is None:
        return LaunchOptions(takeover=takeover, poll_seconds=_poll_seconds())
    slots = local if local > 0 else len(names) or len(os.sched_getaffinity(0))
    return LaunchOptions(local_slots=slots, gpus=names, takeover=takeover)


def _poll_seconds() -> float:
    """Return how often Slurm is asked.

    Raises:
        UsageError: the variable holds no such time.
    """
    from slurmtune.spec.launching import DEFAULT_POLL_SECONDS

    given = os.environ.get(POLL_VARIABLE, "")
    if not given:
        return DEFAULT_POLL_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not _LEAST_POLL_SECONDS <= seconds <= _MOST_POLL_SECONDS:
        raise UsageError(
            f"{POLL_VARIABLE} is {given!r}: seconds between {_LEAST_POLL_SECONDS:g} and "
            f"{_MOST_POLL_SECONDS:g} are needed"
        )
    return seconds


def _ask_slurm(checked: check.Checked) -> None:
    """Let Slurm look at what will be submitted, before anything is written.

    Raises:
        BackendError: it would refuse it.
    """
    if not cluster.is_here():
        from slurmtune.spec.cluster import NO_SLURM

        raise BackendError(str(NO_SLURM))
    if not checked.is_new and not checked.changes:
        return
    slots = check.first_slots(checked)
    found = cluster.examine(
        checked.loaded, checked.directory, checked.requests, checked.rung_classes, slots
    )
    check.refuse_unless_good(found)
    for finding in found.findings:
        if finding.level == "warn":
            output.warn(f"{finding.subject}: {finding.words}")


def _drive(checked: check.Checked, options: LaunchOptions) -> int:
    """Run the study to its end or to the first signal; return the exit code."""
    from slurmtune.cli.watch import Watcher
    from slurmtune.spec.launching import prepare
    from slurmtune.store.layout import StudyLayout

    spec = checked.loaded.spec
    layout = StudyLayout(checked.directory)
    line = output.LiveLine(sys.stdout)
    watcher = Watcher(
        line,
        layout,
        name=spec.study.name,
        resource="" if spec.fidelity is None else spec.fidelity.resource,
        command_of=lambda trial: show.command_of(study.identity(layout), layout, trial),
    )
    session = prepare(checked.loaded, options, watcher)
    try:
        line.scroll(_first_line(checked))
        _tell_changes(session, line)
        with SignalWatch(lambda: _detach(session)) as signals:
            session.open()
            reason = session.driver.run()
            line.clear()
            if signals.first is not None and not session.driver.study.finished:
                return _leave(session, checked, signals, line)
        return _conclude(session, reason, line)
    except SlurmtuneError:
        line.clear()
        raise
    except OSError as error:
        line.clear()
        raise BackendError(
            f"cannot write {text.short_path(layout.root)}: {error.strerror or error}. Jobs that "
            f"run go on; continue with  {_again(checked, options.local_slots)}"
        ) from error
    except Exception as error:  # noqa: BLE001 - told, and kept where the study is
        line.clear()
        output.error(crash.message(error, crash.write_report(error, sys.argv[1:], layout.root)))
        if "--debug" in sys.argv:
            crash.show_traceback(error)
        return crash.EXIT_CODE
    finally:
        session.close()


def _again(checked: check.Checked, local_slots: int | None) -> str:
    """Return the command that continues the study."""
    loaded = checked.loaded
    local = "" if local_slots is None else f"--local={local_slots}"
    return study.launch_command(text.short_path(loaded.path), loaded.overrides, local)


def _detach(session: Session) -> None:
    session.driver.detach()
    session.clock.interrupt()


def _first_line(checked: check.Checked) -> str:
    from slurmtune.spec.build import build_levels

    spec = checked.loaded.spec
    scheduler = "" if spec.search.scheduler == "none" else f", {spec.search.scheduler}"
    levels = [level for level in build_levels(spec) if level is not None]
    shown = [text.resource(level) for level in levels]
    ladder = "-".join(shown if len(shown) <= _LADDER else [*shown[:2], "...", shown[-1]])
    word = "" if spec.fidelity is None else f" {ladder} {text.many(spec.fidelity.resource)}"
    if spec.fidelity is not None and len(levels) == 1:
        start = " " if scheduler else ", "
        word = start + text.of_resource(levels[0], spec.fidelity.resource)
    if checked.race and spec.fidelity is not None:
        word = f" on up to {text.plural(len(levels), spec.fidelity.resource)}"
    verb = "study" if checked.is_new else "continuing"
    trials = check.amount(checked)
    place = text.short_path(checked.directory)
    return f"{verb} {spec.study.name}   {trials}, {spec.search.sampler}{scheduler}{word}   {place}"


def _tell_changes(session: Session, line: output.LiveLine) -> None:
    for change in session.changes:
        line.scroll(f"  changed {change.path}: {change.old!r} -> {change.new!r}")


def _leave(
    session: Session, checked: check.Checked, signals: SignalWatch, line: output.LiveLine
) -> int:
    """Say what stays behind, wait for a second Ctrl-C; return the exit code."""
    number = signals.first or signal.SIGTERM
    fleet = session.driver.study.fleet
    jobs = sum(array.live for array in fleet.live_arrays.values())
    is_local = session.driver.backend.name == "local"
    word = "slot" if is_local else "job"
    name = checked.loaded.spec.study.name
    again_with = _again(checked, session.driver.settings.parallel if is_local else None)
    lines = ["Stopped watching. Nothing is queued or running."]
    if jobs:
        stays = "stays" if jobs == 1 else "stay"
        where = "on this machine" if is_local else "in the queue"
        alone = "itself" if jobs == 1 else "themselves"
        stay = f"{text.plural(jobs, word)} {stays} {where} and will finish by {alone};"
        lines = [f"Stopped watching. {stay}", "promotions wait for the driver."]
    lines.append(f"  continue   {again_with}")
    again = number == signal.SIGINT
    if jobs:
        more = f"          (or press Ctrl-C again within {SECOND_SECONDS:.0f} s)" if again else ""
        lines.append(f"  cancel     slurmtune stop {name}{more}")
    line.scroll("\n".join(lines))
    if jobs and signals.wait_for_second():
        _cancel(session)
        line.scroll(f"Cancelled {text.plural(jobs, word)}. Results and checkpoints stay.")
    return 128 + number


def _cancel(session: Session) -> None:
    """End all slots of the study, and see local ones off: only their backend can kill them."""
    session.driver.cancel_all()
    backend, clock = session.driver.backend, session.clock
    if backend.name != "local":
        return
    deadline = clock.now() + _LATEST_CANCEL_SECONDS
    while backend.poll() and clock.now() < deadline:
        clock.wait(0.2)


def _conclude(session: Session, reason: str, line: output.LiveLine) -> int:
    """Print how the study ended; return the exit code."""
    from slurmtune.core.overview import overview

    whole = session.driver.study
    data = overview(whole, session.driver.surroundings(session.clock.now()))
    lasted = text.duration((data["ended"] or data["time"]) - data["opened"])
    hours = summary.gpu_hours(data)
    used = f"{hours} in {lasted}" if hours else lasted
    line.scroll(f"\n{summary.end_reason(reason, data)}: {summary.counts(data)}; {used}\n")
    if data["best"] is not None:
        output.say(summary.best_text(data, session.layout))
    name = data["study"]
    folder = text.short_path(session.layout.root)
    args = "" if data["best"] is None else f"    slurmtune best {name} --args"
    output.say(f"study  {folder}      slurmtune trials {name}{args}")
    output.say(f"logs   {text.short_path(session.layout.trials)}/*/*/output.log")
    if reason == "paused" or not (whole.results.good_trials or reason == "stopped"):
        output.error(_bad_end(session, reason, data))
        return 1
    return 0


def _bad_end(session: Session, reason: str, data: study.Overview) -> str:
    """Return why the study ended badly, with the commonest causes."""
    whole = session.driver.study
    failed, without = whole.failed_trials, data["trials"]["without_result"]
    if whole.results.good_trials:
        head = f"the study was paused: {text.printable(whole.halt_text)}"
    elif without:
        trials = f"all {failed + without} trials" if failed + without > 1 else "the only trial"
        crashed = f"; {failed} of them failed" if failed else ""
        head = f"{trials} ended without a finite {whole.settings.objective.metric}{crashed}"
    elif failed:
        so = ", so the study was paused" if reason == "paused" else ""
        told = f"the only finished trial failed{so}"
        head = told if failed == 1 else f"all {failed} finished trials failed{so}"
    else:
        head = "no trial has finished"
    causes = [f"  {cause}" for cause in summary.commonest_causes(whole)]
    again = "  mend the cause; the same command goes on with the trials that are left"
    is_over = reason == "done" or whole.final_trials == len(whole.trials)
    if is_over and not whole.may_start_trials:
        again = (
            "  no trial is left: mend the cause, then start a new study (another study.name), or "
            "raise search.trials"
        )
    return "\n".join([head, *causes, again])
