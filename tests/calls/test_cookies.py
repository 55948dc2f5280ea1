"""The cookies that dependencies read are those that Starlette parses."""

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import cookie_parser

from servey.calls.graph import _cookies_of

TEXTS = st.text(st.sampled_from("ab=;; \t\"\\'é\x0b,0"), max_size=20)


@given(st.lists(TEXTS, max_size=3))
def test_cookies_are_parsed_as_starlette_does(texts):
    headers = [(b"cookie", text.encode("latin-1")) for text in texts]
    expected: dict[str, str] = {}
    for text in texts:
        expected.update(cookie_parser(text))
    assert _cookies_of([(b"x-cookie", b"a=1"), *headers]) == expected
