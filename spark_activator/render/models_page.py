"""The page about all models of the catalog (docs/models.md): a chooser, a table, an entry each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from spark_activator.catalog.model import Engine, Lifecycle, Model, StatusKind, Tools
from spark_activator.catalog.retired import Retired
from spark_activator.render import model_words
from spark_activator.render.model_words import GIB

# MemTotal of a DGX Spark, 121.69 GiB.
SPARK = 127_600_748 << 10
# What stays free for the host, and what a Spark without any model has in use.
KEPT = 8 * GIB
IN_USE = 4 * GIB
# More names help nobody to choose.
MOST = 6
# What fits beside most others.
SMALL = 24 * GIB
# Weights of a hundred billion parameters or so, at four bits.
LARGE = 50 * GIB
# As fast as most people read, several times over.
FAST = 40
LONG = 200_000
# The instructions, tools and files of an agent take tens of thousands.
AGENT = 60_000

_HEAD = """\
# Models

<!-- Written by `python -m spark_activator.cli.models_page`: change the model files instead. -->

What the catalog offers, from the files in `models/`.
`spark-model show NAME` says the same of one model, and how it stands on this machine;
`sudo spark-model enable NAME` switches it on.
No entry is validated yet unless it says so: facts come from the source that the entry names.

Memory is what a model's lease takes of a DGX Spark's 121.69 GiB, of which 8 GiB stay free.
Speeds are one request's, as the entry's source measured them.
"""

_WHICH = """\
## Which one

Fastest first where a source measured the speed, then by name; the last row has the smallest first.
Each has its memory, and its speed in tokens a second where it is known.
Where more are said to be, the next table has them.
"""

_CAN = """\
With *tools* a model chooses whether to call one; with *tools, called whenever offered* a request
that has tools and leaves the choice is made to ask for a call; with *no tools* they are taken out.
"""

# Not OpenCode, which some are said not to suit.
_CODE = re.compile(r"\b(?:code|coder|coding)\b", re.IGNORECASE)
_USES: tuple[tuple[str, Callable[[Model], bool]], ...] = (
    ("quick answers", lambda m: _decode(m) >= FAST),
    ("agents that call tools", lambda m: m.capabilities.tools is Tools.FULL and _long(m, AGENT)),
    ("coding agents that call tools", lambda m: _codes(m) and _calls(m) and _long(m, AGENT)),
    ("code, in short tasks", lambda m: _codes(m) and not (_calls(m) and _long(m, AGENT))),
    ("hard questions", lambda m: m.capabilities.reasoning and _weights(m) >= LARGE),
    ("images", lambda m: m.capabilities.vision),
    ("long documents", lambda m: _long(m, LONG)),
)
_SMALLEST = "the least memory, beside a larger model"


def page(models: Mapping[str, Model], retired: Mapping[str, Retired]) -> str:
    """Write the page about *models*, disabled ones too, and names that are *retired*."""
    offered = {name: model for name, model in sorted(models.items()) if enabled(model)}
    real = [model for model in offered.values() if on_gpu(model)]
    trial = [model for model in offered.values() if not on_gpu(model)]
    disabled = [model for name, model in sorted(models.items()) if not enabled(model)]
    parts = [
        _HEAD,
        _WHICH,
        _table(("for", "models"), _chooser(real)),
        f"## All {len(real)}\n\n{_CAN}",
        _table(_COLUMNS, [_row(model) for model in real]),
        _together(real),
        "## One by one\n",
        *(_entry(model) for model in real),
        "## Without a GPU\n\nFor trying how everything works, on any machine.\n",
        *(_entry(model) for model in trial),
    ]
    if disabled:
        parts += ["## Not offered\n", _table(("model", "why"), [_why(m) for m in disabled])]
    if retired:
        parts += [
            "## No longer models\n\nWho asks for one of these gets the error `model_retired`.\n",
            _table(("name", "why", "instead"), [_gone(n, r) for n, r in sorted(retired.items())]),
        ]
    return "\n".join(parts)


def enabled(model: Model) -> bool:
    """Say whether it can be switched on."""
    return model.status.kind is not StatusKind.DISABLED


def on_gpu(model: Model) -> bool:
    """Say whether it needs a GPU."""
    if model.engine is Engine.PROCESS:
        return False
    return model.image is None or not model.image.cpu


def pairs(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Name the pairs that the page recommends: both are there at once, with room for the host."""
    return [(model.name, other.name) for model in models for other in _beside(model, models)]


def _beside(model: Model, models: Sequence[Model]) -> list[Model]:
    """Choose who can stay beside *model*: the largest that fit, a helper before all."""
    room = SPARK - KEPT - IN_USE - model.memory
    fit = [
        other
        for other in models
        if other.name != model.name and other.memory <= room and not _alone(other)
    ]
    if _alone(model):
        return []
    fit.sort(key=lambda other: (other.lifecycle is not Lifecycle.UTILITY, -other.memory))
    return fit[:MOST]


def _alone(model: Model) -> bool:
    return model.lifecycle is Lifecycle.EXCLUSIVE


def _decode(model: Model) -> float:
    return (model.measured.decode if model.measured else None) or 0.0


def _weights(model: Model) -> int:
    return model.sizing.weights if model.sizing else 0


def _long(model: Model, least: int) -> bool:
    return (model.context or 0) >= least


def _codes(model: Model) -> bool:
    return _CODE.search(f"{model.name} {model.summary}") is not None


def _calls(model: Model) -> bool:
    return model.capabilities.tools in (Tools.FULL, Tools.FORCED)


def _chooser(models: Sequence[Model]) -> Iterator[tuple[str, str]]:
    ranked = sorted(models, key=lambda model: (-_decode(model), model.name))
    for use, suits in _USES:
        yield from _choice(use, [model for model in ranked if suits(model)])
    small = [model for model in ranked if model.memory <= SMALL]
    yield from _choice(_SMALLEST, sorted(small, key=lambda model: model.memory))


def _choice(use: str, found: Sequence[Model]) -> Iterator[tuple[str, str]]:
    if found:
        more = f", and {len(found) - MOST} more" if len(found) > MOST else ""
        yield use, ", ".join(map(_weighed, found[:MOST])) + more


def _weighed(model: Model) -> str:
    speed = f", {_decode(model):.0f}" if _decode(model) else ""
    return f"{_link(model.name)} ({model_words.size(model.memory)}{speed})"


_COLUMNS = ("model", "good for", "memory", "context", "tokens/s", "can", "status")


def _row(model: Model) -> tuple[str, ...]:
    return (
        _link(model.name),
        model.summary,
        model_words.size(model.memory),
        f"{model.context:,}" if model.context else "",
        f"{_decode(model):g}" if _decode(model) else "",
        model_words.capabilities(model),
        str(model.status.kind),
    )


def _together(models: Sequence[Model]) -> str:
    rows = [
        (_link(model.name), ", ".join(_link(other.name) for other in beside))
        for model in models
        if (beside := _beside(model, models))
    ]
    text = (
        "## Two at once\n\n"
        "Computed from their memory, for a Spark on which everything else has 4 GiB: each of the "
        "second column fits beside the model of the first; the largest are named.\n"
        "A model that is not in the first column leaves no room for another.\n"
    )
    return f"{text}\n{_table(('model', 'beside it'), rows)}"


def _entry(model: Model) -> str:
    lines = [f"### {model.name}\n", f"{_sentence(model.summary)}\n" if model.summary else ""]
    said = [("status", model_words.status(model.status)), *model_words.facts(model)]
    lines += [f"- {label}: {words}" for label, words in said if words]
    lines += [f"- **known problem:** {issue}" for issue in model.issues]
    return "\n".join(line for line in lines if line) + "\n"


def _why(model: Model) -> tuple[str, str]:
    return model.name, model.status.reason


def _gone(name: str, retired: Retired) -> tuple[str, str, str]:
    return name, retired.reason, _link(retired.instead) if retired.instead else ""


def _link(name: str) -> str:
    # As a heading's anchor is made: dots go.
    return f"[{name}](#{name.lower().replace('.', '')})"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
