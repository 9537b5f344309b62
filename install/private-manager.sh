#!/bin/sh
# Run a command below a systemd user manager, both alone in their namespaces.
#
# usage: unshare --mount --pid --cgroup --fork … private-manager.sh COMMAND...
#
# Ends with the command's status, and with it the manager.  SIGTERM is handed to
# the command.  As PID 1 of its namespace it takes everything along when it ends.
set -eu

mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 none /run
# Credentials of units are passed by mounts; with private ones they come out empty.
mount --make-shared /run
mkdir -p /run/systemd/system
mkdir /run/user
mkdir -m 0700 /run/user/0
# Over what is there, which may be busy and cannot be unmounted.
mount -t cgroup2 cgroup2 /sys/fs/cgroup

XDG_RUNTIME_DIR=/run/user/0
export XDG_RUNTIME_DIR
unset DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET LISTEN_FDS LISTEN_PID LISTEN_FDNAMES
log=/run/manager.log
# basic.target and not the default one, which would start the user's own services.
/lib/systemd/systemd --user --unit=basic.target >"$log" 2>&1 &
manager=$!
tries=0
until [ -S "$XDG_RUNTIME_DIR/systemd/private" ]; do
    tries=$((tries + 1))
    # 20 s; it takes one.
    if [ "$tries" -gt 200 ] || ! kill -0 "$manager" 2>/dev/null; then
        tail -n 15 "$log" >&2
        echo 'private-manager: the systemd user manager does not come up' >&2
        exit 1
    fi
    sleep 0.1
done

"$@" &
command=$!
trap 'kill -TERM "$command" 2>/dev/null' INT TERM HUP
status=0
while kill -0 "$command" 2>/dev/null; do
    status=0
    wait "$command" || status=$?
done
trap '' INT TERM HUP
kill -TERM "$manager"
wait "$manager" || true
exit "$status"
