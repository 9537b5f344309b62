#!/bin/sh
# Install spark-activator on this machine, or show it without installing anything
# system-wide.  It can be run again: what is there and unchanged is left alone.
#
# usage: sudo ./install.sh [--dry-run]       install for the whole machine
#        sudo ./install.sh --uninstall [--purge] [--dry-run]
#        ./install.sh --demo [--once]        a tour with a model that needs no GPU
#
#   --dry-run  say what would be done, and do nothing
#   --purge    with --uninstall: also /etc/spark-activator and /var/lib/spark-activator,
#              which holds caches and weights
#   --once     with --demo: end after the tour instead of waiting for Ctrl-C
#
# It stops at the first step that fails and says what to do.  A Docker, a driver
# or a container toolkit that is there is never replaced or restarted; no model is
# enabled.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
umask 022

. install/steps.sh
. install/packages.sh
. install/environment.sh
. install/system.sh
. install/demo.sh

usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$here/install.sh"; }

mode=install
purge=no
once=no
for argument in "$@"; do
    case $argument in
    --demo) mode=demo ;;
    --uninstall) mode=uninstall ;;
    --once) once=yes ;;
    --purge) purge=yes ;;
    --dry-run) DRY=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        die "unknown option '$argument'"
        ;;
    esac
done
[ "$purge" = no ] || [ "$mode" = uninstall ] || die '--purge goes with --uninstall'
[ "$once" = no ] || [ "$mode" = demo ] || die '--once goes with --demo'
[ "$DRY" = no ] || [ "$mode" != demo ] || die '--dry-run does not go with --demo' \
    'the demo installs nothing system-wide but missing packages, and those only as root'

case $mode in
install) install_system ;;
uninstall) uninstall_system "$purge" ;;
demo) run_demo "$once" ;;
esac
