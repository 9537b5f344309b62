"""Places of the host that a service mounts → those that its engine gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spark_activator.imports.hidden import is_private
from spark_activator.migration.translate import Taken


def with_mounts(taken: Taken, mounts: Mapping[str, str], root: str) -> Taken:
    """Give *taken* the absolute *mounts*, but for places that no engine gets.

    Args:
        taken: What was read.
        mounts: Path inside: path on the host.
        root: The checkout, whose own files are for its engines wherever it lies.
    """
    kept = {
        inside: host
        for inside, host in mounts.items()
        if host.startswith(f"{root}/") or not is_private(host)
    }
    gone = sorted(mounts.keys() - kept.keys())
    notes = [f"the mount of {mounts[inside]}, a place that no engine gets" for inside in gone]
    file = {key: value for key, value in taken.file.items() if key != "container"}
    container = {**taken.file["container"], "mounts": kept} if kept else {}
    file |= {"container": container} if container else {}
    # With nothing but `extends` it would say nothing.
    return replace(
        taken, file={} if file.keys() == {"extends"} else file, notes=taken.notes + notes
    )
