"""Services and models.json → the owner's model files, with only what differs from the seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spark_activator.catalog import computed
from spark_activator.imports.hidden import is_secret, one_line
from spark_activator.imports.write import quoted
from spark_activator.migration import engines
from spark_activator.migration.compose import Service
from spark_activator.migration.engines import CommandLine

# GiB that the driver of a Spark counts as the GPU's, of which the seed's shares were
# taken, and the most that a lease may have beside a floor of 8 GiB and the system.
TOTAL, MOST = 121.69, 109.0
# vLLM's share where nobody sets it.
_SHARE = 0.9

_MEMORY = ("--gpu-memory-utilization", "--mem-fraction-static")
_CONTEXT = ("--max-model-len", "--context-length")
# What the runner sets itself, and flags that only silence what it reads.
_OURS = {
    *_MEMORY, *_CONTEXT, "--host", "--port", "--served-model-name", "--download-dir",
    "--disable-log-stats", "--disable-log-requests", "--no-enable-log-requests",
    "--api-key", "--hf-token",
}  # fmt: skip
# The runner says where the hub cache is, and the activator asks for keys.
_OUR_ENVIRONMENT = {
    "VLLM_API_KEY", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
}  # fmt: skip
_DIGEST = re.compile(r"(?P<reference>[^@]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?")
_TOOLS = {"full": "full", "force-required": "forced", "none": "none"}
_PROFILES = {"coder-force-tools": "forced", "vl": "none", "small-no-tools": "none"}


@dataclass(slots=True)
class Taken:
    """What becomes of one model.

    Attributes:
        name: Its name.
        file: What is written into its file, by key; empty where the catalog's file is right.
        notes: What was not taken over, and why.
        image: The image that the file names and images.yaml has to have: name, reference, digest.
        origin: Where it was read.
    """

    name: str
    file: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    image: tuple[str, str, str | None] | None = None
    origin: str = ""

    def text(self) -> str:
        """Write the model file: JSON behind each key, which YAML reads as it is meant."""
        head = f"# Taken over by spark-model migrate from {one_line(self.origin)}.\n"
        notes = "".join(f"# Not taken over: {note}.\n" for note in self.left_out())
        return head + notes + "".join(f"{key}: {quoted(v)}\n" for key, v in self.file.items())

    def left_out(self) -> list[str]:
        """Return the notes as people may read them: each on one line, without secrets."""
        return [one_line(note) for note in self.notes]

    def image_text(self) -> str:
        """Write its entry of images.yaml; empty where it needs none."""
        if self.image is None:
            return ""
        name, reference, digest = self.image
        pin = {"digest": digest} if digest else {"pinned": False}
        return f"{name}: {quoted({'reference': reference, **pin})}\n"


def changed(
    name: str,
    service: Service,
    entry: Mapping[str, Any],
    seed: Mapping[str, Any],
    engine: str,
) -> Taken:
    """Compare a service of the seed's with what the seed says.

    Args:
        name: The model's name, which the catalog has.
        service: What the checkout has.
        entry: What its models.json has of it.
        seed: The facts of seed.json.
        engine: What runs it in the catalog: flags of another one mean nothing there.
    """
    known = seed["services"][name]
    taken = [_against(name, service, variant, engine) for variant in known]
    # The release from which less differs is the one that was checked out.
    best = min(taken, key=lambda each: len(each.file) + len(each.notes))
    before = seed["models"].get(name, {})
    _merge(best.file, _of_entry({k: v for k, v in entry.items() if before.get(k) != v}))
    limit = entry.get("maxModelLen")
    if before and type(limit) is int and limit != before.get("maxModelLen"):
        best.file.setdefault("context", limit)
    if best.file:
        best.file = {"extends": name, **best.file}
    return best


def own(name: str, service: Service, entry: Mapping[str, Any]) -> Taken:
    """Make a whole file of a service that the seed does not have."""
    taken = Taken(name, origin=f"{service.file}, service {service.name}")
    line = engines.read(service.words)
    if line is None:
        taken.notes.append("its command is neither vLLM's nor SGLang's")
        return taken
    if not service.image:
        taken.notes.append("it has no image, only a build: name one in images.yaml")
        return taken
    source = {"model": line.model, "pinned": False, "from": taken.origin}
    taken.file = {"source": source, "engine": line.engine}
    _image(taken, service.image)
    share = _number(_last(line.flags, _MEMORY)) or _SHARE
    _memory(taken, share)
    context = _last(line.flags, _CONTEXT) or str(entry.get("maxModelLen", ""))
    if context.isdecimal():
        taken.file["context"] = int(context)
    args = _args(_allowed(taken, line.engine, line.flags))
    more = {
        "args": args,
        "aliases": [alias for alias in line.flags.get("--served-model-name", ()) if alias != name],
        "env": _environment(taken, service, {}),
        "container": _container(service, ()),
    }
    taken.file |= {key: value for key, value in more.items() if value}
    _merge(taken.file, _of_entry(entry))
    return taken


def _against(name: str, service: Service, variant: Mapping[str, Any], engine: str) -> Taken:
    taken = Taken(name, origin=f"{service.file}, service {service.name}")
    now = engines.read(service.words)
    before = engines.read([*variant.get("entrypoint", ()), *variant["argv"]])
    assert before is not None, name
    if now is None:
        taken.notes.append("its command is neither vLLM's nor SGLang's")
        return taken
    if now.model != before.model:
        taken.file["source"] = {"model": now.model, "pinned": False, "from": taken.origin}
    if service.image and service.image != variant["image"]:
        _image(taken, service.image)
    _flags(taken, now, before, engine)
    environment = _environment(taken, service, variant["env"])
    if environment:
        taken.file["env"] = environment
    gone = sorted(set(variant["env"]) - set(service.environment))
    taken.notes += [f"without {variable}" for variable in gone]
    if container := _container(service, variant["inside"]):
        taken.file["container"] = container
    return taken


def _flags(taken: Taken, now: CommandLine, before: CommandLine, engine: str) -> None:
    differs = {flag: v for flag, v in now.flags.items() if before.flags.get(flag) != v}
    share = _number(_last(differs, _MEMORY))
    if share:
        _memory(taken, share)
    context = _last(differs, _CONTEXT)
    if context and context.isdecimal():
        taken.file["context"] = int(context)
    aliases = [a for a in differs.get("--served-model-name", ()) if a != taken.name]
    if aliases:
        taken.file["aliases"] = aliases
    more = _allowed(taken, now.engine, differs)
    gone = [flag for flag in before.flags if flag not in now.flags and flag not in _OURS]
    taken.notes += [f"without {flag}" for flag in gone]
    if more and now.engine == engine:
        # vLLM and SGLang take the last one of a flag that is there twice.
        taken.file["extra_args"] = _args(more)
    elif more:
        said = " ".join(_args(more))
        taken.notes.append(f"{said}, since {engine} runs it here, not {now.engine}")


def _allowed(
    taken: Taken, engine: str, flags: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Leave out what the runner says, and note what no model file may have."""
    allowed = {}
    for flag, values in flags.items():
        if flag in _OURS:
            continue
        said = computed.found(computed.TABLES[engine], [flag])
        if is_secret(flag, " ".join(values)):
            taken.notes.append(f"{flag}, which has a secret in it")
        elif said:
            line = " ".join(" ".join((flag, *values)).split())
            taken.notes.append(f"{line}, which {said[0][1]}")
        else:
            allowed[flag] = values
    return allowed


def _memory(taken: Taken, share: float) -> None:
    size = int(share * TOTAL * 100) / 100
    if size > MOST:
        taken.notes.append(f"{size:.2f}GiB of memory, since the machine itself needs the rest")
    taken.file["memory"] = f"{min(size, MOST):g}GiB"


def _image(taken: Taken, image: str) -> None:
    parts = _DIGEST.fullmatch(image)
    if parts is None:
        taken.notes.append(f"the image {image}, which is no reference with a sha256 digest")
        return
    reference = parts["reference"]
    # Of a name that has a tag and a digest, Docker looks at the digest.
    slug = re.sub(r"[^a-z0-9.-]+", "-", reference.lower()).strip("-.")[-63:].lstrip("-.")
    taken.image = (slug, reference, parts["digest"])
    taken.file["image"] = slug


def _environment(taken: Taken, service: Service, before: Mapping[str, str]) -> dict[str, str]:
    kept = {}
    for name, value in service.environment.items():
        if name in _OUR_ENVIRONMENT or before.get(name) == value:
            continue
        if is_secret(name, value):
            taken.notes.append(f"{name}, which is a secret")
        else:
            kept[name] = value
    return kept


def _container(service: Service, before: Sequence[str]) -> dict[str, Any]:
    mounts = {
        inside: host
        for inside, host in service.mounts.items()
        # The hub cache and compile caches of the seed's layout come from the runner.
        if inside not in before and not inside.startswith(("/root/.cache/", "/models", "/tmp/"))  # noqa: S108  # paths inside a container
    }
    return {"mounts": mounts} if mounts else {}


def _of_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Say what an entry of models.json means here."""
    told: dict[str, Any] = {}
    tools = _TOOLS.get(str(entry.get("toolSupport")))
    tools = _PROFILES.get(str(entry.get("validatorProfile"))) or tools
    capabilities: dict[str, Any] = {"tools": tools} if tools else {}
    if "multimodal" in entry:
        capabilities["vision"] = bool(entry["multimodal"])
    if capabilities:
        told["capabilities"] = capabilities
    if entry.get("lifecycle") in {"normal", "utility", "exclusive"}:
        told["lifecycle"] = entry["lifecycle"]
    if "normalizeTextContent" in entry:
        told["requests"] = {"flatten_text": bool(entry["normalizeTextContent"])}
    return told


def _merge(file: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        file[key] = {**file[key], **value} if isinstance(file.get(key), dict) else value


def _last(flags: Mapping[str, tuple[str, ...]], names: Sequence[str]) -> str:
    return next((flags[name][-1] for name in names if flags.get(name)), "")


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 < number <= 1 else 0.0


def _args(flags: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [word for flag, values in flags.items() for word in (flag, *values)]
