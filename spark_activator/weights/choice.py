"""Which files of a repository an engine needs, and why not the others.

Pure: names in, names out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

FOLDERS = frozenset({"original", "metal", "onnx", "openvino", "coreml", "gguf", "figures"})
PICKLES = (".bin", ".pt", ".pth")
OTHER_FORMATS = (".h5", ".msgpack", ".ot", ".onnx", ".tflite", ".ckpt", ".mlmodel")
READING = (
    ".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".mp4", ".gitattributes",
)  # fmt: skip

IN_FOLDER = "the same weights in another form, in a folder of their own"
GGUF = "GGUF, which these engines are not given"
SAME = "the same weights in another format"
FOR_READERS = "for readers"
MISTRAL = "the same weights in Mistral's format"
USUAL = "the same weights in the usual format; the model's args ask for Mistral's"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository at one commit.

    Attributes:
        name: Its path in the repository, with `/`.
        size: Bytes.
        digest: SHA-256 of its content where *lfs*, else git's SHA-1 of it as a blob.
        lfs: Whether it is one of the large ones.
    """

    name: str
    size: int
    digest: str
    lfs: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What is fetched, small files first; and what is left out, by reason."""

    wanted: tuple[RemoteFile, ...]
    left: dict[str, tuple[RemoteFile, ...]]

    @property
    def size(self) -> int:
        """Bytes of all that is wanted."""
        return sum(file.size for file in self.wanted)


def choose(files: Iterable[RemoteFile], args: Sequence[str] = ()) -> Choice:
    """Choose of *files* what an engine with *args* needs.

    Weights come last, so that a snapshot with all weights has everything.
    """
    given = sorted(files, key=lambda file: (_is_weights(file.name), file.size, file.name))
    kept: list[RemoteFile] = []
    left: dict[str, tuple[RemoteFile, ...]] = {}
    useful = [file for file in given if not _never(file.name)]
    tensors = [file.name for file in useful if file.name.endswith(".safetensors")]
    mistral = wants_mistral(args)
    for file in given:
        reason = _never(file.name) or _double(file.name, tensors, mistral=mistral)
        if reason:
            left[reason] = (*left.get(reason, ()), file)
        else:
            kept.append(file)
    return Choice(tuple(kept), left)


def wants_mistral(args: Sequence[str]) -> bool:
    """Say whether *args* have vLLM load Mistral's own format."""
    line = " ".join(args).replace("=", " ").replace("_", "-")
    return "--load-format mistral" in line


def _never(name: str) -> str:
    path = PurePosixPath(name)
    if len(path.parts) > 1 and path.parts[0].lower() in FOLDERS:
        return IN_FOLDER
    lower = path.name.lower()
    if lower.endswith(".gguf"):
        return GGUF
    if lower.endswith(OTHER_FORMATS):
        return SAME
    return FOR_READERS if lower.endswith(READING) else ""


def _double(name: str, tensors: Sequence[str], *, mistral: bool) -> str:
    if tensors and name.endswith((*PICKLES, ".bin.index.json")):
        return SAME
    usual = any(_is_usual(tensor) for tensor in tensors)
    consolidated = any(_is_consolidated(tensor) for tensor in tensors)
    if not (usual and consolidated):
        return ""
    if mistral:
        return USUAL if _is_usual(name) else ""
    return MISTRAL if _is_consolidated(name) else ""


def _is_usual(name: str) -> bool:
    return name.startswith("model") and ".safetensors" in name


def _is_consolidated(name: str) -> bool:
    return name.startswith("consolidated") and ".safetensors" in name


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", *PICKLES))
