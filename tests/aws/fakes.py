"""In-memory AWS services with the operations that the tests use; `test_deployed.py` uses a real emulator."""

import hashlib
import itertools
import re
import threading
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class AwsError(Exception):
    """An error in the form of botocore's."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class FakeDynamo:
    """One table. Pages hold three items, so that the tests cover paging."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        self.lock = threading.Lock()

    def put_item(
        self, TableName: str, Item: dict[str, Any], ConditionExpression: str | None = None,
        ExpressionAttributeNames: dict[str, str] | None = None, ExpressionAttributeValues: dict[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        key = (Item["pk"]["S"], Item["sk"]["S"])
        with self.lock:
            there = self.items.get(key)
            if ConditionExpression is not None and there is not None:
                assert ConditionExpression == "attribute_not_exists(pk) OR #field < :moment"
                field = ExpressionAttributeNames["#field"]
                if not float(there[field]["N"]) < float(ExpressionAttributeValues[":moment"]["N"]):
                    raise AwsError("ConditionalCheckFailedException")
            self.items[key] = Item
        return {}

    def get_item(self, TableName: str, Key: dict[str, Any], ConsistentRead: bool) -> dict[str, Any]:
        found = self.items.get((Key["pk"]["S"], Key["sk"]["S"]))
        return {} if found is None else {"Item": found}

    def delete_item(self, TableName: str, Key: dict[str, Any]) -> dict[str, Any]:
        self.items.pop((Key["pk"]["S"], Key["sk"]["S"]), None)
        return {}

    def query(
        self, TableName: str, KeyConditionExpression: str, ExpressionAttributeNames: dict[str, str],
        ExpressionAttributeValues: dict[str, Any], IndexName: str | None = None, ExclusiveStartKey: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        name, value = ExpressionAttributeNames["#name"], ExpressionAttributeValues[":value"]
        assert (IndexName, name) in ((None, "pk"), ("by_channel", "channel"))
        after = ExclusiveStartKey or ("", "")
        found = [key for key in sorted(self.items) if key > after and self.items[key].get(name) == value]
        page = {"Items": [self.items[key] for key in found[:3]]}
        return page | ({"LastEvaluatedKey": found[2]} if len(found) > 3 else {})


class FakeSqs:
    """Queues by URL. A message is delivered again after its visibility timeout."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.hidden: list[tuple[str, int]] = []
        self.broken = False

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> dict[str, Any]:
        if self.broken:
            raise AwsError("ServiceUnavailable", 503)
        self.sent.append({"queue": QueueUrl, "body": MessageBody, "delay": DelaySeconds})
        return {"MessageId": str(len(self.sent))}

    def change_message_visibility(self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> dict[str, Any]:
        self.hidden.append((ReceiptHandle, VisibilityTimeout))
        return {}

    def record(self, index: int = -1, tries: int = 1) -> dict[str, Any]:
        """Return a sent message as Lambda receives it."""
        return record(self.sent[index]["body"], str(index % len(self.sent)), tries)


def record(body: str, number: str, tries: int = 1, group: str | None = None) -> dict[str, Any]:
    more = {} if group is None else {"MessageGroupId": group}
    return {
        "messageId": f"message-{number}",
        "receiptHandle": f"receipt-{number}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(tries), **more},
        "eventSource": "aws:sqs",
    }


class FakeManagement:
    """Connections by id. Those in ``gone`` are closed; those in ``busy`` are throttled that many times."""

    def __init__(self) -> None:
        self.got: dict[str, list[bytes]] = {}
        self.gone: set[str] = set()
        self.busy: dict[str, int] = {}
        self.failing: set[str] = set()
        self.ended: list[str] = []
        self.lock = threading.Lock()

    def post_to_connection(self, ConnectionId: str, Data: bytes) -> dict[str, Any]:
        with self.lock:
            if ConnectionId in self.gone:
                raise AwsError("410", 410)  # an emulator's spelling; AWS says GoneException
            if self.busy.get(ConnectionId, 0) > 0:
                self.busy[ConnectionId] -= 1
                raise AwsError("LimitExceededException", 429)
            if ConnectionId in self.failing:
                raise AwsError("ForbiddenException", 403)
            self.got.setdefault(ConnectionId, []).append(Data)
        return {}

    def delete_connection(self, ConnectionId: str) -> dict[str, Any]:
        self.ended.append(ConnectionId)
        return {}


class FakeKms:
    """RSA keys by ARN."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.asked: list[str] = []
        self._numbers = itertools.count(1)

    def new_key(self) -> str:
        arn = f"arn:aws:kms:us-east-1:123456789012:key/{next(self._numbers)}"
        self.keys[arn] = rsa.generate_private_key(65537, 2048)
        return arn

    def get_public_key(self, KeyId: str) -> dict[str, Any]:
        self.asked.append(KeyId)
        public = self.keys[KeyId].public_key()
        return {"PublicKey": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)}

    def sign(self, KeyId: str, Message: bytes, MessageType: str, SigningAlgorithm: str) -> dict[str, Any]:
        assert (MessageType, SigningAlgorithm) == ("DIGEST", "RSASSA_PKCS1_V1_5_SHA_256")
        assert len(Message) == hashlib.sha256().digest_size
        return {"Signature": self.keys[KeyId].sign(Message, padding.PKCS1v15(), Prehashed(SHA256()))}


class FakeAws:
    """The clients that `boto3.client` returns, by service."""

    def __init__(self) -> None:
        self.dynamodb, self.sqs, self.kms = FakeDynamo(), FakeSqs(), FakeKms()
        self.apigatewaymanagementapi = FakeManagement()

    def client(self, service: str, options: dict[str, Any]) -> Any:
        assert re.fullmatch(r"[a-z]+", service)
        return getattr(self, service)
