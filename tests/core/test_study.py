"""The study: one fact a test, told by events."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest

from slurmtune.core.actions import (
    DropCheckpoints,
    Finish,
    Offer,
    Propose,
    StopAttempt,
    Withdraw,
)
from slurmtune.core.events import (
    ArrayIntended,
    AttemptClaimed,
    AttemptEnded,
    AttemptQueued,
    AttemptReported,
    AttemptStarted,
    CapacityChanged,
    CheckpointSaved,
    ConfigProposed,
    LimitReached,
    Limits,
    OfferWithdrawn,
    SlotEnded,
    SpaceExhausted,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.fleet import Demand
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.study import Study, StudySettings
from slurmtune.core.trial import AttemptState, Outcome, TrialState
from slurmtune.core.verdict import VerdictKind
from slurmtune.errors import TransitionError
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving


class Rig:
    """A study and somebody who answers its actions."""

    def __init__(
        self, scheduler=None, capacity=4, *, resume=True, goal=Goal.MINIMIZE, **limits: Any
    ):
        self.limits = Limits(**{"trials": 9, **limits})
        settings = StudySettings(seed=0, objective=Objective("loss", goal), resume=resume)
        self.study = Study(settings, scheduler or Asha([1, 3, 9], 3))
        self.offers: list[Offer] = []
        self.others: list[Any] = []
        self.time = 0.0
        self.seq: dict[str, int] = {}
        self.open()
        self.feed(CapacityChanged(time=0, attempts=capacity))

    def open(self):
        self.feed(StudyOpened(time=self.time, spec_sha256="x", limits=self.limits))

    def feed(self, event):
        """Answer proposals at once, keep the other actions."""
        actions = self.study.handle(event)
        for action in actions or ():
            if isinstance(action, Propose):
                self.feed(
                    ConfigProposed(
                        time=self.time, trial=action.trial, config={"x": action.trial}, origin="r"
                    )
                )
            elif isinstance(action, Offer):
                self.offers.append(action)
            else:
                self.others.append(action)
        return actions

    def offer(self, name: str) -> Offer:
        return next(o for o in self.offers if o.attempt == name)

    def start(self, name: str, start: float = 0):
        self.seq[name] = 0
        self.feed(AttemptClaimed(time=self.time, attempt=name, slot="st-1-1-1.0.0"))
        self.feed(
            AttemptStarted(
                time=self.time,
                attempt=name,
                seq=0,
                slot="st-1-1-1.0.0",
                job="7_0",
                host="n",
                start=start,
            )
        )

    def next_seq(self, name: str) -> int:
        self.seq[name] += 1
        return self.seq[name]

    def report(self, name: str, resource: float, loss: float):
        return self.feed(
            AttemptReported(
                time=self.time,
                attempt=name,
                seq=self.next_seq(name),
                resource=resource,
                metrics={"loss": loss},
            )
        )

    def save(self, name: str, resource: float):
        self.feed(
            CheckpointSaved(
                time=self.time,
                attempt=name,
                seq=self.next_seq(name),
                resource=resource,
                name=f"{resource}.{name}",
            )
        )

    def end(self, name: str, outcome=Outcome.SUCCEEDED, **more: Any):
        return self.feed(
            AttemptEnded(
                time=self.time,
                attempt=name,
                seq=self.next_seq(name),
                outcome=outcome,
                seconds=more.pop("seconds", 3600),
                **more,
            )
        )

    def run(self, name: str, loss: float):
        """Train to the rung."""
        offer = self.offer(name)
        self.start(name, offer.start)
        self.report(name, offer.end or 1, loss)
        self.save(name, offer.end or 1)
        self.end(name)

    def state(self, trial: int) -> TrialState:
        return self.study.trials[trial].state


# ------------------------------------------------------------------ offers


def test_offers_fill_the_capacity():
    rig = Rig(capacity=4)

    assert [offer.attempt for offer in rig.offers] == [f"t0000{n}.r0.a1" for n in range(4)]


def test_one_proposal_is_open_at_a_time():
    """A sampler sees every earlier config."""
    study = Study(StudySettings(seed=0, objective=Objective("loss")), Asha([1, 3], 3))
    study.handle(StudyOpened(time=0, spec_sha256="x", limits=Limits(trials=9)))

    actions = study.handle(CapacityChanged(time=0, attempts=4))

    assert actions == (Propose(trial=0),)


def test_a_promotion_continues_from_the_checkpoint():
    rig = Rig(capacity=3)
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    offer = rig.offer("t00001.r1.a1")
    assert (offer.start, offer.end, offer.checkpoint) == (1, 3, "1.t00001.r0.a1")


def test_a_promotion_without_a_checkpoint_starts_from_nothing():
    rig = Rig(capacity=3)
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        name = f"t0000{trial}.r0.a1"
        rig.start(name)
        rig.report(name, 1, loss)
        rig.end(name)

    assert rig.offer("t00001.r1.a1").start == 0
    assert rig.offer("t00001.r1.a1").checkpoint is None


def test_without_resume_each_rung_starts_from_nothing():
    rig = Rig(capacity=3, resume=False)
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    assert rig.offer("t00001.r1.a1").checkpoint is None


def test_promotions_are_claimed_before_new_configs():
    rig = Rig(capacity=3)
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    assert rig.offer("t00001.r1.a1").priority < rig.offer("t00003.r0.a1").priority


def test_the_published_asha_trace_with_one_worker():
    """algorithms: 1 worker, 9 configs, eta 3."""
    losses = {1: 5, 2: 3, 3: 8, 4: 1, 5: 9, 6: 2, 7: 7, 8: 4, 9: 6}
    rig = Rig(capacity=1)
    trace = []
    while rig.study.live:
        offer = rig.offers[-1]
        trace.append(f"c{offer.trial + 1}@{offer.rung}")
        rig.run(offer.attempt, losses[offer.trial + 1])

    assert trace == (
        [
            "c1@0",
            "c2@0",
            "c3@0",
            "c2@1",
            "c4@0",
            "c4@1",
            "c5@0",
            "c6@0",
            "c6@1",
            "c4@2",
            "c7@0",
            "c8@0",
            "c9@0",
        ]
    )
    others = [action for action in rig.others if not isinstance(action, DropCheckpoints)]
    assert others == [Finish(reason="done")]


def test_the_program_seed_is_the_same_at_every_rung():
    rig = Rig(capacity=3)
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    assert rig.offer("t00001.r0.a1").seed == rig.offer("t00001.r1.a1").seed


def test_rungs_are_offered_to_their_resource_class():
    rig = Rig(capacity=3, rung_classes=("small", "large"), gpus={"small": 1, "large": 4})
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    assert rig.offer("t00000.r0.a1").resource_class == "small"
    assert rig.offer("t00001.r1.a1").resource_class == "large"


# ------------------------------------------------------------------ facts that come twice


def test_a_second_delivery_changes_nothing():
    rig = Rig()
    name = "t00000.r0.a1"
    rig.start(name)
    event = AttemptReported(time=1, attempt=name, seq=1, resource=1, metrics={"loss": 2.0})

    assert rig.study.handle(event) == ()
    assert rig.study.handle(event) is None


def test_records_of_an_ended_attempt_change_nothing():
    rig = Rig()
    name = "t00000.r0.a1"
    rig.run(name, 1.0)

    late = AttemptReported(time=9, attempt=name, seq=99, resource=1, metrics={"loss": 0.0})
    assert rig.study.handle(late) is None
    assert rig.study.trials[0].values == {0: 1.0}


def test_a_claim_and_a_queue_notice_are_taken_once():
    rig = Rig()
    name = "t00000.r0.a1"
    claim = AttemptClaimed(time=0, attempt=name, slot="st-1-1-1.0.0")

    assert rig.study.handle(AttemptQueued(time=0, attempt=name)) == ()
    assert rig.study.handle(AttemptQueued(time=0, attempt=name)) is None
    assert rig.study.handle(claim) == ()
    assert rig.study.handle(claim) is None
    assert rig.study.handle(AttemptQueued(time=0, attempt=name)) is None


def test_an_attempt_that_nobody_decided_raises():
    with pytest.raises(TransitionError, match="not known"):
        Rig().study.handle(AttemptQueued(time=0, attempt="t00099.r0.a1"))


def test_a_config_that_nobody_asked_for_raises():
    with pytest.raises(TransitionError, match="nobody asked"):
        Rig().study.handle(ConfigProposed(time=0, trial=77, config={}, origin="r"))


def test_a_config_that_came_before_changes_nothing():
    assert Rig().study.handle(ConfigProposed(time=0, trial=0, config={}, origin="r")) is None


# ------------------------------------------------------------------ results


def test_the_value_at_the_smallest_resource_of_the_rung_counts():
    rig = Rig(SingleRung(3))
    name = "t00000.r0.a1"
    rig.start(name)
    for resource, loss in [(2, 9.0), (3, 5.0), (4, 1.0)]:
        rig.report(name, resource, loss)
    rig.end(name)

    assert rig.study.trials[0].values == {0: 5.0}


def test_the_last_report_counts_when_the_rung_was_never_named():
    """A program that counts otherwise, but ended well."""
    rig = Rig(SingleRung(27))
    name = "t00000.r0.a1"
    rig.start(name)
    rig.report(name, 1, 9.0)
    rig.report(name, 2, 4.0)
    rig.end(name)

    assert rig.study.trials[0].values == {0: 4.0}
    assert rig.state(0) is TrialState.COMPLETED


def test_nan_ranks_last_and_is_never_promoted():
    rig = Rig(capacity=4, trials=4)
    for trial, loss in enumerate([1.0, 2.0, math.nan, 3.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    assert [offer.attempt for offer in rig.offers[4:]] == ["t00000.r1.a1"]
    assert rig.study.results.best_loss == 1.0


def test_the_largest_value_is_best_when_maximised():
    rig = Rig(capacity=3, goal=Goal.MAXIMIZE)
    for trial, value in enumerate([0.5, 0.9, 0.1]):
        rig.run(f"t0000{trial}.r0.a1", value)

    assert rig.offer("t00001.r1.a1").rung == 1


def test_finished_rungs_reach_the_history_of_samplers():
    rig = Rig(capacity=1)
    rig.run("t00000.r0.a1", 5.0)

    (seen,) = rig.study.results.history.observations
    assert (seen.trial, seen.rung, seen.resource, seen.loss) == (0, 0, 1, 5.0)
    assert rig.study.results.history.configs[0] == {"x": 0}


# ------------------------------------------------------------------ failures


def test_a_preempted_attempt_is_repeated_from_its_newest_checkpoint():
    rig = Rig(SingleRung(9), capacity=1)
    name = "t00000.r0.a1"
    rig.start(name)
    rig.report(name, 4, 1.0)
    rig.save(name, 4)
    rig.end(name, Outcome.PREEMPTED)

    offer = rig.offer("t00000.r0.a2")
    assert (offer.start, offer.checkpoint) == (4, "4.t00000.r0.a1")
    assert rig.state(0) is TrialState.WAITING


def test_a_result_at_the_rung_survives_a_lost_slot():
    rig = Rig(SingleRung(9), capacity=1)
    name = "t00000.r0.a1"
    rig.start(name)
    rig.report(name, 9, 1.0)
    rig.end(name, Outcome.NODE_FAILED)

    assert rig.study.trials[0].values == {0: 1.0}


def test_a_crash_is_not_repeated_by_default():
    rig = Rig(capacity=1)
    rig.start("t00000.r0.a1")
    rig.end("t00000.r0.a1", Outcome.FAILED, exit_code=1)

    assert rig.state(0) is TrialState.FAILED
    assert rig.study.trials[0].values == {0: None}


def test_crashes_are_repeated_as_often_as_wanted():
    rig = Rig(capacity=1, retry_crash=1)
    for number in (1, 2):
        rig.start(f"t00000.r0.a{number}")
        rig.end(f"t00000.r0.a{number}", Outcome.FAILED, exit_code=1)

    assert rig.state(0) is TrialState.FAILED
    assert len(rig.study.trials[0].attempts) == 2


def test_a_timeout_is_repeated_with_a_longer_limit():
    rig = Rig(SingleRung(9), capacity=1, retry_timeout=1)
    rig.start("t00000.r0.a1")
    rig.save("t00000.r0.a1", 7)
    rig.end("t00000.r0.a1", Outcome.TIMEOUT)

    assert rig.offer("t00000.r0.a2").resource_class == "c0.t1m0"
    assert rig.offer("t00000.r0.a2").start == 7


def test_timeouts_with_progress_go_on_for_ever_and_one_without_is_the_last():
    rig = Rig(SingleRung(9), capacity=1, retry_timeout=1)
    for number, saved in ((1, 1), (2, 2), (3, 4), (4, 6)):
        name = f"t00000.r0.a{number}"
        rig.start(name, rig.offer(name).start)
        rig.save(name, saved)
        rig.end(name, Outcome.TIMEOUT)
    assert rig.offer("t00000.r0.a5").resource_class == "c0.t1m0"
    rig.start("t00000.r0.a5", 6)
    rig.end("t00000.r0.a5", Outcome.TIMEOUT)

    assert rig.state(0) is TrialState.FAILED


def test_too_little_memory_is_repeated_with_more():
    rig = Rig(capacity=1, retry_out_of_memory=2)
    for number in (1, 2, 3):
        rig.start(f"t00000.r0.a{number}")
        rig.end(f"t00000.r0.a{number}", Outcome.OUT_OF_MEMORY)

    assert rig.offer("t00000.r0.a3").resource_class == "c0.t0m2"
    assert rig.state(0) is TrialState.FAILED


def test_more_memory_is_kept_at_higher_rungs_and_a_longer_limit_is_not():
    rig = Rig(capacity=3)
    rig.start("t00000.r0.a1")
    rig.end("t00000.r0.a1", Outcome.OUT_OF_MEMORY)
    rig.start("t00000.r0.a2")
    rig.end("t00000.r0.a2", Outcome.TIMEOUT)
    assert rig.offer("t00000.r0.a3").resource_class == "c0.t1m1"
    rig.run("t00000.r0.a3", 1.0)
    for trial in (1, 2):
        rig.run(f"t0000{trial}.r0.a1", 5.0)

    assert rig.offer("t00000.r1.a1").resource_class == "c0.t0m1"


def test_gpus_of_a_grown_class_are_those_of_its_base():
    rig = Rig(capacity=1, gpus={"c0": 2})
    rig.start("t00000.r0.a1")
    rig.end("t00000.r0.a1", Outcome.OUT_OF_MEMORY, seconds=3600)
    rig.run("t00000.r0.a2", 1.0)

    assert rig.study.used_gpu_hours() == 4.0
    assert rig.study.wasted_gpu_seconds == 7200.0


def test_offers_of_a_class_that_the_spec_lost_are_made_anew():
    rig = Rig(capacity=1)
    rig.limits = Limits(trials=9, rung_classes=("c9",))

    rig.open()
    assert rig.others == [Withdraw(attempt="t00000.r0.a1")]
    rig.feed(OfferWithdrawn(time=0, attempt="t00000.r0.a1"))

    assert rig.offer("t00000.r0.a2").resource_class == "c9"


def test_a_node_that_fails_twice_is_left_out_for_a_day():
    rig = Rig(capacity=1)
    rig.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=4))
    for index, node in enumerate(["n3", "n1", "n3"]):
        rig.feed(
            SlotEnded(
                time=100.0, token="st-1-1-1", index=index, outcome=Outcome.NODE_FAILED, node=node
            )
        )

    assert rig.study.excluded_nodes(200.0) == ("n3",)
    assert rig.study.excluded_nodes(100.0 + 24 * 3600) == ()


def test_a_node_that_failed_under_a_slot_that_slurm_requeued_counts():
    """Such a slot does not end, so the end of its attempt tells of the node."""
    rig = Rig(capacity=1, retry_node_fail=5)
    rig.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=1))
    rig.open()
    for name in ("t00000.r0.a1", "t00000.r0.a2"):
        rig.start(name)
        rig.feed(
            AttemptEnded(
                time=1.0, attempt=name, seq=None, outcome=Outcome.NODE_FAILED, seconds=1.0
            )
        )

    assert rig.study.excluded_nodes(2.0) == ("n",)


def test_slots_that_could_not_begin_count_against_a_node_until_the_next_launch():
    """The user may have mended the spec: then no node was to blame."""
    rig = Rig(capacity=1)
    rig.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=2))
    for index in range(2):
        rig.feed(
            SlotEnded(time=1.0, token="st-1-1-1", index=index, outcome=Outcome.FAILED, node="n3")
        )
    assert rig.study.excluded_nodes(2.0) == ("n3",)

    rig.open()

    assert rig.study.excluded_nodes(2.0) == ()


def test_an_attempt_whose_slot_is_gone_needs_no_slot():
    """Its last records are waited for; a slot submitted meanwhile would find nothing to do."""
    rig = Rig(capacity=1)
    rig.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=1))
    rig.open()
    rig.start("t00000.r0.a1")
    assert rig.study.demand() == {"c0": Demand(0, 1)}

    rig.feed(SlotEnded(time=1.0, token="st-1-1-1", index=0, outcome=Outcome.NODE_FAILED))

    assert rig.study.demand() == {"c0": Demand(0, 0)}


@pytest.mark.parametrize(("bad_node", "excluded"), [(0, ()), (1, ("n1", "n3")), (3, ())])
def test_how_many_failures_exclude_a_node_is_up_to_the_spec(bad_node, excluded):
    rig = Rig(capacity=1, retry_bad_node=bad_node)
    rig.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=4))
    for index, node in enumerate(["n3", "n1", "n3"]):
        rig.feed(
            SlotEnded(
                time=1.0, token="st-1-1-1", index=index, outcome=Outcome.NODE_FAILED, node=node
            )
        )

    assert rig.study.excluded_nodes(2.0) == excluded


def test_a_slot_that_served_and_then_failed_says_nothing_of_its_node():
    rig = Rig(capacity=1)
    rig.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=2))
    rig.start("t00000.r0.a1")
    for _ in range(2):
        rig.feed(SlotEnded(time=1.0, token="st-1-1-1", index=0, outcome=Outcome.FAILED, node="n3"))

    assert rig.study.excluded_nodes(2.0) == ()


def test_three_failures_before_any_success_pause_the_study():
    rig = Rig(capacity=3)
    for trial in range(3):
        rig.start(f"t0000{trial}.r0.a1")
    for trial in range(3):
        rig.end(f"t0000{trial}.r0.a1", Outcome.FAILED, exit_code=1, cause="no module torch")

    assert rig.study.halt == "paused"
    assert rig.study.halt_text == "3 of 3 trials failed: no module torch"


def test_a_program_that_reports_nothing_pauses_the_study_at_once():
    rig = Rig(capacity=1)
    rig.start("t00000.r0.a1")
    rig.end("t00000.r0.a1", Outcome.FAILED, exit_code=0, cause="reported no 'loss'")

    assert rig.study.halt_text == "reported no 'loss'"
    assert rig.others == [Finish(reason="paused")]


def test_a_program_that_gives_up_is_no_error():
    rig = Rig(capacity=1, trials=9, retry_crash=5, max_failed_trials=1)
    for trial in range(5):
        rig.start(f"t0000{trial}.r0.a1")
        rig.end(
            f"t0000{trial}.r0.a1",
            Outcome.FAILED,
            exit_code=0,
            cause="infeasible config",
            gave_up=True,
        )

    assert rig.study.halt == ""
    assert rig.study.failed_trials == 0
    assert rig.state(0) is TrialState.FAILED
    assert len(rig.study.trials[0].attempts) == 1
    assert rig.study.recent_failures == []


def test_too_many_failures_pause_the_study():
    rig = Rig(capacity=1, max_failed_trials=1)
    rig.run("t00000.r0.a1", 1.0)
    for trial in (1, 2):
        rig.start(f"t0000{trial}.r0.a1")
        rig.end(f"t0000{trial}.r0.a1", Outcome.FAILED, exit_code=1)

    assert "retry.max_failed allows 1" in rig.study.halt_text


def test_a_paused_study_takes_its_offers_back_and_goes_on_when_opened():
    rig = Rig(capacity=3)
    for trial in range(3):
        rig.start(f"t0000{trial}.r0.a1")
    rig.end("t00000.r0.a1", Outcome.FAILED, exit_code=0)
    assert rig.others == [Withdraw(attempt="t00003.r0.a1")] or rig.others == []
    for trial in (1, 2):
        rig.report(f"t0000{trial}.r0.a1", 1, 1.0)
        rig.end(f"t0000{trial}.r0.a1")

    assert rig.others[-1] == Finish(reason="paused")
    rig.open()
    assert rig.study.halt == ""
    assert len(rig.study.live) == 3


# ------------------------------------------------------------------ stopping


def test_stop_withdraws_offers_and_stops_what_runs():
    rig = Rig(capacity=2)
    rig.start("t00000.r0.a1")

    actions = rig.feed(StopRequested(time=0, trial=None))

    assert actions == (Withdraw(attempt="t00001.r0.a1"), StopAttempt(attempt="t00000.r0.a1"))


def test_a_stopped_study_continues_where_it_was():
    rig = Rig(SingleRung(9), capacity=1)
    rig.start("t00000.r0.a1")
    rig.save("t00000.r0.a1", 4)
    rig.feed(StopRequested(time=0, trial=None))
    rig.end("t00000.r0.a1", Outcome.PREEMPTED)
    assert rig.others[-1] == Finish(reason="stopped")

    rig.open()

    assert rig.offers[-1].attempt == "t00000.r0.a2"
    assert rig.offers[-1].start == 4


def test_one_trial_can_be_stopped():
    rig = Rig(capacity=2)
    rig.start("t00000.r0.a1")

    assert rig.feed(StopRequested(time=0, trial=0)) == (StopAttempt(attempt="t00000.r0.a1"),)
    rig.end("t00000.r0.a1", Outcome.CANCELLED)
    assert rig.state(0) is TrialState.STOPPED
    assert rig.feed(StopRequested(time=0, trial=0)) is None


def test_a_stopped_offer_is_withdrawn_and_never_repeated():
    rig = Rig(capacity=1, trials=1)
    rig.feed(StopRequested(time=0, trial=0))
    rig.feed(OfferWithdrawn(time=0, attempt="t00000.r0.a1"))

    assert rig.state(0) is TrialState.STOPPED
    assert rig.others[-1] == Finish(reason="done")


def test_a_claim_that_beats_a_withdrawal_is_told_to_stop():
    rig = Rig(capacity=1)
    rig.feed(StopRequested(time=0, trial=None))

    actions = rig.feed(AttemptClaimed(time=0, attempt="t00000.r0.a1", slot="st-1-1-1.0.0"))

    assert actions == (StopAttempt(attempt="t00000.r0.a1"),)


def test_a_trial_that_does_not_exist_cannot_be_stopped():
    with pytest.raises(TransitionError, match="t00077 does not exist"):
        Rig().study.handle(StopRequested(time=0, trial=77))


def test_a_stopped_trial_does_not_hold_up_a_synchronous_stage():
    rig = Rig(SuccessiveHalving([1, 3], 3, 3), capacity=3, trials=3)
    rig.run("t00000.r0.a1", 1.0)
    rig.run("t00001.r0.a1", 2.0)
    rig.start("t00002.r0.a1")
    rig.feed(StopRequested(time=0, trial=2))
    rig.end("t00002.r0.a1", Outcome.CANCELLED)

    assert rig.offers[-1].attempt == "t00000.r1.a1"


def test_a_stop_by_the_user_is_judged_at_the_rung_that_the_trial_is_on_its_way_to():
    rig = Rig(AshaStopping([1, 3, 9], 3), capacity=1)
    rig.start("t00000.r2.a1")
    rig.report("t00000.r2.a1", 1, 1.0)
    rig.feed(StopRequested(time=0, trial=0))

    assert [(verdict.kind, verdict.rung) for verdict in rig.study.verdicts] == [
        (VerdictKind.STOPPED, 1)
    ]


# ------------------------------------------------------------------ limits


def test_gpu_hours_end_the_study():
    rig = Rig(capacity=1, gpu_hours=2.5, gpus={"c0": 1})
    for trial in range(3):
        rig.run(f"t0000{trial}.r0.a1", 1.0)

    assert rig.others == [Finish(reason="gpu_hours")]
    assert rig.study.used_gpu_hours() == 3.0


def test_a_completed_trial_at_the_target_ends_the_study():
    rig = Rig(SingleRung(1), capacity=1, target_loss=0.5)
    rig.run("t00000.r0.a1", 0.6)
    rig.run("t00001.r0.a1", 0.5)

    assert rig.others == [Finish(reason="target")]


def test_no_better_best_for_long_enough_ends_the_study():
    rig = Rig(SingleRung(1), capacity=1, stall_trials=2)
    for trial, loss in enumerate([1.0, 2.0, 2.0]):
        rig.run(f"t0000{trial}.r0.a1", loss)

    assert rig.others == [Finish(reason="stall")]


REACHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gpu_hours": ({"gpu_hours": 2.0, "gpus": {"c0": 1}}, {"gpu_hours": 9.0}),
    "target": ({"target_loss": 0.5}, {"target_loss": 0.1}),
    "stall": ({"stall_trials": 1}, {"stall_trials": 9}),
}


@pytest.mark.parametrize("limit", REACHED)
def test_a_limit_that_is_reached_holds_when_the_study_is_opened_again(limit):
    rig = Rig(SingleRung(1), capacity=1, **REACHED[limit][0])
    rig.run("t00000.r0.a1", 0.5)
    if limit != "target":
        rig.run("t00001.r0.a1", 0.9)
    begun = len(rig.offers)
    rig.open()

    assert rig.others == [Finish(reason=limit)] * 2
    assert len(rig.offers) == begun


@pytest.mark.parametrize("limit", REACHED)
def test_a_study_goes_on_when_the_limit_that_it_reached_is_raised(limit):
    rig = Rig(SingleRung(1), capacity=1, **REACHED[limit][0])
    rig.run("t00000.r0.a1", 0.5)
    if limit != "target":
        rig.run("t00001.r0.a1", 0.9)
    begun = len(rig.offers)
    rig.limits = dataclasses.replace(rig.limits, **REACHED[limit][1])
    rig.open()

    assert len(rig.offers) == begun + 1


def test_wall_time_lets_running_attempts_reach_their_rung():
    rig = Rig(capacity=2)
    rig.start("t00000.r0.a1")
    rig.feed(LimitReached(time=0, limit="wall_time"))
    rig.feed(OfferWithdrawn(time=0, attempt="t00001.r0.a1"))
    rig.report("t00000.r0.a1", 1, 1.0)
    rig.end("t00000.r0.a1")

    assert rig.others[-1] == Finish(reason="wall_time")
    assert rig.study.trials[0].values == {0: 1.0}


def test_an_exhausted_space_ends_the_study_with_what_was_proposed():
    study = Study(StudySettings(seed=0, objective=Objective("loss")), SingleRung(1))
    study.handle(StudyOpened(time=0, spec_sha256="x", limits=Limits(trials=9)))
    study.handle(CapacityChanged(time=0, attempts=4))

    actions = study.handle(SpaceExhausted(time=0, trial=0))

    assert actions == (Finish(reason="done"),)


def test_more_trials_at_the_next_launch_go_on():
    rig = Rig(SingleRung(1), capacity=1, trials=1)
    rig.run("t00000.r0.a1", 1.0)
    assert rig.others == [Finish(reason="done")]
    rig.limits = Limits(trials=2)

    rig.open()

    assert rig.offers[-1].attempt == "t00001.r0.a1"


# ------------------------------------------------------------------ the stopping variant


def test_a_trial_runs_through_its_rungs_until_it_is_stopped():
    rig = Rig(AshaStopping([1, 3, 9], 3), capacity=2)
    assert rig.offers[0].end == 9
    for trial in (0, 1):
        rig.start(f"t0000{trial}.r2.a1")
    rig.report("t00000.r2.a1", 1, 1.0)

    assert rig.report("t00001.r2.a1", 1, 2.0) == (StopAttempt(attempt="t00001.r2.a1"),)
    rig.end("t00001.r2.a1", Outcome.CANCELLED)
    assert rig.state(1) is TrialState.STOPPED
    assert rig.study.trials[1].values == {0: 2.0}


def test_a_survivor_completes_at_the_last_rung():
    rig = Rig(AshaStopping([1, 3, 9], 3), capacity=1, trials=1)
    name = "t00000.r2.a1"
    rig.start(name)
    for resource in range(1, 10):
        rig.report(name, resource, 1.0 / resource)
    rig.end(name)

    assert rig.state(0) is TrialState.COMPLETED
    assert rig.study.trials[0].values == {0: 1.0, 1: 1 / 3, 2: 1 / 9}


def test_a_first_report_beyond_several_rungs_is_the_result_of_each_and_stands():
    """Reported are 5, 6 and 9 only: what comes at 6 is no late result of rung 0."""
    rig = Rig(AshaStopping([1, 3, 9], 3), capacity=1, trials=1)
    name = "t00000.r2.a1"
    rig.start(name)
    for resource, loss in ((5, 5.0), (6, 1.0), (9, 2.0)):
        rig.report(name, resource, loss)
    rig.end(name)

    assert rig.study.trials[0].values == {0: 5.0, 1: 5.0, 2: 2.0}
    assert [dict(rig.study.scheduler.compared(0, rung)) for rung in range(3)] == [
        {0: 5.0},
        {0: 5.0},
        {0: 2.0},
    ]


# ------------------------------------------------------------------ a new driver


def test_open_actions_name_everything_that_is_not_recorded():
    rig = Rig(capacity=2)
    rig.start("t00000.r0.a1")
    rig.feed(StopRequested(time=0, trial=None))

    assert rig.study.open_actions() == [
        StopAttempt(attempt="t00000.r0.a1"),
        Withdraw(attempt="t00001.r0.a1"),
    ]


def test_an_unanswered_proposal_is_asked_for_again():
    study = Study(StudySettings(seed=0, objective=Objective("loss")), SingleRung(1))
    study.handle(StudyOpened(time=0, spec_sha256="x", limits=Limits(trials=9)))
    study.handle(CapacityChanged(time=0, attempts=1))

    assert study.open_actions() == [Propose(trial=0)]


class CountsOn(SingleRung):
    """Writes down how many trials it was told there will be at most."""

    def __init__(self) -> None:
        super().__init__(1)
        self.trials: list[int] = []

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        self.trials.append(trials)
        return super().spare(trials)


def test_a_config_that_is_being_drawn_counts_although_the_limit_was_lowered():
    """Its trial will come: with fewer, the state of one that is yet promoted would be spare."""
    scheduler = CountsOn()
    study = Study(StudySettings(seed=0, objective=Objective("loss")), scheduler)
    study.handle(StudyOpened(time=0, spec_sha256="x", limits=Limits(trials=9)))
    study.handle(CapacityChanged(time=0, attempts=1))
    study.handle(StudyOpened(time=0, spec_sha256="x", limits=Limits(trials=0)))

    assert scheduler.trials[-1] == 1


def test_an_unclaimed_offer_is_published_again():
    rig = Rig(capacity=1)

    assert rig.study.open_actions() == [rig.offers[0]]
    assert rig.study.attempt("t00000.r0.a1").state is AttemptState.SUBMITTED
