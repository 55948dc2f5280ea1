"""The IAM policies of an app."""

import json
from typing import Any

from tests.sls.generated import loaded, statements
from tests.sls.projects import FULL, SITE, sixty_actions


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
