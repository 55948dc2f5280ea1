"""When schedules are due: arithmetic, without a clock."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servey import ConfigError, Context, CronTrigger, FixedRateTrigger, Settings, action, create_app
from servey.core.access import Authorization
from servey.jobs.schedule import slot_after

BERLIN = ZoneInfo("Europe/Berlin")


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def walls(trigger, begin: datetime, count: int) -> list[str]:
    """What a clock on the wall shows at the next slots."""
    moment, shown = ms(begin), []
    for _ in range(count):
        moment = slot_after(trigger, moment)
        shown.append(f"{datetime.fromtimestamp(moment / 1000, UTC).astimezone(ZoneInfo(trigger.timezone)):%d %H:%M %z}")
    return shown


@given(st.integers(0, 2**42), st.sampled_from([0.5, 1, 7, 90, 0.7, 3600.25]))
def test_a_fixed_rate_is_aligned_to_1970(moment, interval):
    slot = slot_after(FixedRateTrigger(interval), moment)
    assert slot % round(interval * 1000) == 0
    assert 0 < slot - moment <= round(interval * 1000)


def test_an_interval_may_be_a_timedelta():
    assert FixedRateTrigger(timedelta(minutes=2)) == FixedRateTrigger(120)


@pytest.mark.parametrize("interval", [0, 0.4, -1, float("inf"), float("nan"), True, "5", timedelta(0)])
def test_an_interval_that_can_not_be(interval):
    with pytest.raises(ConfigError, match=r"use 0\.5 seconds or more"):
        FixedRateTrigger(interval)


def test_a_moment_is_never_its_own_next_slot():
    trigger = CronTrigger("0 12 * * *")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert slot_after(trigger, ms(noon)) == ms(noon + timedelta(days=1))
    assert slot_after(trigger, ms(noon) - 1) == ms(noon)


def test_a_cron_keeps_to_the_wall_over_the_change_to_summer_time():
    assert walls(CronTrigger("30 1 * * *", "Europe/Berlin"), datetime(2026, 3, 28, tzinfo=BERLIN), 3) == [
        "28 01:30 +0100",
        "29 01:30 +0100",
        "30 01:30 +0200",
    ]


def test_what_stands_in_the_hour_that_is_skipped_happens_right_after_it():
    assert walls(CronTrigger("30 2 * * *", "Europe/Berlin"), datetime(2026, 3, 28, tzinfo=BERLIN), 3) == [
        "28 02:30 +0100",
        "29 03:00 +0200",
        "30 02:30 +0200",
    ]


def test_what_stands_in_the_hour_that_comes_twice_happens_once():
    assert walls(CronTrigger("30 2 * * *", "Europe/Berlin"), datetime(2026, 10, 24, 12, tzinfo=BERLIN), 2) == [
        "25 02:30 +0200",
        "26 02:30 +0100",
    ]


def test_every_half_hour_goes_on_through_the_hour_that_comes_twice():
    moments = [slot_after(CronTrigger("*/30 * * * *", "Europe/Berlin"), ms(datetime(2026, 10, 25, tzinfo=BERLIN)))]
    for _ in range(11):
        moments.append(slot_after(CronTrigger("*/30 * * * *", "Europe/Berlin"), moments[-1]))
    assert {later - earlier for earlier, later in pairwise(moments)} == {1_800_000}


@pytest.mark.parametrize(
    ("expression", "zone", "problem"),
    [
        ("* * * *", "UTC", "use five fields"),
        ("0 0 * * *", "Mars/Olympus", "unknown time zone 'Mars/Olympus'"),
    ],
)
def test_a_cron_that_can_not_be(expression, zone, problem):
    with pytest.raises(ConfigError, match=problem):
        CronTrigger(expression, zone)


@action(triggers=CronTrigger("61 * * * *"))
def at_no_minute() -> None: ...


@action(triggers=CronTrigger("0 0 30 2 *"))
def at_no_day() -> None: ...


@action(triggers=FixedRateTrigger(1))
def wants_something(what: int) -> None: ...


@action(triggers=FixedRateTrigger(1))
def wants_somebody(authorization: Authorization) -> None: ...


@action(triggers=(FixedRateTrigger(1), CronTrigger("*/5 * * * *", "Europe/Berlin")))
def fine(context: Context, authorization: Authorization | None, what: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (at_no_minute, "is never due"),
        (at_no_day, "is never due"),
        (wants_something, "parameter 'what' is called by a schedule, which passes no parameters; add a default"),
        (wants_somebody, "a schedule, which has no authorization"),
    ],
)
def test_a_schedule_that_can_not_be_stops_the_start(act, problem):
    with pytest.raises(ConfigError) as caught:
        create_app(actions=[act, fine], settings=Settings(env="dev"))
    assert problem in str(caught.value)
    assert "tests/jobs/test_schedule.py:" in str(caught.value)
