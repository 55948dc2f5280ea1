"""The functions, resources and environment of an app on AWS."""

import json

import pytest

from servey.sls.package import is_deployed_with_stream
from servey.sls.stack import gateway_path
from tests.sls.generated import loaded, written
from tests.sls.projects import FULL, GENERATED, HELLO, SITE


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


def test_a_function_whose_url_streams(project, monkeypatch):
    run = project(FULL)
    monkeypatch.chdir(project.folder)
    assert not is_deployed_with_stream()
    assert run("sls", SERVEY_AWS_STREAMING="1")[0] == 0
    assert is_deployed_with_stream()  # so `servey package` adds its script without the setting too
    functions = loaded(project.folder, "functions")
    assert functions["stream"] == {
        "handler": "servey.aws.handler",
        "timeout": 900,
        "role": "ServeyRole",
        "events": [],
        "environment": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/servey_stream"},
    }
    assert functions["servey"]["timeout"] == 61
    made = loaded(project.folder, "resources")
    url = made["Resources"]["ServeyStreamUrl"]["Properties"]
    assert (url["InvokeMode"], url["AuthType"]) == ("RESPONSE_STREAM", "NONE")
    assert made["Outputs"] == {"ServeyStreamUrl": {"Value": {"Fn::GetAtt": ["ServeyStreamUrl", "FunctionUrl"]}}}
    assert "SERVEY_AWS_STREAMING" not in loaded(project.folder, "environment")


def test_every_name_has_the_stage(project):
    project(SITE | FULL)("sls")
    text = json.dumps(loaded(project.folder, "resources"))
    named = ("QueueName", "TableName", "AliasName", "BucketName", "PolicyName", '"Name"')
    for name in named:
        places = text.split(f'"{name.strip(chr(34))}": ')[1:]
        assert places, name
        assert all("${self:service}-${sls:stage}" in place[:80] for place in places), name


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
        "JWT_SECRET_KEY": "${env:JWT_SECRET_KEY}",
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


@pytest.mark.parametrize("router", ["1", "0"])
def test_the_routes_of_guarded_actions_have_the_authorizer(project, router):
    run = project(FULL)
    assert run("sls", SERVEY_AWS_AUTHORIZER="users", SERVEY_AWS_ROUTER_FOR_ALL=router)[0] == 0
    events = [event for function in loaded(project.folder, "functions").values() for event in function["events"]]
    authorized = [event["httpApi"] for event in events if "authorizer" in event.get("httpApi", "")]
    assert authorized == [{"method": "POST", "path": "/actions/guarded", "authorizer": {"name": "users"}}]
    assert {"httpApi": "*"} in events
    assert loaded(project.folder, "environment")["SERVEY_AWS_AUTHORIZER"] == "users"
    assert "ServeyKey" not in loaded(project.folder, "resources")["Resources"]


def test_a_path_becomes_api_gateways():
    assert gateway_path("/files/{path:path}") == "/files/{path+}"
    assert gateway_path("/a/{n:int}/{m}") == "/a/{n}/{m}"
