"""The real packager and the real linter accept the files of `servey sls`."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.aws.tools import osls, python_of, run_osls
from tests.serving import run
from tests.sls.projects import EXAMPLES, sixty_actions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OSLS_OWN = "W3005"
"""osls declares some dependencies twice."""
EXPECTED = ("NodeVersionSupportWarning", "(node:", "greater than maximum allowed timeout for HTTP API endpoint")
"""Expected warnings of osls: the function also runs jobs, so its timeout is longer than API Gateway's."""


def packaged(files: dict[str, str], folder: Path, **env: str) -> dict[str, dict[str, object]]:
    """Return the resources of a project's template after osls (no warning but `EXPECTED`) and cfn-lint accepted it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    done = run("-m", "servey", "sls", cwd=folder, **env)
    assert done.returncode == 0, done.stderr
    (folder / ".servey").mkdir()
    with zipfile.ZipFile(folder / ".servey" / "lambda.zip", "w") as archive:
        archive.writestr("actions.py", "")
    said = run_osls(["package"], folder)
    warnings = [line for line in said.splitlines() if "Warning" in line and not any(each in line for each in EXPECTED)]
    assert warnings == []
    template = folder / ".serverless" / "cloudformation-template-update-stack.json"
    linter = [str(python_of("emulator")), "-c", "import sys; from cfnlint.runner import main; sys.exit(main())"]
    lint = subprocess.run(
        [*linter, "--ignore-checks", OSLS_OWN, "--", str(template)], capture_output=True, encoding="utf-8", check=False
    )
    assert (lint.returncode, lint.stdout) == (0, ""), lint.stdout
    return json.loads(template.read_text(encoding="utf-8"))["Resources"]


@pytest.fixture
def folder(tmp_path) -> Path:
    osls()
    made = tmp_path / "shop"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_packaged(name, folder):
    packaged(EXAMPLES[name], folder)


def test_each_action_with_a_function_of_its_own_is_packaged(folder):
    resources = packaged(EXAMPLES["full"], folder, SERVEY_AWS_ROUTER_FOR_ALL="0")
    assert sum(each["Type"] == "AWS::Lambda::Function" for each in resources.values()) == 6


@pytest.mark.parametrize("name", ["hello", "full"])
def test_an_appsync_api_is_packaged(name, folder):
    resources = packaged(EXAMPLES[name], folder, SERVEY_APPSYNC="1")
    assert any(each["Type"] == "AWS::AppSync::Resolver" for each in resources.values())


def test_a_url_that_streams_is_packaged(folder):
    resources = packaged(EXAMPLES["full"], folder, SERVEY_AWS_STREAMING="1")
    (url,) = [each for each in resources.values() if each["Type"] == "AWS::Lambda::Url"]
    assert url["Properties"]["TargetFunctionArn"] == {"Fn::GetAtt": ["StreamLambdaFunction", "Arn"]}
    assert "StreamLambdaFunction" in resources


def test_a_domain_is_packaged(folder):
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
    packaged(EXAMPLES["site"], folder, SERVEY_AWS_DOMAIN="shop.example", SERVEY_AWS_CERTIFICATE_ARN=arn)


def test_sixty_actions_are_one_function_and_few_resources(folder):
    resources = packaged(sixty_actions(), folder)
    kinds = [each["Type"] for each in resources.values()]
    assert kinds.count("AWS::Lambda::Function") == 1
    assert len(kinds) < 60
    (role,) = [each for each in resources.values() if each["Type"] == "AWS::IAM::Role"]
    assert "*" not in json.dumps(role)
