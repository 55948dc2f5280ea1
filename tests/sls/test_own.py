"""What an app adds to its stack, and the names that its stages give to resources."""

import pytest

from tests.sls.generated import loaded, statements, written
from tests.sls.projects import FULL, HELLO, SITE

OWN = """
[tool.servey.aws.environment]
SHOP_NAME = "Shop"
LIMIT = 3
STRIPE_KEY = "${env:STRIPE_KEY}"
ORDERS = { Ref = "Orders" }

[[tool.servey.aws.statements]]
actions = ["s3:GetObject", "s3:Put*"]
resources = ["arn:aws:s3:::pictures/*", { "Fn::GetAtt" = ["Orders", "Arn"] }]
"""


def test_its_variables_and_statements_survive_another_run(project):
    run = project(HELLO | {"pyproject.toml": OWN})
    assert run("sls")[0] == 0
    assert loaded(project.folder, "environment") == {
        "SERVEY_ENV": "prod",
        "SHOP_NAME": "Shop",
        "LIMIT": "3",
        "STRIPE_KEY": "${env:STRIPE_KEY}",
        "ORDERS": {"Ref": "Orders"},
    }
    assert statements(project.folder)[-1] == {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:Put*"],
        "Resource": ["arn:aws:s3:::pictures/*", {"Fn::GetAtt": ["Orders", "Arn"]}],
    }
    before = written(project.folder)
    assert run("sls")[0] == 0
    assert written(project.folder) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.servey.aws]\nvariables = 1", "'variables' is unknown; use environment and statements"),
        ("[tool.servey.aws.environment]\nAWS_REGION = 'x'", "environment: Lambda does not accept the name 'AWS_REGION'; use another one"),
        ("[tool.servey.aws.environment]\nAB = [1]", "environment: AB is neither a text nor a number nor a CloudFormation function; change it"),
        ("[tool.servey.aws.environment]\nSERVEY_ENV = 'x'", "environment: SERVEY_ENV is written by `servey sls` already; remove it"),
        ("[[tool.servey.aws.statements]]\nactions = ['s3:a']", "statement 1: it needs exactly actions and resources"),
        ("[[tool.servey.aws.statements]]\nactions = ['read']\nresources = ['*']", "statement 1: 'read' is no IAM action; write e.g. 's3:GetObject'"),
        ("[[tool.servey.aws.statements]]\nactions = []\nresources = ['*']", "statement 1: actions and resources are lists that are not empty"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(project, text, said):
    run = project(HELLO | {"pyproject.toml": text})
    assert run("sls") == (1, "", f"error: pyproject.toml, [tool.servey.aws]: {said}\n")


@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "SERVEY_JWT_SECRET_KEY"])
def test_a_secret_keeps_the_name_that_it_has_here(project, name):
    run = project(FULL)
    assert run("sls", **{name: "0123456789abcdef0123456789abcdef"})[0] == 0
    environment = loaded(project.folder, "environment")
    assert {key: value for key, value in environment.items() if "JWT" in key} == {name: f"${{env:{name}}}"}


@pytest.mark.parametrize(
    ("files", "stage", "said"),
    [
        (HELLO, "p" * 60, "the name of the Lambda function 'my-shop-" + "p" * 60 + "-servey' has 75 characters, the maximum is 64; use a stage of at most 49 characters"),
        (SITE, "s" * 45, "the name of the bucket 'my-shop-" + "s" * 45 + "-site-000000000000' has 71 characters, the maximum is 63; use a stage of at most 37 characters"),
    ],
)  # fmt: skip
def test_a_stage_may_be_too_long(project, files, stage, said):
    run = project(files)
    assert run("sls", "--stage", stage[:30], "--stage", stage) == (1, "", f"error: stage '{stage}': {said}\n")
    assert run("sls", "--stage", stage[:30])[0] == 0


def test_a_stage_has_the_characters_of_names(project):
    run = project(SITE)
    code, _, said = run("sls", "--stage", "Prod")
    assert (code, said) == (
        1,
        "error: stage 'Prod' must consist of the characters a-z 0-9 and -, since names contain it; rename it\n",
    )
    assert run("sls", "--stage", "prod")[0] == 0


def test_the_stage_of_serverless_yml_is_checked(project):
    run = project(HELLO)
    assert run("sls")[0] == 0
    file = project.folder / "serverless.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("stage: dev", "stage: a_b"), encoding="utf-8")
    assert "stage 'a_b' must consist of" in run("sls")[2]


def test_a_package_that_lacks_a_variable_says_which(project):
    app = "import os\nif os.environ['STRIPE_KEY'] == 'unknown':\n    raise ValueError('not a key')\n"
    code, _, errors = project(HELLO | {"actions.py": app, "pyproject.toml": OWN})("package")
    assert code == 1
    assert "(actions.py:3): ValueError: not a key" in errors
    assert "pyproject.toml takes the value of STRIPE_KEY, ORDERS from elsewhere; if that is why, set it here" in errors


def test_the_file_of_variables_is_of_this_machine(project):
    run = project(HELLO | {"mine.env": "SERVEY_LOG_LEVEL=DEBUG\n"})
    assert run("sls", SERVEY_ENV_FILE="mine.env")[0] == 0
    assert loaded(project.folder, "environment") == {"SERVEY_ENV": "prod", "SERVEY_LOG_LEVEL": "DEBUG"}
