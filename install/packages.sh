# shellcheck shell=sh
# Packages of the distribution; sourced by install.sh.

# Print a python3 of at least 3.11.  The distribution's own and no other: only it
# can import the distribution's python3-systemd.
find_python() {
    for python in /usr/bin/python3 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            say "$python"
            return
        fi
    done
    return 1
}

# Print what `find_python` and a virtual environment lack.
missing_for_python() {
    if python=$(find_python); then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || say python3-venv
        "$python" -c 'import systemd.daemon' 2>/dev/null || say python3-systemd
    else
        say python3 python3-venv python3-systemd
    fi
    # pip trusts the machine's certificates where it is told to; all of HTTPS does.
    [ -s /etc/ssl/certs/ca-certificates.crt ] || say ca-certificates
}

has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }

# A Docker of any origin is left alone, also one that does not run at the moment.
has_docker() { has docker || has dockerd || [ -e /usr/lib/systemd/system/docker.service ]; }

missing_for_system() {
    missing_for_python
    has nginx || say nginx-light
    [ -e /usr/lib/nginx/modules/ngx_http_js_module.so ] || say libnginx-mod-http-js
    # For the group's right to read the journal.
    has setfacl || say acl
    has_docker || say docker.io
}

missing_for_private_manager() {
    missing_for_python
    [ -x /lib/systemd/systemd ] || say systemd
    has unshare || say util-linux
    has mount || say mount
}

# install_packages NAME...
install_packages() {
    [ $# -gt 0 ] || return 0
    has apt-get || die "missing: $*" 'this is no Debian or Ubuntu: install what they stand for by hand'
    had_nginx=no
    ! has nginx || had_nginx=yes
    step "packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    # A package's service must not come up beside ours with its defaults: a new
    # nginx would take port 80.
    policy=
    if [ "$DRY" = no ] && [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        # shellcheck disable=SC2064  # this very file, now
        trap "rm -f $policy" EXIT
    fi
    run 'can this machine reach its package mirrors? (apt-get update)' apt-get -q update
    run 'see above; dpkg --configure -a and apt-get -f install mend most' \
        apt-get -q install -y --no-install-recommends "$@"
    if [ -n "$policy" ]; then
        rm -f "$policy"
        trap - EXIT
    fi
    if [ "$had_nginx" = no ] && has nginx && [ -d /run/systemd/system ]; then
        say '    nginx is new here: its own default site is left switched off'
        run 'see systemctl status nginx' systemctl --quiet disable nginx.service
    fi
    case " $* " in
    *' docker.io '*)
        if [ -d /run/systemd/system ]; then
            run 'see journalctl -u docker' systemctl enable --now docker.service
        fi
        ;;
    esac
}
