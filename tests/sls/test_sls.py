"""`servey sls`: generated files, kept files, refused projects."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from servey import ConfigError, CronTrigger, action
from servey.sls import yaml as our_yaml
from servey.sls.schedules import expression_of
from servey.sls.stack import gateway_path
from tests.serving import CommandLine
from tests.sls.projects import EXAMPLES, FULL, GENERATED, HELLO, SITE, sixty_actions

FOLDER = "serverless_servey"


@pytest.fixture(scope="module")
def processes():
    processes = CommandLine()
    yield processes
    processes.close()


@pytest.fixture
def project(tmp_path, processes):
    """Makes a project of files, and runs commands in it."""
    folder = tmp_path / "my shop"

    def make(files: dict[str, str]) -> Any:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return lambda *words, **env: processes.run(*words, cwd=folder, PYTHONDONTWRITEBYTECODE="1", **env)

    make.folder = folder
    return make


def written(folder: Path) -> dict[str, str]:
    names = ["serverless.yml", *(f"{FOLDER}/{path.name}" for path in (folder / FOLDER).iterdir())]
    return {name: (folder / name).read_text(encoding="utf-8") for name in sorted(names)}


def loaded(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


def statements(folder: Path) -> list[dict[str, Any]]:
    role = loaded(folder, "resources")["Resources"]["ServeyRole"]["Properties"]
    return [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]


def test_an_app_without_anything_needs_nothing(project):
    run = project(HELLO)
    assert run("sls") == (0, "", "wrote serverless.yml\n" + "".join(
        f"wrote {FOLDER}/{name}.yml\n" for name in ("environment", "functions", "resources")
    ))  # fmt: skip
    folder = project.folder
    main = yaml.safe_load((folder / "serverless.yml").read_text(encoding="utf-8"))
    assert main["service"] == "my-shop"
    assert main["provider"]["environment"] == "${file(serverless_servey/environment.yml)}"
    assert loaded(folder, "environment") == {"SERVEY_ENV": "prod"}
    assert list(loaded(folder, "resources")["Resources"]) == ["ServeyRole"]
    assert loaded(folder, "functions") == {
        "servey": {
            "handler": "servey.aws.handler",
            "timeout": 29,
            "role": "ServeyRole",
            "events": [{"httpApi": "*"}],
        }
    }
    assert [each["Action"] for each in statements(folder)] == [["logs:CreateLogStream", "logs:PutLogEvents"]]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("router", ["1", "0"])
def test_it_writes_the_same_again(project, name, router):
    run = project(EXAMPLES[name])
    run("sls", SERVEY_AWS_ROUTER_FOR_ALL=router)
    first = written(project.folder)
    assert run("sls", SERVEY_AWS_ROUTER_FOR_ALL=router) == (0, "", "")
    assert run("sls", "--check", SERVEY_AWS_ROUTER_FOR_ALL=router) == (0, "", "")
    assert written(project.folder) == first


def test_everything_that_is_declared_is_there(project):
    run = project(FULL)
    assert run("sls")[0] == 0
    folder = project.folder
    resources = loaded(folder, "resources")["Resources"]
    assert list(resources) == [
        "ServeyDeadJobs",
        "ServeyJobs",
        "ServeyKey",
        "ServeyKeyAlias",
        "ServeyRole",
        "ServeyTable",
    ]
    (function,) = loaded(folder, "functions").values()
    assert function["timeout"] == 61
    jobs = resources["ServeyJobs"]["Properties"]
    assert jobs["VisibilityTimeout"] == 6 * 61
    assert jobs["RedrivePolicy"]["maxReceiveCount"] == 10
    kinds = [next(iter(event)) for event in function["events"]]
    assert kinds == ["httpApi", "websocket", "websocket", "websocket", "sqs", "schedule", "schedule"]
    rates = [event["schedule"]["rate"] for event in function["events"] if "schedule" in event]
    assert rates == [["rate(2 minutes)"], ["cron(0,15,30,45 6,7,8 ? * MON,TUE,WED,THU,FRI *)"]]
    template = function["events"][5]["schedule"]["inputTransformer"]["inputTemplate"]
    assert json.loads(template.replace("<time>", '"now"')) == {
        "servey": {"v": 1, "action": "tick", "params": {}, "trigger": "fixed_rate", "time": "now"}
    }
    assert set(loaded(folder, "environment")) == {
        "SERVEY_ENV", "SERVEY_QUEUE_URL", "SERVEY_DEAD_QUEUE_URL", "SERVEY_CONNECTION_TABLE", "SERVEY_KMS_KEY_ID", "SERVEY_WEBSOCKET_ENDPOINT",
    }  # fmt: skip


def test_every_name_has_the_stage(project):
    project(SITE | FULL)("sls")
    text = json.dumps(loaded(project.folder, "resources"))
    named = ("QueueName", "TableName", "AliasName", "BucketName", "PolicyName", '"Name"')
    for name in named:
        places = text.split(f'"{name.strip(chr(34))}": ')[1:]
        assert places, name
        assert all("${self:service}-${sls:stage}" in place[:80] for place in places), name


def test_rights_are_exact(project):
    project(FULL)("sls")
    for each in statements(project.folder):
        assert not any("*" in action for action in each["Action"])
        resources = [resource for resource in each["Resource"] if "*" in json.dumps(resource)]
        # Connection ids are not known in advance.
        assert not resources or each["Action"] == ["execute-api:ManageConnections"]


def att(logical_id: str, name: str = "Arn") -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id, name]}


def test_the_policies_of_an_app_are_these_and_no_others(project):
    project(SITE | FULL)("sls", "--appsync")
    resources = loaded(project.folder, "resources")["Resources"]
    policies = {
        name: [
            (each["Effect"], each["Action"], each["Resource"])
            for policy in each_role["Properties"]["Policies"]
            for each in policy["PolicyDocument"]["Statement"]
        ]
        for name, each_role in resources.items()
        if each_role["Type"] == "AWS::IAM::Role"
    }
    connections = "${WebsocketsApi}/${sls:stage}/POST/@connections/*"
    assert policies == {
        "ServeyRole": [
            ("Allow", ["logs:CreateLogStream", "logs:PutLogEvents"], [att("ServeyLogGroup")]),
            (
                "Allow",
                ["execute-api:ManageConnections"],
                [
                    {
                        "Fn::Sub": f"arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:{connections}"
                    }
                ],
            ),
            (
                "Allow",
                [
                    "sqs:ChangeMessageVisibility",
                    "sqs:DeleteMessage",
                    "sqs:GetQueueAttributes",
                    "sqs:ReceiveMessage",
                    "sqs:SendMessage",
                ],
                [att("ServeyJobs")],
            ),
            ("Allow", ["sqs:SendMessage"], [att("ServeyDeadJobs")]),
            (
                "Allow",
                ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"],
                [att("ServeyTable")],
            ),
            ("Allow", ["dynamodb:Query"], [{"Fn::Join": ["/", [att("ServeyTable"), "index", "by_channel"]]}]),
            ("Allow", ["kms:GetPublicKey", "kms:Sign"], [att("ServeyKey")]),
        ],
        "ServeyAppsyncRole": [("Allow", ["lambda:InvokeFunction"], [att("ServeyLambdaFunction")])],
    }
    trusted = {
        name: [
            (each["Effect"], each["Principal"], each["Action"])
            for each in each_role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        ]
        for name, each_role in resources.items()
        if each_role["Type"] == "AWS::IAM::Role"
    }
    assert trusted == {
        "ServeyRole": [("Allow", {"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")],
        "ServeyAppsyncRole": [("Allow", {"Service": "appsync.amazonaws.com"}, "sts:AssumeRole")],
    }
    account = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    assert resources["ServeyKey"]["Properties"]["KeyPolicy"]["Statement"] == [
        {"Effect": "Allow", "Principal": account, "Action": "kms:*", "Resource": "*"}
    ]
    distribution = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${ServeySiteDistribution}"
    assert resources["ServeySitePolicy"]["Properties"]["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": {"Fn::Join": ["", [att("ServeySite"), "/*"]]},
            "Condition": {"StringEquals": {"AWS:SourceArn": {"Fn::Sub": distribution}}},
        }
    ]
    # Whatever else holds a policy would have to be listed above.
    with_policies = {name for name, each in resources.items() if "Statement" in json.dumps(each)}
    assert with_policies == {"ServeyRole", "ServeyAppsyncRole", "ServeyKey", "ServeySitePolicy"}


def test_sixty_actions_are_one_function_with_exact_rights(project):
    project(sixty_actions())("sls")
    assert list(loaded(project.folder, "functions")) == ["servey"]
    assert len(loaded(project.folder, "resources")["Resources"]) < 60
    assert "*" not in json.dumps(statements(project.folder))


def test_each_action_may_have_a_function_of_its_own(project):
    run = project(GENERATED)
    run("sls", SERVEY_AWS_ROUTER_FOR_ALL="0")
    functions = loaded(project.folder, "functions")
    assert list(functions) == ["servey", "plain"]
    assert functions["plain"]["environment"] == {"SERVEY_AWS_ACTION": "plain"}
    assert functions["plain"]["events"] == [{"httpApi": {"method": "GET", "path": "/actions/plain"}}]
    assert functions["servey"]["events"] == [{"httpApi": "*"}]


def test_settings_go_along_but_secrets_do_not(project):
    run = project(HELLO | {"shop/__init__.py": "", "shop/actions.py": HELLO["actions.py"]})
    secret = "a-secret-of-more-than-32-bytes-for-tests"
    run("sls", SERVEY_MAIN="shop", JWT_SECRET_KEY=secret, SERVEY_PORT="9", SERVEY_STRICT_SCHEMA="1",
        CORS_ALLOWED_ORIGINS="https://a.example, https://b.example")  # fmt: skip
    assert loaded(project.folder, "environment") == {
        "SERVEY_ENV": "prod",
        "SERVEY_MAIN": "shop",
        "SERVEY_STRICT_SCHEMA": "1",
        "SERVEY_CORS_ALLOWED_ORIGINS": "https://a.example,https://b.example",
        "SERVEY_JWT_SECRET_KEY": "${env:SERVEY_JWT_SECRET_KEY}",
    }
    assert secret not in "".join(written(project.folder).values())


def test_a_static_site_gets_a_bucket_and_cloudfront(project):
    run = project(SITE)
    run("sls")
    resources = loaded(project.folder, "resources")["Resources"]
    assert resources["ServeySite"]["Properties"]["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"] is True
    config = resources["ServeySiteDistribution"]["Properties"]["DistributionConfig"]
    assert [each["PathPattern"] for each in config["CacheBehaviors"]] == [
        "/jobs/*",
        "/health/*",
        "/graphql",
        "/actions/*",
    ]
    assert config["CustomErrorResponses"][0]["ResponsePagePath"] == "/404.html"
    assert "Aliases" not in config
    run("sls", SERVEY_AWS_DOMAIN="shop.example", SERVEY_AWS_CERTIFICATE_ARN="arn:aws:acm:us-east-1:1:certificate/1")
    resources = loaded(project.folder, "resources")["Resources"]
    assert resources["ServeySiteDistribution"]["Properties"]["DistributionConfig"]["Aliases"] == ["shop.example"]
    code, _, said = run("sls", SERVEY_AWS_DOMAIN="shop.example")
    assert (code, said) == (1, "error: SERVEY_AWS_DOMAIN and SERVEY_AWS_CERTIFICATE_ARN require each other; set both\n")


# ------------------------------------------------------------------------------------------------ what is there already


def test_check_writes_nothing(project):
    run = project(HELLO)
    code, _, said = run("sls", "--check")
    assert code == 1
    assert said.startswith("error: run `servey sls`: serverless.yml, serverless_servey/environment.yml")
    assert set(os.listdir(project.folder)) - {"__pycache__"} == {"actions.py"}
    run("sls")
    (project.folder / FOLDER / "functions.yml").write_text("changed", encoding="utf-8")
    code, _, said = run("sls", "--check")
    assert (code, said) == (1, "error: run `servey sls`: serverless_servey/functions.yml would change\n")


def test_serverless_yml_is_only_patched(project):
    run = project(HELLO)
    run("sls")
    file = project.folder / "serverless.yml"
    text = file.read_text(encoding="utf-8").replace("memorySize: 1024", "memorySize: 512  # less is enough").replace(
        "artifact: .servey/lambda.zip", "artifact: other.zip"
    )  # fmt: skip
    file.write_text(text + "custom:\n  mine: 1\n", encoding="utf-8")
    assert run("sls") == (0, "", "wrote serverless.yml\n")
    assert file.read_text(encoding="utf-8") == text.replace("other.zip", ".servey/lambda.zip") + "custom:\n  mine: 1\n"


def test_it_says_which_line_is_missing(project):
    run = project(HELLO)
    run("sls")
    file = project.folder / "serverless.yml"
    file.write_text(
        "\n".join(line for line in file.read_text(encoding="utf-8").splitlines() if "# servey: functions" not in line),
        encoding="utf-8",
    )
    code, _, said = run("sls")
    assert code == 1
    assert said == (
        "error: serverless.yml has no line marked '# servey: functions'; add this line: "
        "functions: ${file(serverless_servey/functions.yml)}  # servey: functions\n"
    )


def test_the_file_may_have_another_name_and_the_seeds_spelling_works(project):
    run = project(HELLO)
    assert run("--run=sls", MAIN_SERVERLESS_YML_FILE="other.yml")[0] == 0
    assert (project.folder / "other.yml").exists()
    assert not (project.folder / "serverless.yml").exists()


def test_a_file_that_is_not_needed_any_more_goes(project):
    run = project(HELLO)
    run("sls")
    (project.folder / FOLDER / "old.yml").write_text("", encoding="utf-8")
    assert run("sls") == (0, "", f"removed {FOLDER}/old.yml\n")


# ----------------------------------------------------------------------------------------------------- what is refused

ENQUEUES = """
from servey import WEB_POST, Context, action


@action(timeout=120)
async def report() -> None: ...


@action(triggers=WEB_POST)
async def order(context: Context) -> str:
    return await context.enqueue(report, {})
"""


def test_the_function_runs_as_long_as_the_longest_action_that_can_be_enqueued(project):
    run = project({"actions.py": ENQUEUES})
    assert run("sls")[0] == 0
    (function,) = loaded(project.folder, "functions").values()
    assert function["timeout"] == 121
    jobs = loaded(project.folder, "resources")["Resources"]["ServeyJobs"]["Properties"]
    assert jobs["VisibilityTimeout"] == 6 * 121


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
    assert "its function's name has 74 characters, the maximum is 64" in said
    assert run("sls")[0] == 0


# ------------------------------------------------------------------------------------------------------------- details


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


def test_a_path_becomes_api_gateways():
    assert gateway_path("/files/{path:path}") == "/files/{path+}"
    assert gateway_path("/a/{n:int}/{m}") == "/a/{n}/{m}"


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]))
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20))
def test_what_it_writes_reads_back_as_it_was(value):
    assert yaml.safe_load(our_yaml.dump(value)) == value


@given(st.lists(st.text("ab c:#-", max_size=8), min_size=2))
def test_texts_of_several_lines_read_back_too(lines):
    text = "\n".join(["first", *(line.rstrip() for line in lines), "last"]) + "\n"
    assert yaml.safe_load(our_yaml.dump({"a": {"b": text}, "c": [{"d": text}]})) == {
        "a": {"b": text},
        "c": [{"d": text}],
    }
