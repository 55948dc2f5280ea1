"""Every example of every action becomes a test; and one test of our own."""

from unittest import TestCase

from servey import create_app
from servey.testing import client, define_test_class

TestActions: type[TestCase] = define_test_class()


class TestGreeting(TestCase):
    def test_everyone_is_greeted(self) -> None:
        with client(create_app()) as http:
            greetings = http.post("/actions/greet", json={"names": ["Ada", "Alan"]}).json()
        assert [each["text"] for each in greetings] == ["Hello Ada!", "Hello Alan!"]
