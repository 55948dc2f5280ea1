"""The files of `servey sls`: written again, checked, patched."""

import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from servey.sls import yaml as our_yaml
from tests.sls.generated import FOLDER, loaded, statements, written
from tests.sls.projects import EXAMPLES, HELLO


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
