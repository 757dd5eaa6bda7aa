"""Every scheduler drives a whole study on local processes, also when its driver is killed on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slurmtune.testing.live_study import LiveStudy
from slurmtune.testing.scheduler_studies import STUDIES, check_done

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., LiveStudy]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_done_although_its_first_driver_was_killed(
    make_study: MakeStudy, name: str
) -> None:
    """The second driver goes on from the journal: no attempt is lost or run twice."""
    live = make_study(STUDIES[name].spec, programs=STUDIES[name].programs)
    first = live.launch("--local=3")
    live.wait_until(lambda: len(live.starts) >= 3, what="three attempts have started")
    first.kill()

    done = live.run("--local=3", "--takeover", seconds=90)

    assert done.code == 0, done.text
    check_done(live, name)
