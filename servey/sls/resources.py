"""The CloudFormation resources of an app, each added if a feature needs it.

Source: the AWS CloudFormation template reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from servey.sls.model import Statement, arn_of, named

LONGEST_MESSAGE_SECONDS = 14 * 24 * 3600
WEBSOCKET_ENDPOINT = {"Fn::Sub": "https://${WebsocketsApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${sls:stage}"}
WEBSOCKET_CONNECTIONS = {
    "Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:"
    "${WebsocketsApi}/${sls:stage}/POST/@connections/*"
}
"""Connection ids are not known in advance, so the resource cannot be more exact."""

QUEUE_ACTIONS = (
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
)
TABLE_ACTIONS = (
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
)
TABLE_INDEX: dict[str, Any] = {"Fn::Join": ["/", [arn_of("ServeyTable"), "index", "by_channel"]]}


def queue(*, visible: int, tries: int) -> dict[str, Any]:
    """Return the job queue and its dead-letter queue. Units: ``visible`` (the visibility timeout) in seconds."""
    return {
        "ServeyDeadJobs": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": named("dead-jobs"),
                "MessageRetentionPeriod": LONGEST_MESSAGE_SECONDS,
                "SqsManagedSseEnabled": True,
            },
        },
        "ServeyJobs": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": named("jobs"),
                "VisibilityTimeout": visible,
                "MessageRetentionPeriod": LONGEST_MESSAGE_SECONDS,
                "SqsManagedSseEnabled": True,
                "RedrivePolicy": {"deadLetterTargetArn": arn_of("ServeyDeadJobs"), "maxReceiveCount": tries},
            },
        },
    }


def table(*, by_channel: bool) -> dict[str, Any]:
    """Return the table of connections, job states and schedule slots."""
    attributes = ["pk", "sk", *(["channel"] if by_channel else [])]
    properties: dict[str, Any] = {
        "TableName": named("servey"),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in attributes],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
    }
    if by_channel:
        properties["GlobalSecondaryIndexes"] = [
            {
                "IndexName": "by_channel",
                "KeySchema": [
                    {"AttributeName": "channel", "KeyType": "HASH"},
                    {"AttributeName": "pk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ]
    kept = {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}
    return {"ServeyTable": {"Type": "AWS::DynamoDB::Table", **kept, "Properties": properties}}


def key() -> dict[str, Any]:
    """Return the KMS key that signs tokens, and its alias."""
    owner = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    # In a key policy `*` means this key. Without this statement nobody could manage the key.
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": owner, "Action": "kms:*", "Resource": "*"}],
    }
    kept = {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}
    return {
        "ServeyKey": {
            "Type": "AWS::KMS::Key",
            **kept,
            "Properties": {
                "Description": "Signs the tokens of ${self:service} in ${sls:stage}",
                "KeySpec": "RSA_2048",
                "KeyUsage": "SIGN_VERIFY",
                "KeyPolicy": policy,
            },
        },
        "ServeyKeyAlias": {
            "Type": "AWS::KMS::Alias",
            "Properties": {"AliasName": "alias/" + named("tokens"), "TargetKeyId": {"Ref": "ServeyKey"}},
        },
    }


def role(functions: Iterable[str], statements: Iterable[Statement]) -> dict[str, Any]:
    """Return the role of the functions: it allows writing their logs, and these statements."""
    logs = Statement(
        ("logs:CreateLogStream", "logs:PutLogEvents"), tuple(arn_of(log_group_id(name)) for name in functions)
    )
    return lambda_role([logs, *statements], "lambda.amazonaws.com", named("servey"))


def lambda_role(statements: Iterable[Statement], service: str, name: str) -> dict[str, Any]:
    """Return a role that an AWS service can assume."""
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    rights = [
        {"Effect": "Allow", "Action": list(each.actions), "Resource": list(each.resources)} for each in statements
    ]
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [
                {"PolicyName": name, "PolicyDocument": {"Version": "2012-10-17", "Statement": rights}},
            ],
        },
    }


def log_group_id(function: str) -> str:
    """Return the logical id that the Serverless Framework gives to a function's log group."""
    return _logical(function) + "LogGroup"


def function_id(function: str) -> str:
    """Return the logical id that the Serverless Framework gives to a function."""
    return _logical(function) + "LambdaFunction"


def _logical(function: str) -> str:
    normal = function.replace("-", "Dash").replace("_", "Underscore")
    return normal[:1].upper() + normal[1:]
