"""The CloudFormation resources of an app, each added if a feature needs it.

Source: the AWS CloudFormation template reference.
"""

from __future__ import annotations

from typing import Any

from servey.sls.model import arn_of, named

LONGEST_MESSAGE_SECONDS = 14 * 24 * 3600
WEBSOCKET_ENDPOINT = {"Fn::Sub": "https://${WebsocketsApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${sls:stage}"}


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


def streaming_url(function: str) -> dict[str, Any]:
    """Return the URL of a function that streams responses, which everybody may call, as they may the HTTP API.

    Source: Lambda developer guide, "Control access to Lambda function URLs": both permissions are necessary.
    """
    arn = arn_of(function_id(function))
    everybody = {"FunctionName": arn, "Principal": "*"}
    return {
        "ServeyStreamUrl": {
            "Type": "AWS::Lambda::Url",
            "Properties": {"AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM", "TargetFunctionArn": arn},
        },
        "ServeyStreamUrlPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {**everybody, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
        },
        "ServeyStreamPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {**everybody, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
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
