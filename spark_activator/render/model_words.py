"""What is known of a model in words, for the page about all of them and for `show`."""

from __future__ import annotations

from collections.abc import Iterator

from spark_activator.catalog.model import Measured, Model, Sizing, Source, Status, StatusKind, Tools
from spark_activator.catalog.quantities import format_duration

GIB = 1 << 30


def size(count: int) -> str:
    """Write *count* bytes for a reader: '48 GiB', '16 KiB'; exact only to four digits."""
    for unit, factor in (("GiB", GIB), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} bytes"


def status(status: Status) -> str:
    """Say how far the file can be trusted."""
    match status.kind:
        case StatusKind.VALIDATED:
            return f"validated ({status.reason})"
        case StatusKind.DISABLED:
            return f"disabled: {status.reason}"
        case StatusKind.EXPERIMENTAL:
            return "experimental: written from a source, not run through this project"


def weights(source: Source) -> str:
    """Say which weights are read, and whether the commit is known."""
    if source.model.startswith("/"):
        return source.model
    if source.revision is None:
        revision = "no commit pinned"
    else:
        revision = f"commit {source.revision}" if source.pinned else f"'{source.revision}'"
    drafts = f"; with {', '.join(source.drafts)}" if source.drafts else ""
    return f"{source.model}, {revision}{drafts}"


def sizing(sizing: Sizing) -> str:
    """Say how the memory was worked out."""
    holds = f"{sizing.sequences:g} whole context{'' if sizing.sequences == 1 else 's'}"
    # Where nobody knows what a token takes, the cache was not computed from it.
    holds = holds if sizing.token else f"at least {holds}"
    token = f", {size(sizing.token)} a token" if sizing.token else ""
    return (
        f"{size(sizing.weights)} for weights, {size(sizing.kv)} for keys and values "
        f"({holds}{token}), {size(sizing.overhead)} for the rest"
    )


def speed(measured: Measured) -> str:
    """Say how fast a source saw it; empty where it has no number."""
    said = []
    if measured.decode is not None:
        said.append(f"{measured.decode:g} tokens a second")
    if measured.prefill is not None:
        said.append(f"reads {measured.prefill:g} a second")
    return ", ".join(said)


def capabilities(model: Model) -> str:
    """Say what clients may expect."""
    known = model.capabilities
    said = [{None: "", Tools.FULL: "tools", Tools.FORCED: "tools, called whenever offered",
             Tools.NONE: "no tools"}[known.tools]]  # fmt: skip
    said += ["images"] if known.vision else []
    said += ["thinks"] if known.reasoning else []
    return ", ".join(word for word in said if word) or "text"


def limits(model: Model) -> str:
    """Say how long prompts and answers may be."""
    said = [f"{model.context:,} tokens"] if model.context else ["the engine's own"]
    if model.client.context and model.client.context != model.context:
        said.append(f"clients are told {model.client.context:,}")
    if model.client.output:
        said.append(f"answers of {model.client.output:,} at most")
    return "; ".join(said)


def sharing(model: Model) -> str:
    """Say how it shares the GPU, and when it goes."""
    goes = {"idle": f"goes {format_duration(model.timeouts.idle)} after the last request",
            "always": "stays until it is stopped"}[str(model.keep)]  # fmt: skip
    return f"{model.lifecycle}; {goes}"


def facts(model: Model) -> Iterator[tuple[str, str]]:
    """Name everything that is known of *model* besides summary, status and issues, with a label."""
    yield "weights", weights(model.source)
    yield "memory", size(model.memory)
    if model.sizing is not None:
        yield "sizing", sizing(model.sizing)
        yield "sizing by", model.sizing.origin
    yield "context", limits(model)
    yield "can", capabilities(model)
    yield "sharing", sharing(model)
    if model.measured is not None:
        yield "measured", speed(model.measured)
        yield "measured by", model.measured.origin
    yield "engine", f"{model.engine}, image {model.image.name}" if model.image else model.engine
    yield "port", str(model.port)
    yield "also called", ", ".join(model.aliases)
    yield "presets", ", ".join(model.presets)
    yield "source", model.source.origin
