"""Pasted command lines as people paste them: continued, wrapped, commented, in containers."""

from __future__ import annotations

import pytest

from spark_activator.errors import UserError
from spark_activator.imports import read, words, write
from spark_activator.imports.draft import Draft

# Somebody's, in pieces: no document here names one.
HOME = "/".join(("", "home", "me"))


def one(text: str, **environment: str) -> Draft:
    [draft] = read.drafts(text, origin="test", environment=environment)
    return draft


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("a \\\n  b \\  \n c", ["a", "b", "c"]),
        ('a \'b c\' "d \\" e" f\\ g', ["a", "b c", 'd " e', "f g"]),
        ("a # comment\nb#c", ["a", ";", "b#c"]),
        ("# a comment\n\n\na", ["a"]),
        # A flag on a line of its own belongs to the line above, also where `\` got lost.
        ("vllm serve a\n   --b 1\n\n   # no\n   --c", ["vllm", "serve", "a", "--b", "1", "--c"]),
        ("a > log.txt 2>&1 & b &>/dev/null", ["a", "&", "b"]),
        ("a && b || c; d | e", ["a", "&&", "b", "||", "c", ";", "d", "|", "e"]),
        ('a $(b c | d) `e f` "$(g h)"', ["a", "$(b c | d)", "`e f`", "$(g h)"]),
        ("a ${B:-c}/x ${D-} $E", ["a", "c/x", "", "$E"]),
        ("$ vllm serve a \\\n> --b", ["vllm", "serve", "a", "--b"]),
        ("# vllm serve a", ["vllm", "serve", "a"]),
        ("# vllm serve a\nvllm serve b", ["vllm", "serve", "b"]),
        ("a '{\"b\":\n 1}'", ["a", '{"b":\n 1}']),
        ("", []),
    ],
)
def test_words_are_those_of_a_shell(text: str, split: list[str]) -> None:
    assert words.split(text) == split


@pytest.mark.parametrize("text", ["a 'b", 'a "b', 'a "b\\', "'"])
def test_a_quote_that_is_not_closed_is_said(text: str) -> None:
    with pytest.raises(words.Unclosed):
        words.split(text)


@pytest.mark.parametrize(
    "text",
    [
        "sudo -E docker run -itd --gpus=all vllm/vllm-openai:v1 serve a/b --seed 1",
        "docker container run -p8000:8000 -h spark -w /x vllm/vllm-openai:v1 a/b --seed 1",
        "podman run --rm vllm/vllm-openai:v1 --model a/b --seed 1",
        "docker exec -it vllm bash -c 'vllm serve a/b --seed 1'",
        'docker run x bash -lc "export A=1; exec vllm serve a/b --seed 1"',
        "nohup env A=1 /opt/venv/bin/vllm serve a/b --seed 1 > log 2>&1 &",
        "python -m vllm.entrypoints.openai.api_server --model=a/b --seed=1",
        "export A=1\nexport B=2\nvllm serve a/b \\\n  --seed 1   # always",
    ],
)
def test_serve_is_found_wherever_it_is(text: str) -> None:
    draft = one(text)

    assert draft.model == "a/b"
    assert draft.args == [["--seed", "1"]]
    assert not [line for line in draft.untranslated if "commands" in line]


def test_variables_that_are_exported_before_come_along() -> None:
    draft = one('export A="x y"\nexport B=2 C=3\ncd /srv\nD=4 vllm serve a/b')

    assert draft.env == {"A": "x y", "B": "2", "C": "3", "D": "4"}
    assert draft.untranslated == ["commands before it, 'cd /srv': build an image with them"]


def test_a_second_command_that_serves_is_said_and_not_mixed_in() -> None:
    draft = one("vllm serve a/b --served-model-name x\nvllm serve c/d --max-model-len 1")

    assert (draft.model, draft.name, draft.aliases, draft.context) == ("a/b", "x", [], None)
    assert any("'vllm serve c/d --max-model-len 1'" in line for line in draft.untranslated)


def test_what_only_a_shell_knows_is_no_value() -> None:
    draft = one("A=$B vllm serve a/b --max-model-len $LEN --seed $(date +%s) --x '^a$'")

    assert (draft.args, draft.env) == ([["--x", "^a$"]], {})
    for word in ("A: its value", "--max-model-len $LEN", "--seed $(date +%s)"):
        assert any(word in line for line in draft.untranslated), word


def test_a_value_that_is_not_needed_need_not_be_known() -> None:
    draft = one("vllm serve a/b --host $HOST --port ${PORT} --api-key $VLLM_API_KEY")

    assert draft.untranslated == []
    assert "--api-key: keys are given with spark-model key" in draft.computed


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve a/b --hf-token {}",
        "HF_TOKEN={} vllm serve a/b",
        "export hf_token={} && vllm serve a/b",
        "hf auth login --token {}\nvllm serve a/b",
        "curl -H 'Authorization: Bearer {}' http://x\nvllm serve a/b",
        "vllm serve a/b && curl 'http://x?api_key={}'",
        "docker run -e AWS_ACCESS_KEY_ID={} -e X={} vllm/vllm-openai:v1 --model a/b",
        "docker run -e HTTPS_PROXY=http://me:{}@proxy:1 vllm/vllm-openai:v1 --model a/b",
        "docker run --annotation token={} vllm/vllm-openai:v1 --model a/b",
        'vllm serve a/b --hf-overrides \'{{"x": "{}"}}\'',
        "vllm serve a/b --api-key {}",
    ],
)
def test_no_secret_comes_into_a_file_or_onto_the_terminal(line: str) -> None:
    secret = "hf_" + "ExampleExampleExample"
    draft = one(line.format(*[secret] * line.count("{}")))

    assert secret not in write.text(draft)
    assert secret not in repr(draft.untranslated)


def test_what_is_lost_is_said_on_one_line_that_no_terminal_acts_on() -> None:
    draft = one("vllm serve a/b --cpu-offload-gb '\x1b[2J' 'x\ny'\nfoo\x07 \x85")

    assert len(draft.untranslated) == 2
    assert all(line.isprintable() for line in draft.untranslated)


@pytest.mark.parametrize("name", ["OPENAI_APIKEY", "REDIS_PASSWORDS", "API_KEYS", "my_secret"])
def test_a_name_of_secrets_has_its_value_left_out(name: str) -> None:
    draft = one(f"docker run -e {name}=plain-word vllm/vllm-openai:v1 --model a/b")

    assert draft.env == {}
    assert "plain-word" not in write.text(draft) + repr(draft.untranslated + draft.computed)


def test_a_link_with_a_password_is_named_without_it() -> None:
    [draft] = read.drafts("vllm serve a/b", origin="https://me:s3cret@x/y?token=abcdef")

    assert "s3cret" not in write.text(draft)
    assert "abcdef" not in write.text(draft)


@pytest.mark.parametrize(
    "option",
    [
        "--privileged", "--cap-add=ALL", "--security-opt seccomp=unconfined", "--pid host",
        "-v /:/host", "-v /etc/../root:/x", "-v '/etc/\n:/x'", "-v /var/lib/containerd/y:/x",
        "-v /var/run/docker.sock:/var/run/docker.sock", "-v /var/lib:/x",
        f"-v {HOME}/.ssh:/x:ro", f"-v {HOME}:/me", "-v $HOME:/x", "--device /dev/sda",
        "--mount type=bind,src=/etc,dst=/x", "--mount type=volume,src=a,dst=/x", "--env-file .env",
    ],
)  # fmt: skip
def test_rights_on_the_host_are_not_translated_but_said(option: str) -> None:
    draft = one(f"docker run {option} vllm/vllm-openai:v1 --model a/b")

    assert (draft.mounts, draft.devices, draft.env) == ({}, [], {})
    assert len(draft.untranslated) == 1


def test_what_the_runner_decides_is_said_in_one_line() -> None:
    draft = one("docker run --rm -it --gpus all -p 1:1 --ipc=host vllm/vllm-openai:v1 --model a/b")

    assert draft.untranslated == []
    assert draft.computed == [
        "docker run --rm, -i, -t, --gpus, --publish, --ipc: the runner decides that"
    ]


def test_a_model_in_a_mount_keeps_its_mount() -> None:
    draft = one("docker run -v /srv/m:/models -v /c:/root/.cache/x vllm/vllm-openai:v1 /models/a")

    assert (draft.model, draft.mounts) == ("/models/a", {"/models": "/srv/m"})
    assert "volume /root/.cache/x: caches are the runner's" in draft.computed


@pytest.mark.parametrize("text", ["docker run", "docker run --rm", "vllm", "serve", "bash -c"])
def test_half_a_command_is_none(text: str) -> None:
    with pytest.raises(UserError, match="expected 'vllm serve', there is none"):
        one(text)


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve --seed 1 a/b",
        "vllm serve --seed 1 --trust-remote-code a/b",
        "vllm serve --seed 1 --max-model-len 4096 a/b",
        "vllm serve --seed 1 --no-enable-prefix-caching /srv/a/b",
    ],
)
def test_a_model_behind_its_flags_is_found(line: str) -> None:
    draft = one(line)

    assert draft.model.endswith("a/b")
    assert draft.args[0] == ["--seed", "1"]
    assert draft.untranslated == []
    assert "a/b" not in repr(draft.args)


def test_more_values_than_a_flag_takes_are_said() -> None:
    draft = one("vllm serve a/b --max-model-len 4096 8192 --served-model-name x y")

    assert (draft.context, draft.name, draft.aliases) == (4096, "x", ["y"])
    assert draft.untranslated == ["--max-model-len: '8192' is one value too many"]
