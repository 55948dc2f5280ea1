"""Projects that AWS would refuse, and schedules as EventBridge writes them."""

from typing import Any

import pytest

from servey import ConfigError, CronTrigger, action
from servey.sls.schedules import expression_of

WRONG = {
    "action 'a' (actions.py:5): FixedRateTrigger(90) cannot be deployed: EventBridge supports whole minutes only; "
    "use 120 seconds": "@action(triggers=FixedRateTrigger(90))\ndef a() -> None: ...",
    "action 'a' (actions.py:5): FixedRateTrigger(30) cannot be deployed: EventBridge supports whole minutes only; "
    "use 60 seconds": "@action(triggers=FixedRateTrigger(30))\ndef a() -> None: ...",
    "action 'a' (actions.py:5): CronTrigger(expression='0 8 * * *', timezone='Europe/Berlin') cannot be deployed: "
    "EventBridge rules are in UTC; write the hours in UTC":
        "@action(triggers=CronTrigger('0 8 * * *', 'Europe/Berlin'))\ndef a() -> None: ...",
    "action 'a' (actions.py:5): CronTrigger(expression='0 8 1 * 1', timezone='UTC') cannot be deployed: "
    "EventBridge supports a day of the month or a day of the week, not both":
        "@action(triggers=CronTrigger('0 8 1 * 1'))\ndef a() -> None: ...",
    "channel 'late': delay is 901 s; the maximum of SQS is 900 s (15 minutes); "
    "use a shorter delay or a schedule":
        "@action\ndef a(n: int) -> None: ...\n\n\nchannel = background_action_channel(a, 901, 'late')",
    "action 'a' (actions.py:5): timeout is 900 s; the maximum of Lambda is 900 s (15 minutes)":
        "@action(triggers=FixedRateTrigger(60), timeout=900)\ndef a() -> None: ...",
    "action 'a' (actions.py:5): timeout is 1000 s; the maximum of Lambda is 900 s (15 minutes)":
        "@action(retry=Retry(), timeout=1000)\ndef a() -> None: ...",
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_it_refuses_what_aws_would_refuse(project, said):
    head = "\nfrom servey import CronTrigger, FixedRateTrigger, Retry, action, background_action_channel\n\n\n"
    run = project({"actions.py": head + WRONG[said] + "\n", "event_channels.py": "from actions import *  # noqa\n"})
    assert run("sls") == (1, "", f"error: {said}\n")
    assert not (project.folder / "serverless.yml").exists()


def test_too_many_functions_are_refused(project):
    each = "\n\n@action(triggers=WEB_GET)\ndef action_{0}() -> int:\n    return {0}\n"
    text = "from servey import WEB_GET, action\n" + "".join(each.format(number) for number in range(90))
    code, _, said = project({"actions.py": text})("sls", SERVEY_AWS_ROUTER_FOR_ALL="0")
    assert code == 1
    assert "91 functions need about 546 resources; CloudFormation allows 500" in said


def test_a_long_name_is_refused(project):
    name = "a" * 60
    run = project({"actions.py": f"from servey import action\n\n\n@action\ndef {name}() -> None: ...\n"})
    code, _, said = run("sls", SERVEY_AWS_ROUTER_FOR_ALL="0")
    assert code == 1
    assert "has 72 characters, the maximum is 64; shorten the service or the action" in said
    assert run("sls")[0] == 0


@pytest.mark.parametrize(
    ("cron", "expression"),
    [
        ("* * * * *", "cron(* * * * ? *)"),
        ("0 0 1 1 *", "cron(0 0 1 1 ? *)"),
        ("30 4 * * 0", "cron(30 4 ? * SUN *)"),
        ("30 4 * * 7", "cron(30 4 ? * SUN *)"),
        ("30 4 * * 5-7", "cron(30 4 ? * SUN,FRI,SAT *)"),
        ("10-20/5 */6 * jan,mar sun-tue", "cron(10,15,20 0,6,12,18 ? 1,3 SUN,MON,TUE *)"),
        ("50/5 0 */10 * *", "cron(50,55 0 1,11,21,31 * ? *)"),
    ],
)
def test_a_cron_expression_becomes_eventbridges(cron, expression):
    assert expression_of(_nothing(), CronTrigger(cron)) == expression


@pytest.mark.parametrize("cron", ["61 * * * *", "* * * * 8", "x * * * *", "5-1 * * * *", "*/0 * * * *", "* * 0 * *"])
def test_a_cron_expression_that_is_none_is_refused(cron):
    with pytest.raises(ConfigError, match="cannot be deployed"):
        expression_of(_nothing(), CronTrigger(cron))


def _nothing() -> Any:
    @action
    def nothing() -> None: ...

    return nothing.servey_action
