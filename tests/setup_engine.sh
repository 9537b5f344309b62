#!/bin/sh
# Build one of the engines' images for the tests: its own Dockerfile on our base.
#
# usage: tests/setup_engine.sh demo|vllm-cpu
#
# The image is called as images/images.yaml calls it: spark-demo, vllm-cpu.
set -eu

name=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spark-activator-tests
case $name in
demo) image=spark-demo sources="$root/spark_activator/demo $root/images/demo" ;;
*) image=$name sources=$root/images/$name ;;
esac

# shellcheck disable=SC2086  # a list of directories
inputs=$(find $sources -type f ! -name '*.pyc' ! -name '*.md' -print0 | sort -z | xargs -0 cat | cksum | tr ' ' '-')
made=$(docker image inspect --format '{{index .Config.Labels "inputs"}}' "$image" 2>/dev/null || true)
[ "$made" != "$inputs" ] || exit 0

"$root/tests/setup_images.sh" bookworm
printf 'setup_engine: building %s\n' "$image"
# The classic builder: BuildKit is a plugin that Debian does not ship.
DOCKER_BUILDKIT=0 docker build --quiet --label "inputs=$inputs" \
    --build-arg BASE=spark-test-base:bookworm \
    --file "$root/images/$name/Dockerfile" --tag "$image" "$root" >"$cache/build-$name.log" 2>&1 || {
    tail -n 20 "$cache/build-$name.log" >&2
    exit 1
}
