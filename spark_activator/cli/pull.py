"""`spark-model pull NAME…`: fetch the weights of models into a hub cache.

A download goes on where the last one stopped, and a model that is whole in one of
the caches is not fetched again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_activator.cli import files, hub_token
from spark_activator.cli.arguments import Commands, command
from spark_activator.cli.aside import aside
from spark_activator.cli.units import Units
from spark_activator.errors import UserError
from spark_activator.layout import Layout

if TYPE_CHECKING:
    from spark_activator.catalog.model import Model
    from spark_activator.weights.choice import Choice
    from spark_activator.weights.download import Repository
    from spark_activator.weights.place import Wanted
    from spark_activator.weights.remote import Listing

HASH = "sha256:"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to *commands*."""
    sub = command(commands, "pull", "fetch the weights of models", _run)
    sub.add_argument("names", nargs="+", metavar="NAME")
    hub_token.add_option(sub)


def _run(arguments: argparse.Namespace, layout: Layout, units: Units) -> int:
    from spark_activator.cli import wanted

    models = [wanted.model(layout, name) for name in dict.fromkeys(arguments.names)]
    pull = _Pull(layout, hub_token.read(arguments.token_file))
    try:
        _have_all(pull, models)
    except KeyboardInterrupt:
        names = " ".join(arguments.names)
        print(f"\nstopped; what came is kept (go on: spark-model pull {names})", file=sys.stderr)
        raise
    return 0


def _have_all(pull: _Pull, models: Sequence[Model]) -> None:
    """Have each of *models*; one that cannot be had does not keep the others waiting."""
    failed = []
    for model in models:
        try:
            pull.have(model)
        except UserError as error:
            if len(models) == 1:
                raise
            hint = f" (hint: {error.hint})" if error.hint else ""
            print(f"{model.name}: {error.message}{hint}", file=sys.stderr)
            failed.append(model.name)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(models)} are not whole: {', '.join(failed)}",
            hint="the reasons are above",
        )


def ensure(layout: Layout, model: Model) -> None:
    """Have the weights, drafts and fetched files of *model* here.

    Returns at once where they are.

    Raises:
        UserError: They cannot be fetched.
    """
    _Pull(layout, None).have(model, quiet=True)


class _Pull:
    """One run: the token that was given, or asked for once."""

    def __init__(self, layout: Layout, token: str | None) -> None:
        self._layout = layout
        self._token = token
        self._asked = False

    def have(self, model: Model, *, quiet: bool = False) -> None:
        """Have all that *model* needs beside its image."""
        from spark_activator.catalog.repositories import repositories

        record: dict[str, Any] = {}
        wanted = repositories(model)
        if wanted:
            record = self._have_weights(model, wanted, quiet=quiet)
        elif not quiet:
            print(f"{model.name}: has no weights on the hub")
        digests = sorted({file for file in model.container.files.values() if file.startswith(HASH)})
        for digest in digests:
            _have_file(self._layout, digest)
        if digests:
            record["files"] = digests
        self._remember(model.name, record)

    def _have_weights(
        self, model: Model, wanted: Sequence[tuple[str, str | None]], *, quiet: bool
    ) -> dict[str, Any]:
        from spark_activator import hub
        from spark_activator.catalog.load import load_host
        from spark_activator.weights import place

        caches = hub.places(load_host(self._layout).hub_caches, self._layout.hub_cache)
        there = place.whole(caches, wanted)
        if there is None:
            chosen = place.writable(caches, wanted)
            missing = [one for one in wanted if hub.has(str(chosen), *one) is not True]
            self._fetch(model, chosen, missing)
            there = str(chosen)
        elif not quiet:
            print(f"{model.name}: is whole in {there}")
        return {
            "cache": there,
            "repositories": [
                {"name": name, "revision": revision, "commit": hub.commit(there, name, revision)}
                for name, revision in wanted
            ],
        }

    def _fetch(self, model: Model, where: Path, missing: Wanted) -> None:
        """Fetch *missing*; where a token may help and somebody is there, ask for it once."""
        from spark_activator.weights import remote

        while True:
            try:
                self._fetch_with_token(model, where, missing)
            except remote.NoAccess as error:
                refusal = error.with_way(f"spark-model pull {model.name} --token-file FILE")
                if self._asked or not hub_token.may_ask():
                    raise refusal from error
                self._asked = True
                print(error.message, file=sys.stderr)
                self._token = hub_token.ask()
                if self._token is None:
                    raise refusal from error
            else:
                return

    def _fetch_with_token(self, model: Model, where: Path, missing: Wanted) -> None:
        from spark_activator.weights import choice, place, remote
        from spark_activator.weights.download import Repository

        if self._token is None:
            self._token = aside(remote.stored_token)
        todo = []
        for repository, revision in missing:
            found = _listing(repository, revision, self._token)
            chosen = choice.choose(found.files, model.args)
            _require_weights(found, chosen)
            target = Repository(where, found, chosen.wanted, self._token)
            todo.append((found, chosen, target, revision))
        aside(remote.load_library)
        with place.as_owner(where):
            # Of all of them: a draft that has no room is known before the model comes.
            need = sum(target.needed() for _, _, target, _ in todo)
            place.require_room(where, need, " with ".join(f"'{name}'" for name, _ in missing))
            for found, chosen, target, revision in todo:
                _fetch_one(model.name, where, found, chosen, target, revision)

    def _remember(self, name: str, record: dict[str, Any]) -> None:
        path = self._layout.pulled(name)
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        # Who pulls into a cache of their own need not be root, and what they got is there.
        if record and files.may_write(path.parent) and files.read_ours(path) != text:
            files.write(path, text)


def _listing(repository: str, revision: str | None, token: str | None) -> Listing:
    from spark_activator.weights import remote

    return aside(lambda: remote.listing(repository, revision, token))


def _fetch_one(
    name: str,
    where: Path,
    found: Listing,
    chosen: Choice,
    target: Repository,
    revision: str | None,
) -> None:
    from spark_activator.weights.progress import Progress

    need = target.needed()
    _announce(name, where, found, chosen, need)
    progress = Progress(chosen.size, chosen.size - need, sys.stdout)
    try:
        aside(lambda: target.fetch(revision, progress))
    except KeyboardInterrupt:
        target.stop()
        raise
    finally:
        progress.end()
    print(f"{name}: {found.repository} is whole, each file has the hash that the hub names")


def _have_file(layout: Layout, digest: str) -> None:
    from spark_activator.weights import files as fetched

    # What is there was checked when it came.
    if not fetched.place(layout, digest).exists():
        fetched.fetch(layout, digest)


def _require_weights(found: Listing, chosen: Choice) -> None:
    from spark_activator import hub

    if not any(file.name.endswith(hub.WEIGHTS) for file in chosen.wanted):
        reasons = "; ".join(chosen.left) or "it has none"
        raise UserError(
            f"'{found.repository}' has no weights that the engines here load ({reasons})",
            hint="name a repository with safetensors files as source.model",
        )


def _announce(name: str, where: Path, found: Listing, chosen: Choice, need: int) -> None:
    from spark_activator.weights.place import size

    count = len(chosen.wanted)
    words = f"{count} file{'' if count == 1 else 's'}, {size(chosen.size)}"
    if need < chosen.size:
        words += f", of which {size(chosen.size - need)} are here"
    print(f"{name}: {found.repository} at {found.commit[:12]} → {where} ({words})")
    for reason, left in chosen.left.items():
        total = size(sum(file.size for file in left))
        examples = ", ".join(os.path.basename(file.name) for file in left[:2])
        more = ", …" if len(left) > 2 else ""
        print(f"    left out, {reason}: {examples}{more} ({total})")
    sys.stdout.flush()
