# shellcheck shell=sh
# shellcheck disable=SC2034  # what is set here is read by the files beside
# How install.sh speaks and acts; sourced by it.

# With `yes`, `run` and `put` say what they would do.
DRY=no
# Set by `put` when a unit changed, so that systemd is told once, and only then.
UNITS_CHANGED=no

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }

# die MESSAGE [REMEDY]
die() {
    printf 'install.sh: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  (%s)\n' "$2" >&2
    exit 1
}

# run REMEDY COMMAND...: say it and do it; its output is shown only when it fails.
run() {
    remedy=$1
    shift
    if [ "$DRY" = yes ]; then
        say "    would run: $*"
        return
    fi
    say "    $*"
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "failed: $*" "$remedy"
    fi
    rm -f "$log"
}

# directory MODE OWNER PATH
directory() {
    if [ "$(stat -c '%a %U:%G' "$3" 2>/dev/null)" = "${1#0} $2" ]; then
        return
    fi
    run 'is the file system writable?' install -d -m "$1" -o "${2%:*}" -g "${2#*:}" "$3"
}

# put MODE TARGET <TEXT: write standard input to TARGET where it differs.
put() {
    fresh=$(mktemp)
    cat >"$fresh"
    if cmp -s "$fresh" "$2"; then
        rm -f "$fresh"
        return
    fi
    if [ "$DRY" = yes ]; then
        say "    would write $2"
        rm -f "$fresh"
        return
    fi
    say "    writing $2"
    mkdir -p "$(dirname "$2")"
    # By rename: whoever reads it sees the old one or the new one, never half.
    if ! { cp "$fresh" "$2.new" && chmod "$1" "$2.new" && mv -f "$2.new" "$2"; }; then
        rm -f "$fresh" "$2.new"
        die "cannot write $2" 'is the file system writable, and not full?'
    fi
    rm -f "$fresh"
    case $2 in */systemd/*) UNITS_CHANGED=yes ;; esac
}

# The version in the package, which is the only place that names it.
version() { sed -n 's/^__version__ = "\(.*\)"/\1/p' spark_activator/__init__.py; }
