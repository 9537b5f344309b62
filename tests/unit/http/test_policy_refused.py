"""What no client may ask for, and how it is told."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from policy_requests import FUNCTION, HELLO, TOOL, ask, chat, refusal, sent

from spark_activator.http.endpoints import JSON_BODIES, Endpoint
from spark_activator.http.policy.refused import REFUSED
from spark_activator.http.policy.schemas import (
    LONGEST_GRAMMAR,
    LONGEST_REGEX,
    LONGEST_SCHEMA,
    MOST_CHOICES,
    MOST_TOOLS,
)

DATA = "data:image/png;base64,AAAA"


def user(*parts: Any) -> dict[str, Any]:
    return chat({"role": "user", "content": list(parts)})


class TestFields:
    @pytest.mark.parametrize("field", REFUSED)
    def test_are_refused_on_every_endpoint(self, field: str) -> None:
        for endpoint in JSON_BODIES:
            refused = refusal({**HELLO, field: {"a": "secret"}}, endpoint)

            assert (refused.code, refused.kind.status) == ("unsupported_field", 400)
            assert refused.message.startswith(f"{field}: ")
            assert "secret" not in refused.message

    @pytest.mark.parametrize("field", REFUSED)
    def test_pass_where_the_owner_allows_them(self, field: str) -> None:
        fields = {**HELLO, field: {"a": 1}}

        assert sent(ask(fields, allow=(field,))) == fields

    @pytest.mark.parametrize("nothing", [None, {}, [], ""])
    def test_that_say_nothing_pass(self, nothing: object) -> None:
        assert ask({**HELLO, "chat_template": nothing}).changed == ()

    @pytest.mark.parametrize("something", [0, False, "x", [0]])
    def test_that_say_anything_do_not(self, something: object) -> None:
        assert refusal({**HELLO, "chat_template": something}).code == "unsupported_field"

    def test_unknown_ones_pass(self) -> None:
        assert ask({**HELLO, "whatever": {"chat_template": "x"}}).changed == ()


class TestArguments:
    def test_three_of_the_template_pass(self) -> None:
        known = {"enable_thinking": True, "thinking": True, "reasoning_effort": "low"}

        assert ask({**HELLO, "chat_template_kwargs": known}).changed == ()

    @pytest.mark.parametrize("name", ["tokenize", "chat_template", "style", "enable_thinking "])
    def test_others_do_not(self, name: str) -> None:
        refused = refusal({**HELLO, "chat_template_kwargs": {name: True}})

        assert refused.message.startswith(f"chat_template_kwargs.{name}: not served")

    @pytest.mark.parametrize("allow", ["chat_template_kwargs", "style"])
    def test_unless_the_owner_allows_one_or_all(self, allow: str) -> None:
        fields = {**HELLO, "chat_template_kwargs": {"style": "terse"}}

        assert ask(fields, allow=(allow,)).changed == ()


class TestNumbers:
    @pytest.mark.parametrize("field", ["n", "best_of"])
    def test_of_choices(self, field: str) -> None:
        assert ask({**HELLO, field: 16}).changed == ()
        assert ask({**HELLO, field: 17}, most_choices=17).changed == ()
        for value in (17, 16_384, 1e6, -1, "17", 10**30):
            refused = refusal({**HELLO, field: value})
            assert refused.message.startswith(f"{field}: expected ")

    @pytest.mark.parametrize("field", ["logprobs", "top_logprobs", "prompt_logprobs"])
    def test_of_probabilities(self, field: str) -> None:
        for value in (0, 20, True, False, None):
            assert ask({**HELLO, field: value}).changed == ()
        for value in (21, -1, 1e9, "5"):
            assert refusal({**HELLO, field: value}).code == "unsupported_field"

    def test_of_messages(self) -> None:
        many = ["a"] * 10_000

        assert ask(chat(*many)).changed == ()
        assert refusal(chat(*many, "b")).message.startswith("messages: at most 10000")
        items = {"input": chat(*many, "b")["messages"]}
        assert refusal(items, Endpoint.RESPONSES).message.startswith("input: at most")

    def test_of_inputs_to_embed_is_not_limited(self) -> None:
        assert ask({"input": ["a"] * 10_001}, Endpoint.EMBEDDINGS).changed == ()


class TestTools:
    GOOD: ClassVar[Any] = [
        [TOOL],
        [{"type": "function", "function": {"name": "a"}}],
        [FUNCTION | {"type": "function"}],
        [{"name": "a", "input_schema": {"type": "object"}}],
        [{"type": "web_search_20250305", "name": "web_search"}],
        [{"type": "mcp", "server_label": "x"}],
        [],
        None,
    ]

    @pytest.mark.parametrize("tools", GOOD)
    def test_of_every_api_pass(self, tools: Any) -> None:
        assert ask({**HELLO, "tools": tools}).changed == ()

    @pytest.mark.parametrize(
        ("tools", "where"),
        [
            ("x", "tools"),
            ({"a": 1}, "tools"),
            ([1], "tools[0]"),
            ([TOOL, None], "tools[1]"),
            ([{"type": 7}], "tools[0].type"),
            ([{"type": "function", "function": "x"}], "tools[0].function"),
            ([{"function": {"name": 7}}], "tools[0].name"),
            ([{"function": {"name": "a", "parameters": []}}], "tools[0].parameters"),
            ([{"name": "a", "input_schema": "x"}], "tools[0].input_schema"),
        ],
    )
    def test_of_no_api_are_refused(self, tools: Any, where: str) -> None:
        assert refusal({**HELLO, "tools": tools}).message.startswith(f"{where}: ")

    @pytest.mark.parametrize(
        ("schema", "where"),
        [
            # CVE-2025-48944: these two ended the engine.
            ({"type": 1}, ".type"),
            ({"pattern": 5}, ".pattern"),
            ({"type": ["string", None]}, ".type"),
            ({"properties": []}, ".properties"),
            ({"properties": {"a": 7}}, ".properties.a"),
            ({"properties": {"a": {"type": {}}}}, ".properties.a.type"),
            ({"items": {"pattern": []}}, ".items.pattern"),
            ({"items": [{"type": 1}]}, ".items[0].type"),
            ({"anyOf": [True, {"not": {"type": 1}}]}, ".anyOf[1].not.type"),
            ({"$defs": {"a": {"type": 1}}}, ".$defs.a.type"),
            ({"additionalProperties": 7}, ".additionalProperties"),
        ],
    )
    def test_schemas_have_the_shape_that_engines_rely_on(self, schema: Any, where: str) -> None:
        tool = {"type": "function", "function": {"name": "a", "parameters": schema}}

        refused = refusal({**HELLO, "tools": [tool]})

        assert refused.message.startswith(f"tools[0].parameters{where}: ")

    def test_every_keyword_that_has_schemas_is_looked_into(self) -> None:
        wrong = {"type": 1}
        one = "additionalProperties contains else if items not propertyNames then"
        one += " unevaluatedItems unevaluatedProperties"
        schemas: list[dict[str, Any]] = [{key: wrong} for key in one.split()]
        schemas += [{key: [wrong]} for key in ["allOf", "anyOf", "items", "oneOf", "prefixItems"]]
        named = "$defs definitions dependentSchemas patternProperties properties"
        schemas += [{key: {"a": wrong}} for key in named.split()]
        for schema in schemas:
            tools = [{"name": "a", "input_schema": schema}]
            assert refusal({**HELLO, "tools": tools}).message.endswith("or a list of them"), schema

    def test_names_and_data_in_schemas_are_free(self) -> None:
        schema = {
            "type": ["object", "null"],
            "properties": {
                "type": {"type": "string", "enum": [{"type": 1}]},
                "pattern": {"type": "any", "default": {"pattern": 5}},
                "properties": {"const": {"items": 3}},
            },
            "additionalProperties": False,
            "patternProperties": None,
            "required": ["type"],
        }

        assert ask({**HELLO, "tools": [{"name": "a", "input_schema": schema}]}).changed == ()

    def test_there_are_not_too_many(self) -> None:
        assert ask({**HELLO, "tools": [TOOL] * MOST_TOOLS}).changed == ()
        for key in ("tools", "functions"):
            refused = refusal({**HELLO, key: [FUNCTION] * (MOST_TOOLS + 1)})
            assert refused.message.startswith(f"{key}: at most")


class TestGrammars:
    @pytest.mark.parametrize(
        "field",
        [
            "guided_regex",
            "regex",
            "guided_whitespace_pattern",
            "structured_outputs.regex",
            "structured_outputs.whitespace_pattern",
            "response_format.regex",
            "text.format.regex",
        ],
    )
    def test_expressions(self, field: str) -> None:
        assert ask({**HELLO, **nested(field, "[a-z]{1,1000}(x{2})")}).changed == ()
        for wrong in ("a" * (LONGEST_REGEX + 1), ".{1,1001}", ".{5000}", ".{99999,}", 7):
            refused = refusal({**HELLO, **nested(field, wrong)})
            assert refused.message.startswith(f"{field}: "), wrong

    @pytest.mark.parametrize(
        "field",
        ["guided_grammar", "ebnf", "structured_outputs.grammar", "output_config.format.grammar"],
    )
    def test_grammars(self, field: str) -> None:
        assert ask({**HELLO, **nested(field, "a" * LONGEST_GRAMMAR)}).changed == ()
        refused = refusal({**HELLO, **nested(field, "a" * (LONGEST_GRAMMAR + 1))})
        assert refused.message.startswith(f"{field}: at most")

    @pytest.mark.parametrize(
        "field", ["guided_json", "structured_outputs.json", "json_schema", "response_format.schema"]
    )
    def test_schemas(self, field: str) -> None:
        good = {"type": "object", "properties": {"a": {"type": "string"}}}
        assert ask({**HELLO, **nested(field, good)}).changed == ()
        large = {**good, "description": "x" * LONGEST_SCHEMA}
        assert refusal({**HELLO, **nested(field, large)}).code == "unsupported_field"
        wrong = {"items": {"pattern": ".{9999}"}}
        assert (
            "items.pattern: nothing is repeated"
            in refusal({**HELLO, **nested(field, wrong)}).message
        )

    def test_schema_of_the_answers_format(self) -> None:
        inner = {"name": "a", "schema": {"type": 7}}
        fields = {**HELLO, "response_format": {"type": "json_schema", "json_schema": inner}}

        assert refusal(fields).message.startswith("response_format.schema.type: ")

    @pytest.mark.parametrize("field", ["guided_choice", "structured_outputs.choice"])
    def test_choices(self, field: str) -> None:
        assert ask({**HELLO, **nested(field, ["a"] * MOST_CHOICES)}).changed == ()
        refused = refusal({**HELLO, **nested(field, ["a"] * (MOST_CHOICES + 1))})
        assert refused.message.startswith(f"{field}: at most")

    def test_words_that_are_no_grammar_pass(self) -> None:
        for odd in ("x", None, ["x"], {"type": "text"}, {"json_schema": 7}):
            assert ask({**HELLO, "response_format": odd, "structured_outputs": odd}).changed == ()

    def test_looking_for_repeats_takes_no_time(self) -> None:
        hostile = "{" + "1" * (LONGEST_REGEX - 1)
        schema = {"properties": {str(n): {"pattern": hostile} for n in range(300)}}

        assert ask({**HELLO, "guided_json": None, "tools": [{"input_schema": schema}]})


class TestMedia:
    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": {"url": DATA}},
            {"type": "image_url", "image_url": DATA},
            {"type": "input_image", "image_url": "DATA:image/png;base64,AA"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AA"}},
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
            {"type": "file", "file": {"file_data": "AAAA", "filename": "http://a"}},
            {"type": "input_file", "file_id": "file-1"},
            {"type": "search_result", "source": "https://example.org", "content": []},
            {"type": "tool_use", "input": {"image_url": "https://example.org/a.png"}},
            {"type": "text", "text": "https://example.org/a.png"},
            {"type": "image_url", "image_url": None},
        ],
    )
    def test_in_the_request_itself_pass(self, part: dict[str, Any]) -> None:
        assert ask(user(part)).changed == ()

    @pytest.mark.parametrize(
        ("part", "where"),
        [
            ({"type": "image_url", "image_url": {"url": "http://a/b.png"}}, ".image_url.url"),
            ({"type": "image_url", "image_url": "https://a/b.png"}, ".image_url"),
            ({"image_url": "https://a/b.png"}, ".image_url"),
            ({"type": "text", "text": "", "image_url": "file:///etc/passwd"}, ".image_url"),
            ({"type": "input_image", "image_url": " data:image/png"}, ".image_url"),
            ({"type": "image_url", "image_url": {"url": "datax:"}}, ".image_url.url"),
            ({"type": "image_url", "image_url": {"url": ""}}, ".image_url.url"),
            ({"type": "audio_url", "audio_url": {"url": "http://a"}}, ".audio_url.url"),
            ({"type": "input_file", "file_url": "https://a"}, ".file_url"),
            ({"type": "file", "file": {"url": "https://a"}}, ".file.url"),
            ({"type": "image", "image": "https://a"}, ".image"),
            ({"type": "image", "source": {"type": "url", "url": "https://a"}}, ".source.url"),
            (
                {"type": "tool_result", "content": [{"type": "x", "image_url": "http://a"}]},
                ".content[0].image_url",
            ),
        ],
    )
    def test_that_have_to_be_fetched_do_not(self, part: dict[str, Any], where: str) -> None:
        refused = refusal(user({"type": "text", "text": "x"}, part))

        assert refused.code == "unsupported_media"
        assert refused.message.startswith(f"messages[0].content[1]{where}: only data")

    @pytest.mark.parametrize(
        ("fields", "endpoint", "where"),
        [
            ({"messages": [], "system": [{"image_url": "http://a"}]}, "messages", "system[0]"),
            ({"input": [{"content": [{"image_url": "x"}]}]}, "responses", "input[0].content[0]"),
            ({"input": [{"output": [{"image_url": "x"}]}]}, "responses", "input[0].output[0]"),
            ({"input": [[{"content": {"image_url": "x"}}]]}, "embeddings", "input[0][0].content"),
            ({"query": {"content": [{"image_url": "x"}]}}, "rerank", "query.content[0]"),
            ({"documents": [{"image": "http://a"}]}, "rerank", "documents[0]"),
            ({"text_2": [{"content": [{"image_url": "x"}]}]}, "score", "text_2[0].content[0]"),
        ],
    )
    def test_wherever_an_endpoint_has_them(
        self, fields: dict[str, Any], endpoint: str, where: str
    ) -> None:
        assert refusal(fields, Endpoint(endpoint)).message.startswith(where)

    @pytest.mark.parametrize("endpoint", sorted(JSON_BODIES))
    @pytest.mark.parametrize("inside", ["{}", '{"content": {}}', '[{"content": [{}]}]', "[[{}]]"])
    def test_in_every_field_that_an_engine_looks_into(
        self, endpoint: Endpoint, inside: str
    ) -> None:
        fields = "messages input system query documents queries items data_1 data_2 text_1 text_2"
        for field in fields.split():
            value = inside.replace("{}", '{"image_url": "http://a"}')
            body = f'{{"{field}": {value}}}'
            assert refusal(body, endpoint).code == "unsupported_media", field

    @pytest.mark.parametrize(
        "kind", ["image_embeds", "audio_embeds", "video_embeds", "prompt_embeds"]
    )
    def test_vectors_in_their_place_do_not(self, kind: str) -> None:
        for part in (
            {"type": kind, "data": "AA"},
            {kind: "AA"},
            {"type": "text", kind: {"a": "A"}},
        ):
            refused = refusal(user(part))
            assert refused.code == "unsupported_field"
            assert kind in refused.message
            assert ask(user(part), allow=(kind,)).changed == ()

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA"}},
            {"type": "video", "video": DATA},
            {"video_url": DATA},
            {"type": "input_video"},
        ],
    )
    def test_videos_pass_where_the_owner_allows_them(self, part: dict[str, Any]) -> None:
        assert refusal(user(part)).message == "messages[0].content[0]: videos are not served"
        assert ask(user(part), allow=("video_url",)).changed == ()


class TestHosts:
    KEYS: ClassVar[Any] = {"network": "outbound", "media_hosts": ("media.example.org", "192.0.2.7")}

    def part(self, url: str) -> dict[str, Any]:
        return user({"type": "image_url", "image_url": {"url": url}})

    @pytest.mark.parametrize(
        "url",
        [
            "https://media.example.org/a.png",
            "http://MEDIA.example.org:8080/a?b=c&d=%20@x",
            "https://192.0.2.7",
            "https://media.example.org?x",
            DATA,
        ],
    )
    def test_that_the_file_names_are_fetched_from(self, url: str) -> None:
        assert ask(self.part(url), **self.KEYS).changed == ()

    @pytest.mark.parametrize(
        "url",
        [
            "https://example.org/a.png",
            "https://evil.media.example.org/",
            "https://media.example.org.evil/",
            "https://media.example.org@evil/",
            "https://evil/@media.example.org",
            "https://user@media.example.org/",
            "https://media.example.org\\@evil/",
            "https://media.example.org/\\evil",
            "https://evil\\media.example.org/",
            "https://media.example.org#@evil/",
            " https://media.example.org/",
            "https://media.example.org/ a",
            "https://media.example.org/\n",
            "https:media.example.org/",
            "https:///media.example.org/",
            "//media.example.org/",
            "ftp://media.example.org/",
            "file://media.example.org/etc/passwd",
            "https://media.example.org:99999999/",
            "https://media。example.org/",
        ],
    )
    def test_others_are_not(self, url: str) -> None:
        refused = refusal(self.part(url), **self.KEYS)

        assert refused.code == "unsupported_media"
        assert "evil" not in refused.message

    def test_hosts_are_nothing_without_a_network(self) -> None:
        keys = {**self.KEYS, "network": "none"}

        assert refusal(self.part("https://media.example.org/"), **keys).code == "unsupported_media"

    def test_network_is_nothing_without_hosts(self) -> None:
        refused = refusal(self.part("https://media.example.org/"), network="outbound")

        assert "only data" in refused.message


def nested(path: str, value: Any) -> dict[str, Any]:
    """Make `{"a": {"b": value}}` of `a.b`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def test_paths_in_messages_are_short_whatever_a_client_names_its_keys() -> None:
    schema = {"properties": {"x" * 10_000: {"type": 1}}}

    message = refusal({**HELLO, "tools": [{"input_schema": schema}]}).message

    assert re.fullmatch(r"tools\[0\]\.input_schema\.properties\.x{64}\.type: .{1,80}", message)
