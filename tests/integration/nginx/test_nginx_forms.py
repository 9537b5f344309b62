"""Forms are routed by their field `model`, or refused where it could be read in two ways."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TARGET = "/v1/audio/transcriptions"
FORM = "multipart/form-data; boundary="


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


def form(*parts: bytes, boundary: str = "x") -> bytes:
    mark = b"--" + boundary.encode()
    return b"".join(mark + b"\r\n" + each + b"\r\n" for each in parts) + mark + b"--\r\n"


MODEL = part("model", b"story")
SOUND = part("file", b"RIFF\x00\xff\r\n--\r\n--y\r\n", '; filename="a.wav"')


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM + "x", form(MODEL, SOUND)),
        (FORM + "x", form(SOUND, MODEL)),
        (FORM + '"x"', form(MODEL)),
        ("Multipart/Form-Data;charset=utf-8; Boundary=x", form(MODEL)),
        (FORM + "----WebKit-ABC", form(SOUND, MODEL, boundary="----WebKit-ABC")),
        (FORM + '"a b:c"', form(MODEL, boundary="a b:c")),
        (FORM + "x", b"preamble\r\n" + form(MODEL) + b"epilogue --x"),
        (FORM + "x", form(part("file", b"", '; filename="model\\"; name=\\"z"'), MODEL)),
        (FORM + "x", form(part("file", b"a", "; filename=\"caf\u00e9.mp3\""), MODEL)),
        (FORM + "x", form(part("prompt", b"\r\nmodel\r\n\r\necho"), part("empty", b""), MODEL)),
        (FORM + "x", form(b"X: y\r\nCONTENT-DISPOSITION:form-data;name=model\r\n\r\nstory")),
        (FORM + "x", form(MODEL, MODEL)),
    ],
    ids=range(12),
)  # fmt: skip
def test_form_goes_to_the_model_that_its_field_names(nginx, story, echo, kind, body):
    reply = nginx.ask("POST", TARGET, body, {"Content-Type": kind})

    assert reply.json == {"served_by": "story"}
    assert (story.last.body, story.last.headers["Content-Type"]) == (body, kind)
    assert echo.arrived == []


MANY = [part(f"f{n}", b"1") for n in range(70)]


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("multipart/form-data", form(MODEL), "boundary"),
        (FORM, form(MODEL), "boundary"),
        (FORM + "x; boundary=y", form(MODEL), "twice"),
        (FORM + "x" * 71, form(MODEL, boundary="x" * 71), "boundary"),
        (FORM + '"x', form(MODEL), "string"),
        (FORM + "x", b"", "empty"),
        (FORM + "x", form(SOUND), "names no model"),
        (FORM + "x", form(MODEL, part("model", b"echo")), "twice"),
        (FORM + "x", form(part("model", b"story", "; filename=a")), "no name"),
        (FORM + "x", form(part("model", b"")), "no name"),
        (FORM + "x", form(part("model", b"\xff\xfe")), "no name"),
        (FORM + "x", form(part("model", b"story" * 1000)), "no name"),
        (FORM + "x", form(part("model", b"story", '; name="other"')), "twice"),
        (FORM + "x", form(MODEL).replace(b"\r\n", b"\n"), "boundary"),
        (FORM + "x", form(MODEL)[:-6], "missing"),
        (FORM + "x", form(MODEL).replace(b"--x\r\n", b"--x \r\n"), "line"),
        (FORM + "x", form(b"X: y\nZ: a\r\n" + MODEL), "line that is none"),
        (FORM + "x", form(b" folded\r\n" + MODEL), "line that is none"),
        (FORM + "x", form(b"X: " + b"y" * 5000 + b"\r\n" + MODEL), "4096 bytes"),
        (FORM + "x", form(b"\r\nstory"), "head of a part"),
        (FORM + "x", form(b"Content-Type: a/b\r\n\r\nstory"), "no name"),
        (FORM + "x", form(b"Content-Disposition: attachment; name=model\r\n\r\nstory"), "no name"),
        (FORM + "x", b"--x\r\n" + part("model", b"--x--\r\n"), "missing"),
        (FORM + "x", form(MODEL + b"\r\n--xy"), "line"),
        (FORM + "x", form(*MANY, MODEL), "64"),
    ],
)
def test_form_that_could_be_read_in_two_ways_is_refused(nginx, story, echo, kind, body, why):
    reply = nginx.ask("POST", TARGET, body, {"Content-Type": kind})

    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert why in reply.error["message"]
    assert story.arrived == echo.arrived == []


def test_form_and_path_disagree(nginx, story, echo):
    headers = {"Content-Type": FORM + "x"}
    reply = nginx.ask("POST", "/v1/echo/audio/transcriptions", form(MODEL), headers)

    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    alias = form(part("model", b"openai/gpt-story"))
    assert nginx.ask("POST", "/v1/story/audio/translations", alias, headers).status == 200
    assert [request.target for request in story.arrived] == ["/v1/audio/translations"]
    assert echo.arrived == []


def test_form_with_an_unknown_model(nginx):
    body = form(part("model", b"stori"))
    reply = nginx.ask("POST", TARGET, body, {"Content-Type": FORM + "x"})

    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert "'story'" in reply.error["message"]


def test_large_form_full_of_what_is_nearly_a_boundary(nginx, story):
    # Each `\r\n--` begins a search that fails at the last byte.
    sound = (
        part("file", b"\r\n--" + b"-" * 60 + b"Y", '; filename="a"')
        + (b"\r\n--" + b"-" * 60 + b"Y") * 100_000
    )
    body = form(sound, MODEL, boundary="-" * 60 + "X")
    headers = {"Content-Type": FORM + "-" * 60 + "X"}

    assert nginx.ask("POST", TARGET, body, headers).status == 200
    assert story.last.body == body


@settings(
    max_examples=60,
    deadline=None,
    # Nothing of an example is left for the next one.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    fields=st.lists(
        st.tuples(
            st.text('abcé "\\;=', min_size=1, max_size=6),
            st.binary(max_size=40).filter(lambda data: b"--x" not in data),
        ),
        max_size=4,
    ),
    place=st.integers(0, 4),
)
def test_any_fields_around_it_do_not_hide_it(nginx, fields, place):
    parts = [part(name.replace("\\", "\\\\").replace('"', '\\"'), value) for name, value in fields]
    body = form(*parts[:place], MODEL, *parts[place:])

    reply = nginx.ask("POST", TARGET, body, {"Content-Type": FORM + "x"})
    assert reply.json == {"served_by": "story"}
