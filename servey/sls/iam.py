"""The IAM roles of an app, and every statement in them: exact actions on exact resources.

Resource policies are with their resources: that of the KMS key in `servey.sls.resources`, that of the bucket in
`servey.sls.site`. `servey.sls.own` reads the statements that an app adds itself.
Source: AWS Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from servey.sls.model import MAIN_FUNCTION, arn_of, named
from servey.sls.resources import function_id, log_group_id


@dataclass(frozen=True)
class Statement:
    """An IAM statement: allowed actions on exact resources."""

    actions: tuple[str, ...]
    resources: tuple[Any, ...]


_CONNECTIONS = {
    "Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:"
    "${WebsocketsApi}/${sls:stage}/POST/@connections/*"
}
"""Connection ids are not known in advance, so the resource cannot be more exact."""
_TABLE_INDEX: dict[str, Any] = {"Fn::Join": ["/", [arn_of("ServeyTable"), "index", "by_channel"]]}

SEND_TO_WEBSOCKETS = Statement(("execute-api:ManageConnections",), (_CONNECTIONS,))
USE_QUEUE = Statement(
    (
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
    ),
    (arn_of("ServeyJobs"),),
)
SEND_TO_DEAD_LETTER_QUEUE = Statement(("sqs:SendMessage",), (arn_of("ServeyDeadJobs"),))
USE_TABLE = Statement(
    (
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
    ),
    (arn_of("ServeyTable"),),
)
FIND_SUBSCRIBERS = Statement(("dynamodb:Query",), (_TABLE_INDEX,))
SIGN_TOKENS = Statement(("kms:GetPublicKey", "kms:Sign"), (arn_of("ServeyKey"),))
CALL_FUNCTION = Statement(("lambda:InvokeFunction",), (arn_of(function_id(MAIN_FUNCTION)),))


def role(functions: Iterable[str], statements: Iterable[Statement]) -> dict[str, Any]:
    """Return the role of the functions: it allows writing their logs, and these statements."""
    log_groups = tuple(arn_of(log_group_id(name)) for name in functions)
    logs = Statement(("logs:CreateLogStream", "logs:PutLogEvents"), log_groups)
    return service_role([logs, *statements], "lambda.amazonaws.com", named("servey"))


def service_role(statements: Iterable[Statement], service: str, name: str) -> dict[str, Any]:
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
