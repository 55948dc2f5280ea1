"""What the tests of servey 5 asserted of an app, asked of an app that was written for it."""

import pytest
from servey.action.action import action, get_action
from servey.errors import ServeyError
from servey.event_channel.background.background_action_channel import background_action_channel
from servey.security.access_control.allow_all import ALLOW_ALL
from servey.security.authorization import ROOT, Authorization
from servey.servey_web_page.web_page_trigger import WebPageTrigger
from servey.trigger.fixed_rate_trigger import FixedRateTrigger
from servey.trigger.web_trigger import WEB_GET, WEB_POST, WebTrigger, WebTriggerMethod

from servey import Settings, create_app
from servey.graphql.schema.sdl import sdl_of
from servey.testing import client, enqueued, token_for
from tests.seed import shop
from tests.serving import wait_until

ACTIONS = [getattr(found, "servey_action", None) and found for found in vars(shop).values()]
CHANNELS = [shop.messages, shop.staff, shop.unseen, shop.sums, shop.later]
KEEPER = Authorization("ada", frozenset(["root", "stock"]), None, None)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    templates = tmp_path_factory.mktemp("templates")
    for name, text in shop.TEMPLATES.items():
        (templates / name).write_text(text, encoding="utf-8")
    settings = Settings(
        env="dev",
        template_path=str(templates),
        cors_allowed_origins="https://shop.example",
        login_password="open sesame",
    )
    return create_app(actions=[each for each in ACTIONS if each], channels=CHANNELS, settings=settings)


@pytest.fixture(scope="module")
def http(app):
    with client(app) as opened:
        opened.follow_redirects = False
        yield opened


@pytest.fixture(scope="module")
def schema(http):
    return http.get("/openapi.json").json()


@pytest.fixture(scope="module")
def keeper(app):
    return {"Authorization": f"Bearer {token_for(app, KEEPER)}"}


def query(http, text, headers=None):
    return http.post("/graphql", json={"query": text}, headers=headers).json()


# ------------------------------------------------------------------------------------------------------- declarations


def test_an_action_has_its_facts():
    bare, full = get_action(shop.tally), get_action(shop.price)
    assert (bare.fn, bare.name, bare.triggers, bare.timeout) == (shop.tally, "tally", (), 15)
    assert (bare.access_control, bare.cache_control) == (ALLOW_ALL, None)
    assert (full.triggers, full.description) == ((WEB_GET,), "What some of them cost.")
    assert [each.name for each in full.examples] == ["two"]
    assert get_action(shop.ping).triggers == (FixedRateTrigger(300),)
    assert shop.price(2) == 2.5


def test_a_parameter_without_annotation_is_refused():
    @action(triggers=WEB_GET)
    def plain(value) -> int:
        return value

    with pytest.raises(ServeyError, match="value"):
        create_app(actions=[plain])


def test_two_pages_of_one_template_are_refused_where_they_collide():
    @action(triggers=(WebPageTrigger(), WebPageTrigger(WebTriggerMethod.GET)))
    def twice() -> int:
        return 1

    with pytest.raises(ServeyError, match="twice"):
        create_app(actions=[twice])


def test_authorizations_and_their_scopes():
    assert (KEEPER.has_scope("root"), KEEPER.has_scope("zap")) == (True, False)
    assert (KEEPER.has_any_scope({"zap", "root"}), KEEPER.has_any_scope({"zap"})) == (True, False)
    assert (KEEPER.has_all_scopes({"stock", "root"}), KEEPER.has_all_scopes({"zap", "root"})) == (True, False)
    KEEPER.check_scope("root")
    with pytest.raises(ServeyError):
        KEEPER.check_all_scopes({"root", "zap"})
    assert ROOT.scopes == {"root"}


# --------------------------------------------------------------------------------------------------------------- REST


def test_parameters_come_from_the_query_the_path_and_the_body(http):
    assert http.get("/actions/price", params={"amount": 2}).json() == 2.5
    assert http.get("/actions/total", params={"numbers": [1, 2, 3]}).json() == 6
    assert http.get("/shelf/7").json() == 7
    assert http.post("/rename/7", json={"name": "top"}).json() == "7:top"
    assert http.post("/actions/keep", json={"box": {"label": "b", "inner": [{"label": "c"}]}}).json() == "b"
    assert http.get("/actions/ordered", params={"order.amount": 9}).json() == {
        "amount": 9, "rate": 0.5, "gift": True, "note": None,
    }  # fmt: skip
    assert http.get("/actions/plus", params={"self.weight": 1, "more": 2}).json() == 3
    assert http.head("/actions/price", params={"amount": 2}).status_code == 200


def test_bad_input_is_refused_and_a_bad_result_is_an_error(http):
    assert http.get("/actions/price", params={"amount": "x"}).status_code == 422
    assert http.post("/actions/keep", json={"box": 1}).status_code == 422
    assert http.get("/actions/wrong").status_code == 500


def test_enums_are_their_values(http, schema):
    assert http.get("/actions/size-of", params={"size": "l"}).json() == "LARGE"
    assert http.get("/actions/size-of", params={"size": "LARGE"}).status_code == 422
    parameter = schema["paths"]["/actions/size-of"]["get"]["parameters"][0]
    assert parameter["schema"]["enum"] == ["s", "l"]


def test_what_openapi_says(schema):
    paths = schema["paths"]
    price = paths["/actions/price"]["get"]
    assert price["summary"] == "What some of them cost."
    amount, rate = price["parameters"]
    assert (amount["in"], amount["required"], amount["schema"]["type"]) == ("query", True, "integer")
    assert amount["examples"]["two"] == {"summary": "Two of them", "value": 2}
    assert (rate["required"], rate["schema"]["default"]) == (False, 1.25)
    assert "examples" not in rate
    answers = price["responses"]
    assert answers["200"]["content"]["application/json"]["examples"]["two"]["value"] == 2.5
    assert "422" in answers
    assert paths["/shelf/{row}"]["get"]["parameters"][0]["in"] == "path"
    rename = paths["/rename/{row}"]["post"]
    body = rename["requestBody"]["content"]["application/json"]["schema"]
    while "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert (list(body["properties"]), body["required"]) == (["name"], ["name"])
    assert "security" not in price
    scheme = schema["components"]["securitySchemes"]
    assert [each["flows"]["password"]["tokenUrl"] for each in scheme.values() if each["type"] == "oauth2"] == ["login"]
    assert paths["/actions/secret"]["get"]["security"]
    assert not {"/add", "/go", "/hello"} & set(paths)


def test_guarded_actions_and_the_debug_login(http, keeper):
    assert http.get("/actions/secret", params={"word": "x"}).status_code == 401
    assert http.get("/actions/secret", params={"word": "x"}, headers=keeper).json() == "ada ['root', 'stock'] x"
    wrong = http.post("/login", data={"username": "root", "password": "nothing"})
    right = http.post("/login", data={"username": "root", "password": "open sesame"})
    assert (wrong.status_code, right.status_code) == (401, 200)
    bearer = {"Authorization": f"Bearer {right.json()['access_token']}"}
    assert http.get("/actions/secret", params={"word": "x"}, headers=bearer).json() == "root ['root'] x"


def test_caching_headers(http):
    first = http.get("/actions/cached", params={"word": "a"})
    assert first.headers["cache-control"] in ("private, max-age=30", "private, max-age=29")
    assert first.headers["expires"] and first.headers["etag"]
    same = {"If-None-Match": first.headers["etag"]}
    again = http.get("/actions/cached", params={"word": "a"}, headers=same)
    assert (again.status_code, again.content) == (304, b"")
    dated = http.get("/actions/stored")
    assert dated.headers["last-modified"] == "Wed, 01 Jan 2020 00:00:00 GMT"
    since = {"If-Modified-Since": "Thu, 02 Jan 2020 00:00:00 GMT"}
    assert http.get("/actions/stored", headers=since).status_code == 304
    public = http.get("/actions/hashed").headers
    assert public["etag"] and "private" not in public.get("cache-control", "")


def test_cors(http):
    headers = {"Origin": "https://shop.example"}
    assert http.get("/shelf/1", headers=headers).headers["access-control-allow-origin"] == "https://shop.example"
    other = http.get("/shelf/1", headers={"Origin": "https://other.example"}).headers
    assert "access-control-allow-origin" not in other


# ------------------------------------------------------------------------------------------------------ GraphQL, pages


def test_the_graphql_schema_and_its_fields(app, http):
    text = sdl_of(app.runtime)
    for line in (
        'find(label: String! = ""): Box',
        "keep(box: BoxInput!): String!",
        "inner: [Box!]!",
        "count: Int!",
        "amount: Int! = 3",
        "gift: Boolean! = true",
        "note: String = null",
    ):
        assert line in text, line
    found = query(http, '{ find(label: "store") { label count inner { label count } } }')
    right = {"label": "right", "count": 1}
    assert found["data"]["find"] == {"label": "store", "count": 4, "inner": [{"label": "left", "count": 2}, right]}
    assert query(http, "{ ordered(order: {}) { amount note } }")["data"]["ordered"] == {"amount": 3, "note": None}
    assert query(http, '{ find(label: "nowhere") { label } }') == {"data": {"find": None}}


def test_a_batch_invoker_is_called_once(http):
    shop.Crate.calls.clear()
    found = query(http, "{ crates(weights: [2, 4, 6]) { weight double } }")
    assert [crate["double"] for crate in found["data"]["crates"]] == [4, 8, 12]
    assert shop.Crate.calls == [[2, 4, 6]]


def test_access_control_in_graphql(http, keeper):
    asked = '{ secret(word: "x") }'
    assert query(http, asked)["errors"][0]["extensions"]["code"] == "unauthenticated"
    assert query(http, asked, keeper)["data"] == {"secret": "ada ['root', 'stock'] x"}


def test_pages(http):
    page = http.get("/add", params={"a": 3, "b": 5})
    assert (page.text, page.headers["content-type"].split(";")[0]) == ("The sum is 8", "text/html")
    moved = http.get("/go", params={"to": 8})
    assert (moved.status_code, moved.headers["location"]) == (307, "/add?a=0&b=8")
    assert http.get("/hello").text.startswith("No model: ")


# --------------------------------------------------------------------------------------------------- channels and jobs


def test_a_websocket_channel_delivers_until_it_is_left(http, keeper):
    assert http.post("/actions/send", json={"text": "nobody is here"}).json() is True
    with http.websocket_connect("/subscription") as socket:
        for frame, answer in (
            ({"type": "Subscribe", "payload": "messages"}, "Subscribed"),
            ({"type": "Subscribe", "payload": "unseen"}, "Subscribed"),
            ({"type": "Subscribe", "payload": "staff"}, "Error"),
            ({"type": "Subscribe", "payload": "nothing"}, "Error"),
            ({"type": "Dance", "payload": "messages"}, "Error"),
        ):
            socket.send_json(frame)
            assert socket.receive_json()["type"] == answer, frame
        http.post("/actions/send", json={"text": "first"})
        assert socket.receive_json() == {"type": "Event", "channel": "messages", "payload": "first"}
        socket.send_json({"type": "Unsubscribe", "payload": "messages"})
        assert socket.receive_json() == {"type": "Unsubscribed", "channel": "messages"}
    with http.websocket_connect("/subscription/staff", headers=keeper) as socket:
        http.post("/actions/send", json={"text": "for the staff"})
        assert socket.receive_json() == "for the staff"


def test_asyncapi_names_the_channels(http):
    assert {"messages", "staff", "unseen"} <= set(http.get("/asyncapi.json").json()["channels"])


def test_background_channels_call_their_action(app, http):
    shop.SUMS.clear()
    with enqueued(app) as jobs:
        assert http.post("/actions/sum-up", json={"value": 4}).json() is True
    assert [(job.action, job.params, job.delay) for job in jobs] == [
        ("tally", {"value": 4}, 0),
        ("tally", {"value": 4}, 1),
    ]
    wait_until(lambda: shop.SUMS == [4, 4], "both events")


def test_a_background_channel_needs_an_action_of_one_parameter():
    @action
    def both(one: int, two: int) -> None: ...

    with pytest.raises(ServeyError, match="one parameter"):
        create_app(actions=[both], channels=[background_action_channel(both)])


def test_two_paths_and_no_result_type_are_served_now():
    @action(triggers=(WebTrigger(WebTriggerMethod.POST, "/one"), WebTrigger(WebTriggerMethod.POST, "/two")))
    def both() -> int:
        return 1

    @action(triggers=WEB_POST)
    def untyped():
        return {"any": 1}

    with client(create_app(actions=[both, untyped])) as http:
        assert [http.post(path).json() for path in ("/one", "/two")] == [1, 1]
        assert http.post("/actions/untyped").json() == {"any": 1}
