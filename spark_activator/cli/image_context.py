"""What an image is built from: its folder, and what else its Dockerfile asks for."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import spark_activator
from spark_activator.errors import UserError

# On images that were built here: their name, the hash of their folder, and arguments.
LABEL = "spark-activator.image"
INPUTS = "spark-activator.inputs"
ARGUMENTS = "spark-activator.arguments"

# The engine that is also copied into an image; it imports nothing of ours.
ENGINE = "spark_activator/demo"


@dataclass(frozen=True, slots=True)
class Context:
    """Files by their path in the build's context; the Dockerfile is `Dockerfile`."""

    files: dict[str, bytes]

    def labels(self, name: str, arguments: Mapping[str, str]) -> dict[str, str]:
        """Return what an image *name* says of itself that is built from them."""
        words = " ".join(f"{key}={value}" for key, value in sorted(arguments.items()))
        return {LABEL: name, INPUTS: self.digest(), ARGUMENTS: words}

    def digest(self) -> str:
        """Return one hash of all files."""
        digest = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            digest.update(f"\0{path}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def tar(self) -> bytes:
        """Pack them as Docker takes them; the same files are always the same bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content in sorted(self.files.items()):
                member = tarfile.TarInfo(path)
                member.size = len(content)
                member.mode = 0o644
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()


def read(folder: Path) -> Context:
    """Read *folder*, and our engine where its Dockerfile copies that.

    Raises:
        UserError: There is no such folder, or no Dockerfile in it.
    """
    files = _files(folder, "")
    if "Dockerfile" not in files:
        raise UserError(
            f"{folder}: expected a Dockerfile, there is none",
            hint="an installation brings it: run install.sh again",
        )
    if ENGINE.encode() in files["Dockerfile"]:
        package = Path(spark_activator.__file__).parent
        files |= _files(package.parent / ENGINE, f"{ENGINE}/")
    return Context(files)


def _files(folder: Path, prefix: str) -> dict[str, bytes]:
    return {
        prefix + str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
