# shellcheck shell=sh
# shellcheck disable=SC2154  # 'here' comes from install.sh
# The virtual environment with the code; sourced by install.sh.

# Print the version with a mark of the code itself, so that another state of a
# checkout is another directory and processes that run keep theirs.
release() {
    mark=$(find spark_activator pyproject.toml -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z |
        xargs -0 cat | sha256sum | cut -c1-8)
    say "$(version)+$mark"
}

# make_environment BASE: install the code to BASE/RELEASE and have BASE/current name it.
make_environment() {
    base=$1
    target=$base/$(release)
    python=$(find_python) || [ "$DRY" = yes ] ||
        die 'there is no /usr/bin/python3 of version 3.11 or newer' \
            'Debian 12, Ubuntu 24.04 and newer have one'
    step "code: $target"
    if [ -e "$target/.complete" ] && "$target/bin/python" -I -c 'import spark_activator' 2>/dev/null; then
        say '    is there'
    else
        # What an interrupted run left is not built upon.
        [ ! -e "$target" ] || run 'is the directory writable?' rm -rf "$target"
        run 'is the directory writable?' mkdir -p "$base"
        run 'the package python3-venv is needed' "$python" -m venv --system-site-packages "$target"
        run 'pip takes index, proxy and certificates from pip.conf and PIP_* as always' \
            "$target/bin/python" -m pip install --quiet --disable-pip-version-check \
            --no-compile "$here"
        # Compiled once, and never checked against the sources again: 30 ms of each start.
        run 'is this checkout whole? (git status)' "$target/bin/python" -m compileall -q \
            --invalidation-mode unchecked-hash "$target/lib"
        run 'is the disk full?' touch "$target/.complete"
    fi
    if [ "$(readlink "$base/current" 2>/dev/null)" = "${target##*/}" ]; then
        return
    fi
    previous=$(readlink "$base/current" 2>/dev/null || true)
    # By rename, so that there is no moment without it.
    run 'is the directory writable?' ln -sfn "${target##*/}" "$base/.current"
    run 'is the directory writable?' mv -Tf "$base/.current" "$base/current"
    # The one before stays for the processes that still run it; older ones go.
    for old in "$base"/*+*; do
        case ${old##*/} in
        "${target##*/}" | "$previous" | '*+*') ;;
        *) run 'remove it by hand' rm -rf "$old" ;;
        esac
    done
}
