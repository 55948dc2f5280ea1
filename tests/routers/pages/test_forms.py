"""The input of a page from a form, and a form that is shown again with its errors."""


def test_a_form_is_taken(http):
    page = http.post("/orders", data={"name": "ada", "count": "2", "note": "", "gift": "on", "colour": "blue"})
    assert page.text == '<p>{"name":"ada","count":2,"note":"","gift":true,"colour":"blue","code":false}'


def test_what_was_left_empty_has_its_default(http):
    page = http.post("/orders", data={"name": "ada", "count": "", "colour": ""})
    assert '"count":1' in page.text
    assert '"colour":"red"' in page.text


def test_a_multipart_form_with_a_file(http):
    page = http.post("/upload", data={"title": "a"}, files={"picture": ("a.png", b"12345")})
    assert page.text == "a: 5"


def test_json_is_taken_too(http):
    assert '"name":"ada"' in http.post("/orders", json={"name": "ada"}).text


def test_a_form_with_errors_is_shown_again_with_them(http):
    page = http.post("/orders", data={"name": "<", "count": "0", "note": '"><script>', "gift": "on", "code": "secret7"})
    assert page.status_code == 422
    assert '<form class="stack" method="post" action="/orders">' in page.text
    assert "at least 2 characters" in page.text
    assert "greater than or equal to 1" in page.text
    assert 'value="&lt;"' in page.text
    assert 'value="&quot;&gt;&lt;script&gt;"' in page.text
    assert 'name="gift" type="checkbox" value="true" checked' in page.text
    assert "<option>blue</option>" in page.text
    assert "secret7" not in page.text
    assert "<script" not in page.text


def test_a_missing_file_is_a_fields_error(http):
    page = http.post("/upload", data={"title": "a"})
    assert page.status_code == 422
    assert 'enctype="multipart/form-data"' in page.text
    assert 'data-field="picture"' in page.text
    assert "Field required" in page.text


def test_a_query_with_errors(http):
    page = http.get("/items/tea?price=x")
    assert page.status_code == 422
    assert "valid number" in page.text
