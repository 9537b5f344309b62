"""`spark-model pull` against a hub on this machine."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, Repo
from ports import free_port
from runner_world import until
from terminal import Terminal

from spark_activator import hub as cache
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.runner.machine import find_hub
from spark_activator.weights import place, remote

# Later a hub that is silent is given up anyway.
LIMIT = remote.READ_TIMEOUT - 5

NAME = "acme/tiny"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NOBODY = 65534


def weights(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count)


def files() -> dict[str, bytes]:
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
    return {
        "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
        "tokenizer.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        SHARDS[0]: weights(3 << 20, 1),
        SHARDS[1]: weights(1 << 20, 2),
        "README.md": b"# tiny",
        "original/consolidated.00.pth": b"x" * 1000,
        "tiny-Q4.gguf": b"y" * 1000,
    }


@dataclass
class Machine:
    """A machine in a directory with one model, `tiny`.

    Attributes:
        endpoint: Where it looks for the hub, where that is not `hub`.
    """

    root: Path
    hub: Hub
    endpoint: str = ""

    def __post_init__(self) -> None:
        (self.root / "config/models").mkdir(parents=True)
        self.model_file("tiny", f"{{model: {NAME}}}")
        images = "vllm: {reference: example.org/vllm, pinned: false}\n"
        (self.root / "config/images.yaml").write_text(images)

    def model_file(self, name: str, source: str, port: int = 18300) -> None:
        text = f"source: {source}\nimage: vllm\nmemory: 1GiB\nport: {port}\n"
        (self.root / f"config/models/{name}.yaml").write_text(text)

    def host(self, *caches: Path) -> None:
        places = ", ".join(str(place) for place in caches)
        (self.root / "config/host.yaml").write_text(f"hub_caches: [{places}]\n")

    @property
    def own(self) -> Path:
        return self.root / "state/hub"

    def environment(self) -> dict[str, str]:
        roots = {f"SPARK_{name.upper()}": str(self.root / name) for name in ("config", "state")}
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
            **roots,
            "SPARK_RUN": str(self.root / "run"),
            "SPARK_SHARE": str(self.root / "share"),
            "HF_ENDPOINT": self.endpoint or self.hub.endpoint,
            "HF_HOME": str(self.root / "hf"),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "spark_activator.cli", *arguments],
            env=self.environment(), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    def type(self, answer: str, prompt: str, *arguments: str) -> tuple[int, str]:
        """Run it at a terminal, and type *answer* once it says *prompt*."""
        with Terminal(*arguments, environment=self.environment()) as terminal:
            terminal.wait_for(prompt)
            terminal.type(answer)
            return terminal.end(), terminal.said

    def is_whole(self, place: Path | None = None) -> bool:
        return cache.has(str(place or self.own), NAME, None) is True


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Hub({NAME: Repo(files())}) as hub:
        yield Machine(tmp_path, hub)


def test_what_an_engine_needs_comes_and_is_as_the_hub_lays_it_out(machine: Machine) -> None:
    code, out, err = machine.run("pull", "tiny")

    assert (code, err) == (0, "")
    root = machine.own / "models--acme--tiny"
    snapshot = root / "snapshots" / COMMIT
    given = files()
    wanted = set(given) - {"README.md", "original/consolidated.00.pth", "tiny-Q4.gguf"}
    assert {path.name for path in snapshot.iterdir()} == wanted
    assert all((snapshot / name).read_bytes() == given[name] for name in wanted)
    link = os.readlink(snapshot / SHARDS[0])
    assert link == f"../../blobs/{machine.hub.repos[NAME].digest(SHARDS[0])}"
    assert (root / "refs/main").read_text() == COMMIT
    assert [path.name for path in (root / "blobs").glob("*.incomplete")] == []
    assert "left out, GGUF" in out
    assert "tiny-Q4.gguf" in out
    record = json.loads((machine.root / "state/pulled/tiny.json").read_text())
    assert record["repositories"] == [{"name": NAME, "revision": None, "commit": COMMIT}]
    # The runner finds it, by the same rules.
    model = Model("tiny", 18300, Engine.VLLM, Source(NAME), 1 << 30)
    assert find_hub(model, (str(machine.own),)) == str(machine.own)


def test_the_hubs_own_library_finds_it(machine: Machine) -> None:
    # As vLLM does in its container, where there is no network.
    assert machine.run("pull", "tiny")[0] == 0

    script = (
        "import sys, huggingface_hub as h;"
        "print(h.snapshot_download(sys.argv[1], cache_dir=sys.argv[2], local_files_only=True));"
        "print(h.hf_hub_download(sys.argv[1], 'config.json', cache_dir=sys.argv[2]))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", script, NAME, str(machine.own)],
        env=env, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    snapshot = machine.own / "models--acme--tiny/snapshots" / COMMIT
    assert found == [str(snapshot), str(snapshot / "config.json")]


def test_a_cut_is_mended_from_where_it_was(machine: Machine) -> None:
    machine.hub.cut_after[SHARDS[0]] = 2 << 20

    assert machine.run("pull", "tiny")[0] == 0

    first, second = machine.hub.ranges(SHARDS[0])
    assert first is None
    assert second == f"bytes={2 << 20}-"
    assert machine.hub.sent[SHARDS[0]] == 3 << 20
    assert machine.is_whole()


def test_a_hub_that_ignores_ranges_costs_time_and_no_bytes(machine: Machine) -> None:
    machine.hub.cut_after[SHARDS[0]] = 2 << 20
    machine.hub.no_ranges = True

    assert machine.run("pull", "tiny")[0] == 0

    assert machine.is_whole()


def test_interrupted_download_goes_on_and_until_then_counts_as_missing(machine: Machine) -> None:
    machine.hub.hold_at[SHARDS[0]] = 2 << 20
    digest = machine.hub.repos[NAME].digest(SHARDS[0])
    growing = machine.own / f"models--acme--tiny/blobs/{digest}.incomplete"
    with machine.start("pull", "tiny") as process:
        assert machine.hub.held.wait(60)
        until(lambda: growing.exists() and growing.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        # Not earlier: it would ask again where the hub cuts it off before it hears of the signal.
        machine.hub.release.set()

    assert process.returncode == 130
    assert "go on: spark-model pull tiny" in err
    assert "Traceback" not in err
    model = Model("tiny", 18300, Engine.VLLM, Source(NAME), 1 << 30)
    with pytest.raises(Exception, match="run: sudo spark-model pull tiny"):
        find_hub(model, (str(machine.own),))

    part = growing.stat().st_size

    code, out, _ = machine.run("pull", "tiny")

    assert code == 0
    assert "are here" in out
    assert 0 < part <= 2 << 20
    assert machine.hub.ranges(SHARDS[0])[1] == f"bytes={part}-"
    assert machine.is_whole()


def test_interrupt_does_not_wait_for_a_silent_hub(machine: Machine) -> None:
    # Who stops a download often does so since nothing comes any more.
    held = 2 << 20
    machine.hub.hold_at[SHARDS[0]] = held
    digest = machine.hub.repos[NAME].digest(SHARDS[0])
    growing = machine.own / f"models--acme--tiny/blobs/{digest}.incomplete"
    with machine.start("pull", "tiny") as process:
        assert machine.hub.held.wait(60)
        # All but what is in a buffer: now it waits for more.
        until(lambda: growing.exists() and growing.stat().st_size > held - (128 << 10))
        process.send_signal(signal.SIGINT)
        # The hub stays silent for longer than this.
        _, err = process.communicate(timeout=LIMIT)

    assert process.returncode == 130
    assert "go on: spark-model pull tiny" in err


@pytest.mark.parametrize(
    ("command", "mute"),
    [
        (("pull", "tiny"), NAME),
        (("pull", "tiny"), "config.json"),
        (("pull", "tiny"), SHARDS[0]),
        (("add", NAME), "config.json"),
    ],
)
def test_interrupt_does_not_wait_for_a_hub_that_never_answers(
    machine: Machine, command: tuple[str, str], mute: str
) -> None:
    machine.hub.mute.add(mute)
    with machine.start(*command) as process:
        assert machine.hub.held.wait(60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)

    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("pull", "tiny"), ("add", NAME)])
def test_what_ctrl_c_must_not_reach_into_is_not_in_the_main_thread(
    machine: Machine, arguments: tuple[str, str]
) -> None:
    # An interrupt inside of it leaves a lock taken, for which somebody then waits for ever.
    seen = subprocess.run(
        [sys.executable, "-c", LISTED, *arguments],
        env=machine.environment(), check=False, capture_output=True, text=True, timeout=60,
    ).stderr  # fmt: skip

    assert machine.hub.asked
    assert "spark_activator.cli.main" in seen.split()
    libraries = ("http", "urllib3", "anyio", "huggingface_hub", "concurrent.futures", "socket")
    assert [name for name in seen.split() if name.startswith(libraries)] == []


# Says of which modules the main thread ran anything.
LISTED = """
import sys
from spark_activator.cli import main

seen = set()

def heard(frame, event, argument):
    seen.add(frame.f_globals.get("__name__", ""))

sys.setprofile(heard)
code = main.main(sys.argv[1:])
sys.setprofile(None)
print(*sorted(seen), file=sys.stderr)
sys.exit(code)
"""


def test_what_has_another_hash_is_thrown_away(machine: Machine) -> None:
    machine.hub.wrong.add(SHARDS[1])

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert f"'{SHARDS[1]}' came with another hash" in err
    assert not machine.is_whole()
    machine.hub.wrong.clear()
    assert machine.run("pull", "tiny")[0] == 0
    assert machine.is_whole()


def test_small_files_are_verified_too(machine: Machine) -> None:
    machine.hub.wrong.add("config.json")

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert "'config.json' came with another hash" in err


def test_private_repository_without_token_says_what_to_do(machine: Machine) -> None:
    machine.hub.repos[NAME].token = "hf_secret"

    code, out, err = machine.run("pull", "tiny")

    assert code == 1
    assert "or it is private" in err
    assert "--token-file FILE" in err

    token = machine.root / "token"
    token.write_text("hf_secret\n")
    code, out, err = machine.run("pull", "tiny", "--token-file", str(token))

    assert code == 0
    assert machine.is_whole()
    written = [path for path in machine.root.rglob("*") if path.is_file() and path != token]
    assert "hf_secret" not in out + err
    assert not [path for path in written if b"hf_secret" in path.read_bytes()]


def test_gated_repository_names_the_page(machine: Machine) -> None:
    machine.hub.repos[NAME].token = "hf_secret"
    machine.hub.repos[NAME].gated = True

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert "is gated" in err
    assert f"/{NAME}" in err


def test_gate_before_the_files_alone_is_met_with_the_same_words(machine: Machine) -> None:
    # So it is on the hub: everybody may see which files a gated repository has.
    machine.hub.repos[NAME] = Repo(files(), token="hf_secret", gated=True, listed=True)

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert f"'{NAME}' is gated" in err
    assert "give a token of it: spark-model pull tiny --token-file FILE" in err
    assert not machine.is_whole()


@pytest.mark.parametrize("listed", [False, True])
def test_person_at_a_terminal_is_asked_for_a_token(machine: Machine, listed: bool) -> None:
    machine.hub.repos[NAME] = Repo(files(), token="hf_secret", gated=True, listed=listed)

    code, said = machine.type("hf_secret\n", "token of the hub", "pull", "tiny")

    assert code == 0, said
    assert "hf_secret" not in said
    assert machine.is_whole()


def test_model_that_cannot_be_had_does_not_keep_others_waiting(machine: Machine) -> None:
    machine.model_file("closed", "{model: acme/closed}", port=18301)
    machine.hub.repos["acme/closed"] = Repo(files(), token="hf_secret")

    code, _, err = machine.run("pull", "closed", "tiny")

    assert code == 1
    assert machine.is_whole()
    assert "closed: there is no 'acme/closed' on the hub, or it is private" in err
    assert "spark-model pull closed --token-file FILE" in err
    assert "1 of 2 are not whole: closed" in err


def test_token_that_others_may_read_is_said(machine: Machine) -> None:
    token = machine.root / "token"
    token.write_text("hf_secret\n")
    token.chmod(0o644)

    code, _, err = machine.run("pull", "tiny", "--token-file", str(token))

    assert code == 0
    assert f"chmod 600 {token}" in err
    token.chmod(0o600)
    assert machine.run("pull", "tiny", "--token-file", str(token)) == (
        0,
        f"tiny: is whole in {machine.own}\n",
        "",
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{model: acme/nothing}", "there is no 'acme/nothing' on the hub"),
        (f"{{model: {NAME}, revision: v9}}", "has no revision 'v9'"),
    ],
)
def test_what_is_not_there_is_said(machine: Machine, source: str, words: str) -> None:
    machine.model_file("tiny", source)

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert words in err
    assert "Traceback" not in err


def test_hub_that_is_away_is_said(machine: Machine) -> None:
    machine.endpoint = f"http://127.0.0.1:{free_port()}"

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert "the hub cannot be reached" in err


def test_existing_cache_is_used_where_it_lies(machine: Machine) -> None:
    other = machine.root / "home/hub"
    other.mkdir(parents=True)
    machine.host(other)
    assert machine.run("pull", "tiny")[0] == 0
    assert machine.is_whole(other)
    machine.host(machine.root / "new", other)
    machine.hub.asked.clear()

    code, out, _ = machine.run("pull", "tiny")

    assert code == 0
    assert f"is whole in {other}" in out
    assert machine.hub.asked == []


def test_drafts_come_into_the_same_cache(machine: Machine) -> None:
    draft = {"config.json": b"{}", "model.safetensors": weights(1000, 3)}
    machine.hub.repos["acme/draft"] = Repo(draft)
    assert machine.run("pull", "tiny")[0] == 0
    machine.model_file("tiny", f"{{model: {NAME}, drafts: [acme/draft]}}")

    assert machine.run("pull", "tiny")[0] == 0

    assert cache.has(str(machine.own), "acme/draft", None) is True
    record = json.loads((machine.root / "state/pulled/tiny.json").read_text())
    assert [entry["name"] for entry in record["repositories"]] == [NAME, "acme/draft"]


def test_directory_needs_nothing(machine: Machine) -> None:
    machine.model_file("tiny", "{model: /models/tiny}")

    code, out, _ = machine.run("pull", "tiny")

    assert code == 0
    assert "has no weights on the hub" in out
    assert machine.hub.asked == []


def test_fetched_files_are_had_too(machine: Machine) -> None:
    digest = f"sha256:{'0' * 64}"
    machine.model_file("tiny", f"{{model: /models/tiny}}\ncontainer: {{files: {{/x: '{digest}'}}}}")

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert f"nobody says where the file {digest} comes from" in err
    (machine.root / "state/files").mkdir(parents=True)
    (machine.root / "state/files" / digest).write_text("there")
    assert machine.run("pull", "tiny")[0] == 0
    record = json.loads((machine.root / "state/pulled/tiny.json").read_text())
    assert record == {"files": [digest]}


def test_only_gguf_is_refused(machine: Machine) -> None:
    machine.hub.repos[NAME].files = {"config.json": b"{}", "m-Q4.gguf": b"x"}

    code, _, err = machine.run("pull", "tiny")

    assert code == 1
    assert "no weights that the engines here load (GGUF" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_full_disk_is_refused_before_anything_is_fetched(machine: Machine) -> None:
    small = machine.root / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    try:
        machine.host(small)
        code, _, err = machine.run("pull", "tiny")
        left = list(small.iterdir())
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)

    assert code == 1
    assert f"'{NAME}' needs 4.0 MiB more in {small}" in err
    assert "spark-model disk" in err
    assert left == []
    assert [path for _, path, _ in machine.hub.asked if "/resolve/" in path] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_model_does_not_come_where_its_draft_has_no_room(
    machine: Machine,
) -> None:
    draft = {"config.json": b"{}", "model.safetensors": weights(2 << 20, 3)}
    machine.hub.repos["acme/draft"] = Repo(draft)
    machine.model_file("tiny", f"{{model: {NAME}, drafts: [acme/draft]}}")
    small = machine.root / "small"
    small.mkdir()
    # What stays free, the model, and not all of the draft.
    room = place.RESERVE + (4 << 20) + (1 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", small], check=True)
    try:
        machine.host(small)
        code, _, err = machine.run("pull", "tiny")
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)

    assert code == 1
    assert f"'{NAME}' with 'acme/draft' needs 6.0 MiB more in {small}" in err
    assert [path for _, path, _ in machine.hub.asked if "/resolve/" in path] == []


@pytest.fixture
def theirs(machine: Machine) -> Path:
    """The folder of a person, with the hub cache."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to write for somebody else")
    machine.root.chmod(0o755)
    for parent in machine.root.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            pytest.skip(f"{parent} is closed to others")
    home = machine.root / "theirs"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    machine.host(home)
    return home


def test_person_need_not_be_able_to_read_the_program(machine: Machine, theirs: Path) -> None:
    # Root's own folder is closed: what is imported as that person may lie there.
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, "pull", "tiny"],
        env=machine.environment(), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert list(theirs.rglob("*"))


# Says which modules are looked for by somebody else than root.
IMPORTS = """
import os, sys
from spark_activator.cli import main

def heard(event, arguments):
    if event == "import" and os.geteuid() != 0:
        print(arguments[0], file=sys.stderr)

sys.addaudithook(heard)
sys.exit(main.main(sys.argv[1:]))
"""


def test_cache_of_a_person_stays_that_persons(machine: Machine, theirs: Path) -> None:
    code, _, err = machine.run("pull", "tiny")

    assert (code, err) == (0, "")
    made = list(theirs.rglob("*"))
    assert len(made) > 10
    assert {path.lstat().st_uid for path in made} == {NOBODY}
    blobs = [path for path in made if path.parent.name == "blobs"]
    assert {path.stat().st_mode & 0o777 for path in blobs} == {0o644}
