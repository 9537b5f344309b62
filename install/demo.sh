# shellcheck shell=sh
# shellcheck disable=SC2154  # 'here' comes from install.sh
# The tour; sourced by install.sh.
#
# An ordinary user's own systemd manager serves as it is.  Root gets a private one,
# in a cgroup, a PID namespace and a mount namespace of its own, also where systemd
# runs the machine: nothing of the tour can then meet what is installed.

run_demo() {
    data=${XDG_DATA_HOME:-${HOME:?}/.local/share}/spark-activator
    demo_packages
    make_environment "$data"
    # Without somebody to press Ctrl-C it would stay for ever.
    once=$1
    if ! [ -t 0 ] || ! [ -t 1 ]; then
        once=yes
    fi
    set -- "$data/current/bin/python" -I "$here/install/tour" "$here" "$data"
    [ "$once" = no ] || set -- "$@" --once
    step 'tour'
    status=0
    if [ "$(id -u)" = 0 ]; then
        run_privately "$@" || status=$?
    else
        # Python ends the tour at Ctrl-C, and has to clean up first.
        trap : INT
        "$@" || status=$?
    fi
    say "kept: $data (the code; remove it whenever you like)"
    return "$status"
}

demo_packages() {
    if [ "$(id -u)" = 0 ]; then
        # shellcheck disable=SC2046  # a list of names
        install_packages $(missing_for_private_manager)
        return
    fi
    missing=$(missing_for_python | tr '\n' ' ')
    [ -z "$missing" ] || die "packages are missing: $missing" \
        "run: sudo apt-get install --no-install-recommends $missing"
    systemctl --user show-environment >/dev/null 2>&1 ||
        die 'no systemd manager of yours answers' \
            'run: sudo ./install.sh --demo, which brings one of its own'
}

# run_privately COMMAND...: below a systemd user manager of its own.
run_privately() {
    tree=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    mounted=
    if [ -z "$tree" ]; then
        tree=$(mktemp -d)
        mounted=$tree
        mount -t cgroup2 cgroup2 "$tree" ||
            die 'cannot mount the cgroup tree' 'run it on the machine itself, or in a container that may'
    fi
    # In the machine's own cgroup the manager would move everybody's processes.
    group=$tree/spark-demo-$$
    mkdir "$group" || die 'cannot make a cgroup' 'run it on the machine itself, or in a container that may'
    (
        echo 0 >"$group/cgroup.procs"
        # A session of its own: Ctrl-C is for the command, which we tell, and not for
        # the manager, which would leave before the command has cleaned up.
        exec setsid unshare --mount --pid --cgroup --fork --kill-child=SIGTERM \
            /bin/sh "$here/install/private-manager.sh" "$@" </dev/null
    ) &
    outer=$!
    # The inner shell, for unshare itself ignores signals.
    trap 'end_inner "$outer"' INT TERM HUP
    inner_status=0
    while kill -0 "$outer" 2>/dev/null; do
        inner_status=0
        wait "$outer" || inner_status=$?
    done
    trap - INT TERM HUP
    # Only empty ones can be removed, so this also shows that no process is left.
    find "$group" -depth -type d -exec rmdir {} + || die "processes are left in $group" \
        "see: cat $group/cgroup.procs"
    if [ -n "$mounted" ]; then
        umount "$mounted"
        rmdir "$mounted"
    fi
    say 'left behind: no process, no mount, no cgroup'
    return "$inner_status"
}

end_inner() {
    for file in /proc/[0-9]*/status; do
        if grep -q "^PPid:[[:space:]]*$1\$" "$file" 2>/dev/null; then
            inner=${file#/proc/}
            kill -TERM "${inner%/status}" 2>/dev/null || true
        fi
    done
}
