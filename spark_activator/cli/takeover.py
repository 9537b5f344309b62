"""What `spark-model migrate` does: reads the checkout, shows, writes what is not there yet."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path

from spark_activator.catalog import images, modelfile
from spark_activator.catalog.load import load_bases, load_catalog, load_images, load_retired
from spark_activator.catalog.model import Engine
from spark_activator.catalog.names import wrong_name
from spark_activator.cli import checkout, files, key
from spark_activator.cli.checkout import Checkout
from spark_activator.errors import FileProblems, UserError
from spark_activator.layout import Layout
from spark_activator.migration import hubs, translate
from spark_activator.migration.translate import Taken

KEY_NAME = "migrated"
# What the seed ships in place of a key.
_PLACEHOLDER = "REPLACEME"


def run(layout: Layout, directory: str, *, dry_run: bool) -> int:
    """Take over the checkout in *directory*.

    Raises:
        UserError: It is none, or cannot be read, or ours may not be written.
    """
    found = checkout.read(Path(directory))
    if not dry_run and not files.may_write(layout.config):
        raise UserError(
            f"'migrate' writes below {layout.config}, which needs root",
            hint=f"run: sudo spark-model migrate {shlex.quote(directory)}, or add --dry-run",
        )
    for problem in found.problems:
        print(f"! {problem}")
    mover = Mover(layout, found, dry_run=dry_run)
    mover.key()
    mover.models()
    mover.caches()
    _say_what_is_left(found, mover.names)
    return 0


class Mover:
    """Takes one checkout over, and says each step."""

    def __init__(self, layout: Layout, found: Checkout, *, dry_run: bool) -> None:
        self._layout = layout
        self._found = found
        self._dry = dry_run
        #: Models of the checkout that there are now.
        self.names: list[str] = []

    def key(self) -> None:
        """Keep its API key, whose hash is all that we have of it."""
        secret = self._found.key
        if not secret:
            print("! it has no VLLM_API_KEY: no API key is taken over")
            return
        if not key.is_one(secret):
            print("! its VLLM_API_KEY is shorter than 16 characters, or has others than a key may")
            print("  have: it is not taken over (make one: sudo spark-model key add NAME)")
            return
        if self._dry:
            print(f"+ its VLLM_API_KEY would be the API key '{KEY_NAME}'")
        else:
            try:
                name, new = key.keep(self._layout, KEY_NAME, secret)
            except UserError as error:
                # All else does not depend on it, and a later run takes it over.
                print(f"! its VLLM_API_KEY is not taken over: {error.message}")
                return
            print(f"{'+' if new else '='} its VLLM_API_KEY is the API key '{name}'")
        if secret.endswith(_PLACEHOLDER):
            print("! this key is the one that was shipped, which everybody knows; for another:")
            print(f"  sudo spark-model key add NAME && sudo spark-model key remove {KEY_NAME}")

    def models(self) -> None:
        """Write a model file for each service that differs from what the catalog has."""
        known = load_catalog(self._layout).models
        bases = load_bases(self._layout)
        retired = load_retired(self._layout)[0]
        same = []
        for name, service in sorted(self._found.models.items()):
            if wrong := wrong_name(name):
                print(f"! {name}: not taken over: {wrong}")
                continue
            entry = self._found.entries.get(name, {})
            if name not in self._found.seed["services"]:
                taken = translate.own(name, service, entry)
            elif name in bases:
                engine = str(bases[name].get("engine") or Engine.VLLM)
                taken = translate.changed(name, service, entry, self._found.seed, engine)
            elif name in known:
                # A file of the owner's own, with nothing in the catalog to compare.
                same.append(name)
                continue
            else:
                why = retired[name].reason if name in retired else "the catalog has none"
                print(f"! {name}: not taken over: {why}")
                continue
            taken = self._found.rooted(taken)
            if not taken.file and not taken.notes:
                same.append(name)
            elif taken.file:
                self._write(taken)
            else:
                print(f"! {name}: left as the catalog has it, not: {'; '.join(taken.left_out())}")
                same += [name] if name in known else []
        if same:
            print(f"= as they are here: {', '.join(same)}")
        self.names += same

    def caches(self) -> None:
        """Have its hub caches used where they lie."""
        places = [
            str(place)
            for place in (
                *self._found.caches,
                *checkout.caches_of(checkout.home() / ".cache/huggingface"),
            )
        ]
        file = self._layout.host_file
        before = _read(file) or ""
        try:
            after = hubs.with_caches(before, places, str(file))
        except FileProblems as error:
            print(f"! {error.message}")
            after = None
        if after == before:
            print(f"= {file}: hub_caches has {', '.join(places) or 'nothing to add'}")
        elif after is None:
            print(f"! {file} is left alone; add to its hub_caches: {', '.join(places)}")
        else:
            self._replace(file, before, after)

    def _write(self, taken: Taken) -> None:
        path = self._layout.owner_models / f"{taken.name}.yaml"
        text, there = taken.text(), _read(path)
        if there is not None and there != text:
            print(f"! {path} is there and stays as it is; the checkout would make it:")
            _show(there, text, str(path))
            self.names.append(taken.name)
            return
        if wrong := self._problems(taken, text, path):
            print(f"! {taken.name}: not taken over, its file would have problems:")
            print("\n".join(f"  {line}" for line in wrong))
            return
        self.names.append(taken.name)
        if there == text:
            print(f"= {path}")
            return
        self._image(taken)
        print(f"+ {path}")
        print("".join(f"  {line}\n" for line in text.splitlines()), end="")
        if not self._dry:
            # A variable of its environment may be a secret.
            files.write(path, text, mode=0o640)

    def _problems(self, taken: Taken, text: str, path: Path) -> Sequence[str]:
        known = load_images(self._layout)[0]
        own, wrong = images.parse(taken.image_text() or "{}", str(self._layout.owner_images))
        known = {name: entry.image for name, entry in own.items()} | known
        bases = load_bases(self._layout)
        try:
            modelfile.parse(taken.name, text, file=str(path), images=known, bases=bases)
        except FileProblems as error:
            return [str(problem) for problem in (*wrong, *error.problems)]
        return [str(problem) for problem in wrong]

    def _image(self, taken: Taken) -> None:
        if taken.image is None or taken.image[0] in load_images(self._layout)[0]:
            return
        file = self._layout.owner_images
        before = _read(file) or ""
        end = "" if not before or before.endswith("\n") else "\n"
        self._replace(file, before, f"{before}{end}{taken.image_text()}")

    def _replace(self, file: Path, before: str, after: str) -> None:
        """Change one of the owner's files; what was in it is kept beside it."""
        print(f"+ {file}")
        _show(before, after, str(file))
        if self._dry:
            return
        if before:
            backup = file.with_name(f"{file.name}.before-migrate")
            if not backup.exists():
                files.write(backup, before)
                print(f"  what it was before is in {backup}")
        files.write(file, after)


def _read(path: Path) -> str | None:
    """Read a file of the owner's; None where there is none.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return files.read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected text in UTF-8") from None


def _show(before: str, after: str, name: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (now)", f"{name} (migrated)", lineterm=""
    )
    print("\n".join(f"  {line}" for line in lines))


def _say_what_is_left(found: Checkout, names: Sequence[str]) -> None:
    place = shlex.quote(str(found.root))
    profiles = "".join(f" --profile {shlex.quote(name)}" for name in found.profiles)
    print("\nIts containers hold port 8009 and the GPU, and come back at the next boot.")
    print("To stop and remove them (images, weights and the checkout stay):")
    print(f"  sudo docker compose --project-directory {place}{profiles} down")
    print("Then:")
    print("  sudo spark-model check && sudo spark-model apply")
    print(f"  sudo spark-model enable NAME…    # of: {', '.join(sorted(names)) or 'none'}")
