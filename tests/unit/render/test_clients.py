"""The configurations of clients: each parses in its format, and says what the models can do."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_activator.catalog.model import (
    Capabilities,
    Client,
    Engine,
    Lifecycle,
    Model,
    Source,
    Tools,
)
from spark_activator.render.clients.page import page
from spark_activator.render.clients.texts import CLIENTS
from spark_activator.render.clients.told import Told, choose, issues, output

URL = "http://spark.example:8009"
PAGE = Path(__file__).parents[3] / "docs/integrations.md"


def model(name: str, **values: Any) -> Model:
    return Model(
        name=name, port=18300, engine=Engine.VLLM, source=Source("a/b"), memory=1 << 30, **values
    )


BIG = model(
    "qwen-1.5",
    context=131072,
    client=Client(context=108000, output=4096),
    capabilities=Capabilities(tools=Tools.FORCED, vision=True, reasoning=True),
    issues=(
        "OpenCode sends no images on Linux.",
        "Crashes with more than 8 requests: #1 \"odd\".",
        "Aider and Codex disagree.",
    ),
)  # fmt: skip
SMALL = model(
    "a-small", context=8192, lifecycle=Lifecycle.UTILITY, capabilities=Capabilities(Tools.NONE)
)
UNKNOWN = model("unknown")


def told(*models: Model, url: str = URL) -> Told:
    found = choose(models or (BIG, SMALL, UNKNOWN), url=url)
    assert found is not None
    return found


def text(client: str) -> str:
    return CLIENTS[client].text(told())


def test_page_is_fresh() -> None:
    # Write it anew: python -m spark_activator.render.clients > docs/integrations.md
    assert PAGE.read_text() == page()


def test_opencode_has_limits_and_what_each_model_can_do() -> None:
    config = json.loads(text("opencode"))
    provider = config["provider"]["spark"]

    assert provider["options"] == {"baseURL": f"{URL}/v1", "apiKey": "{env:SPARK_KEY}"}
    assert provider["models"] == {
        "qwen-1.5": {
            "name": "qwen-1.5",
            "limit": {"context": 108000, "output": 4096},
            "tool_call": True,
            "reasoning": True,
            "attachment": True,
            "modalities": {"input": ["text", "image"], "output": ["text"]},
        },
        "a-small": {
            "name": "a-small",
            "limit": {"context": 8192, "output": 2048},
            "tool_call": False,
        },
        # It wants both limits, and knows its own defaults.
        "unknown": {"name": "unknown"},
    }
    assert (config["model"], config["small_model"]) == ("spark/qwen-1.5", "spark/a-small")


def test_continue_names_capabilities_also_where_there_are_none() -> None:
    models = {entry["model"]: entry for entry in yaml.safe_load(text("continue"))["models"]}

    assert models["qwen-1.5"]["capabilities"] == ["tool_use", "image_input"]
    assert models["a-small"]["capabilities"] == []
    assert models["qwen-1.5"]["defaultCompletionOptions"] == {
        "contextLength": 108000,
        "maxTokens": 4096,
    }
    assert "defaultCompletionOptions" not in models["unknown"]
    assert {entry["apiBase"] for entry in models.values()} == {f"{URL}/v1"}
    assert {entry["apiKey"] for entry in models.values()} == {"${{ secrets.SPARK_KEY }}"}


def test_litellm_knows_limits_and_tries_again() -> None:
    config = yaml.safe_load(text("litellm"))
    models = {entry["model_name"]: entry for entry in config["model_list"]}

    assert models["qwen-1.5"]["litellm_params"] == {
        "model": "openai/qwen-1.5",
        "api_base": f"{URL}/v1",
        "api_key": "os.environ/SPARK_KEY",
    }
    assert models["qwen-1.5"]["model_info"] == {
        "max_input_tokens": 108000,
        "max_output_tokens": 4096,
        "supports_function_calling": True,
        "supports_vision": True,
        "supports_reasoning": True,
    }
    assert models["a-small"]["model_info"]["supports_function_calling"] is False
    assert config["litellm_settings"]["num_retries"] > 0


def test_codex_talks_responses_and_names_the_others() -> None:
    config = tomllib.loads(text("codex"))

    assert (config["model"], config["model_context_window"]) == ("qwen-1.5", 108000)
    assert config["model_providers"][config["model_provider"]] == {
        "name": "Spark",
        "base_url": f"{URL}/v1",
        "env_key": "SPARK_KEY",
        "wire_api": "responses",
    }
    assert "# Others, by -m: a-small, unknown" in text("codex")


def test_claude_code_gets_the_url_without_v1() -> None:
    pairs = dict(re.findall(r"^export (\w+)=(\S+)$", text("claude-code"), re.M))

    assert pairs == {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_AUTH_TOKEN": '"${SPARK_KEY:-none}"',
        "ANTHROPIC_MODEL": "qwen-1.5",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "qwen-1.5",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "qwen-1.5",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "a-small",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "4096",
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "108000",
    }


def test_claude_code_is_told_of_small_windows_in_words() -> None:
    # Its variable has a least value, so a smaller one would be taken for that.
    small = CLIENTS["claude-code"].text(told(model("x", context=32768)))

    assert "export CLAUDE_CODE_AUTO_COMPACT_WINDOW=32768" in small
    assert "/compact in time" in small
    assert "/compact" not in text("claude-code")


@pytest.mark.parametrize("client", ["claude-code", "cline"])
def test_what_is_typed_is_a_script(client: str) -> None:
    told_of = told(BIG, url="https://[fd00::1]:8443/a~b/")
    script = CLIENTS[client].text(told_of)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert told_of.url == "https://[fd00::1]:8443/a~b"


def test_openwebui_is_an_environment() -> None:
    lines = [line for line in text("openwebui").splitlines() if not line.startswith("#")]

    assert dict(line.split("=", 1) for line in lines)["OPENAI_API_BASE_URL"] == f"{URL}/v1"


def test_aider_has_limits_for_a_second_file() -> None:
    config = yaml.safe_load(text("aider"))
    limits = json.loads("".join(re.findall(r"^#\|(.*)$", text("aider"), re.M)))

    assert config == {
        "openai-api-base": f"{URL}/v1",
        "model": "openai/qwen-1.5",
        "weak-model": "openai/a-small",
    }
    assert limits["openai/qwen-1.5"]["max_input_tokens"] == 108000
    assert "openai/unknown" not in limits


def test_cline_has_the_command_and_every_field() -> None:
    lines = text("cline").splitlines()

    assert [line for line in lines if not line.startswith("#")] == [
        f'cline auth -p openai -k "${{SPARK_KEY:-none}}" -m qwen-1.5 -b {URL}/v1'
    ]
    assert "#   Model ID: qwen-1.5" in lines
    assert "#     Context Window Size: 108000" in lines


@pytest.mark.parametrize("client", CLIENTS)
def test_problems_of_other_clients_are_left_out(client: str) -> None:
    found = issues(BIG, client)

    assert ("OpenCode sends no images on Linux." in found) == (client == "opencode")
    assert ("Aider and Codex disagree." in found) == (client in {"aider", "codex"})
    assert any("Crashes" in line for line in found)
    # Where the format has comments.
    assert ("# qwen-1.5: Crashes with more" in text(client)) == (client != "opencode")


def test_main_model_can_call_tools_and_the_owner_may_name_another() -> None:
    plain = model("a", capabilities=Capabilities(Tools.NONE))
    embedder = model("0", args=("--runner", "pooling"))

    assert told(plain, UNKNOWN, embedder).main is UNKNOWN
    assert told(plain, UNKNOWN, embedder).small is UNKNOWN
    assert told(plain, embedder).models == (plain,)
    assert told(SMALL).main is SMALL
    named = choose([plain, UNKNOWN], default="a")
    assert named is not None
    assert named.main is plain
    assert choose([embedder]) is None


def test_url_may_end_in_v1_and_slashes() -> None:
    assert told(url=f"{URL}/v1/").base == f"{URL}/v1"


def test_answers_leave_room_for_the_question() -> None:
    assert output(model("x", context=4096)) == 1024
    assert output(model("x", context=1 << 20)) == 8192
    assert output(UNKNOWN) is None
