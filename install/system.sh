# shellcheck shell=sh
# Installing for the whole machine, and taking it back; sourced by install.sh.

OPT=/opt/spark-activator
ETC=/etc/spark-activator
STATE=/var/lib/spark-activator
SHARE=/usr/share/spark-activator
UNITS=/usr/lib/systemd/system
COMMAND=/usr/local/bin/spark-model
# What was written outside of directories of our own, one path a line.
LIST=$SHARE/installed
PREFIX=$OPT/current
NGINX_CONF=$SHARE/nginx/nginx.conf

install_system() {
    need_root './install.sh'
    [ -d /run/systemd/system ] || die 'systemd does not run this machine' \
        'only the tour works here: ./install.sh --demo'
    say "spark-activator $(version) for this machine"
    # shellcheck disable=SC2046  # a list of names
    install_packages $(missing_for_system)
    check_port
    WRITTEN=$(mktemp)
    install_users
    make_environment "$OPT"
    install_catalog
    install_units
    install_nginx
    remove_leftovers
    tell_systemd
    apply_catalog
    start_endpoint
    report_gpu
    say
    if [ "$DRY" = yes ]; then
        say 'Nothing was done (--dry-run).'
        return
    fi
    say 'Installed. Models that were off stay off. Next:'
    say '    sudo usermod -aG spark-activator USER'
    say '        and log in again: list, status, logs, stop, lease and pause then need no sudo'
    say '    spark-model list                 every model; docs/models.md says which one for what'
    say '    sudo spark-model enable NAME     fetch what it needs, and switch it on'
    say '    spark-model chat NAME "Hello"'
}

need_root() {
    [ "$(id -u)" = 0 ] || [ "$DRY" = yes ] ||
        die 'installing for the whole machine needs root' "run: sudo $*, or look around without: ./install.sh --demo"
}

# Found out before anything is changed: a port that is taken fails only at the end.
check_port() {
    ! systemctl --quiet is-active spark-nginx.service || return 0
    if "$(find_python)" -c 'import socket; socket.create_connection(("127.0.0.1", 8009), 1)' 2>/dev/null; then
        die 'something else listens on 127.0.0.1:8009, the endpoint of all models' \
            'see who: ss -ltnp sport = :8009; docs/nginx.md says how to include ours in an nginx of yours instead'
    fi
}

# put_listed MODE TARGET: like `put`, and remember the file for the next run.
put_listed() {
    say "$2" >>"$WRITTEN"
    put "$1" "$2"
}

install_users() {
    step 'users, groups, directories'
    put_listed 644 /usr/lib/sysusers.d/spark-activator.conf <units/spark-activator.sysusers.conf
    run 'see systemd-sysusers(8)' systemd-sysusers spark-activator.conf
    put_listed 644 /usr/lib/tmpfiles.d/spark-activator.conf <units/spark-activator.tmpfiles.conf
    # The journal of units is not a file of ours, so members of the group get a
    # right to it here, and a person should know.
    say "    members of the group spark-activator may read the journal, for 'spark-model logs'"
    put_listed 644 /usr/lib/tmpfiles.d/spark-activator-journal.conf <install/journal.tmpfiles.conf
    run 'see systemd-tmpfiles(8)' systemd-tmpfiles --create spark-activator.conf spark-activator-journal.conf
    group=root:spark-activator
    directory 0755 root:root $ETC
    directory 0755 root:root $ETC/models
    # Environments of engines may hold tokens: not everybody's to read.
    directory 2750 $group $ETC/frozen
    # Hashes of keys: for who lets clients in, and for nobody else.
    if [ ! -e $ETC/api-keys ]; then
        run 'is the file system writable?' install -m 0640 -o root -g spark-keys /dev/null $ETC/api-keys
    elif [ "$(stat -c '%a %U:%G' $ETC/api-keys)" != '640 root:spark-keys' ]; then
        run 'is the file system writable?' chown root:spark-keys $ETC/api-keys
        run 'is the file system writable?' chmod 0640 $ETC/api-keys
    fi
    directory 0755 root:root $STATE
    directory 0755 root:root $SHARE
}

install_catalog() {
    step "catalog: $SHARE/models"
    # Families are what several models have in common, folders of images what is built here.
    for file in models/*.yaml models/families/*.yaml images/*/*; do
        [ ! -f "$file" ] || put_listed 644 "$SHARE/$file" <"$file"
    done
    [ ! -e images/images.yaml ] || put_listed 644 $SHARE/images.yaml <images/images.yaml
    [ ! -e images/files.yaml ] || put_listed 644 $SHARE/files.yaml <images/files.yaml
    # For programs that ask the models.
    put_listed 644 $SHARE/openapi.yaml <docs/openapi.yaml
}

# fill <TEMPLATE: the placeholders of units and of nginx's files (docs/nginx.md).
fill() {
    # No @USER@: the unit starts nginx as its user, and it could not change it.
    sed -e "s|@PREFIX@|$PREFIX|g" -e "s|@NGINX_CONF@|$NGINX_CONF|g" \
        -e "s|@SHARE@|$SHARE/nginx|g" -e 's|@RUN@|/run/spark-activator|g' \
        -e "s|@CONFIG@|$ETC|g" -e "s|@STATE@|$STATE|g" \
        -e 's|@TEMP@|/run/spark-nginx|g' -e 's|@PORT@|8009|g' -e '/^@USER@$/d'
}

install_units() {
    NGINX_CHANGED=no
    was=$(nginx_unit)
    step "units: $UNITS"
    for file in units/spark-*.service units/spark-*.socket units/spark-*.path units/spark-*.timer; do
        [ ! -e "$file" ] || fill <"$file" | put_listed 644 "$UNITS/${file#units/}"
    done
    newest=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    for tree in units/system units/v[0-9]*; do
        since=${tree#units/v}
        # Keys that an older systemd does not know would be warned about for ever.
        if [ "$tree" != units/system ] && [ "$since" -gt "$newest" ]; then
            continue
        fi
        for file in "$tree"/*/*.conf; do
            [ ! -e "$file" ] || fill <"$file" | put_listed 644 "$UNITS/${file#"$tree"/}"
        done
    done
}

install_nginx() {
    step "nginx: $NGINX_CONF, an instance of our own on 127.0.0.1:8009"
    for file in units/nginx/*; do
        [ -f "$file" ] || continue
        target=$SHARE/nginx/${file##*/}
        fill <"$file" | cmp -s - "$target" || NGINX_CHANGED=yes
        fill <"$file" | put_listed 644 "$target"
    done
}

# Everything of nginx's unit, for seeing whether it changed.
nginx_unit() { cat $UNITS/spark-nginx.service $UNITS/spark-nginx.service.d/*.conf 2>/dev/null || true; }

# What an earlier version wrote and this one does not.
remove_leftovers() {
    if [ -e $LIST ]; then
        while read -r path; do
            if [ -e "$path" ] && ! grep -qxF "$path" "$WRITTEN"; then
                run 'remove it by hand' rm -f "$path"
                case $path in */systemd/*) UNITS_CHANGED=yes ;; esac
            fi
        done <$LIST
    fi
    put 644 $LIST <"$WRITTEN"
    rm -f "$WRITTEN"
}

tell_systemd() {
    if [ "$(readlink $COMMAND 2>/dev/null)" != $PREFIX/bin/spark-model ]; then
        run 'is the file system writable?' ln -sfn $PREFIX/bin/spark-model $COMMAND
    fi
    # Only when needed: it is harmless for what is ours, but not for everybody.
    if [ "$UNITS_CHANGED" = yes ]; then
        run 'see journalctl -b -p err' systemctl daemon-reload
    fi
}

apply_catalog() {
    step 'frozen models and ports'
    if [ "$DRY" = yes ]; then
        say '    would run: spark-model apply'
        return
    fi
    $COMMAND apply || die 'spark-model apply failed' 'mend what it names, and run ./install.sh again'
}

start_endpoint() {
    step 'endpoint: http://127.0.0.1:8009/v1'
    for unit in spark-models.path spark-drop-caches.socket spark-lease.socket spark-event.socket spark-nginx.service; do
        if ! systemctl --quiet is-enabled $unit 2>/dev/null || ! systemctl --quiet is-active $unit; then
            run "see: journalctl -u $unit" systemctl enable --now $unit
        elif [ $unit = spark-nginx.service ] && ! nginx_reads_keys; then
            # It would let nobody in: groups come with a process, and a reload keeps it.
            say '    nginx joins the group spark-keys: streams that go through it end now'
            run "see: journalctl -u $unit" systemctl restart $unit
        elif [ $unit = spark-nginx.service ] && [ "$NGINX_CHANGED" = yes ]; then
            run "see: journalctl -u $unit" systemctl reload $unit
        fi
    done
    if [ -n "$was" ] && [ "$was" != "$(nginx_unit)" ]; then
        # It waits for streams, but what listens meanwhile is nobody.
        say '    the unit of nginx changed; when no stream runs: systemctl restart spark-nginx.service'
    fi
    # nginx reads the list from a file, and the first one has to be there.
    run 'see: journalctl -u spark-models.service' systemctl start spark-models.service
}

# Whether the nginx that runs is in the group that the keys belong to.
nginx_reads_keys() {
    pid=$(systemctl show --property MainPID --value spark-nginx.service)
    group=$(getent group spark-keys | cut -d : -f 3)
    grep -q "^Groups:.*[[:space:]]${group}[[:space:]]" "/proc/$pid/status"
}

# Said, not mended: drivers are the machine's business.
report_gpu() {
    if has nvidia-smi; then
        say "GPU: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)"
    else
        say 'GPU: no nvidia-smi here; models whose image needs one will not start'
    fi
    docker info >/dev/null 2>&1 || say 'Docker: does not answer; models in containers will say so until it does'
}

uninstall_system() {
    need_root './install.sh --uninstall'
    step 'stopping'
    # Sockets first: what belongs to a model is part of its socket and goes along.
    # shellcheck disable=SC2046  # a list of names
    stop_units $(systemctl list-units --all --plain --no-legend 'spark-model@*.socket' | cut -d ' ' -f 1) \
        spark-nginx.service spark-nginx.socket spark-models.path spark-drop-caches.socket spark-lease.socket spark-event.socket
    # shellcheck disable=SC2046
    stop_units $(systemctl list-units --plain --no-legend 'spark-model@*' 'spark-runner@*' \
        'spark-engine@*' 'spark-reaper@*' 'spark-tcp@*' 'spark-lease@*' 'spark-event@*' | cut -d ' ' -f 1)
    remove_containers
    step 'removing'
    close_journal
    if [ -e $LIST ]; then
        while read -r path; do
            [ ! -e "$path" ] || run 'remove it by hand' rm -f "$path"
        done <$LIST
    fi
    # Drop-ins that `apply` wrote, by their first line; an owner's own stay.
    for path in /etc/systemd/system/spark-*@*.d/*.conf /etc/systemd/system/spark-nginx.socket \
        /etc/systemd/system/spark-nginx.service.d/*.conf; do
        if grep -q '^# Written by .spark-model apply' "$path" 2>/dev/null; then
            run 'remove it by hand' rm -f "$path"
        fi
    done
    for path in $SHARE $OPT /run/spark-activator /var/cache/spark-nginx; do
        [ ! -e "$path" ] || run 'remove it by hand' rm -rf "$path"
    done
    for path in "$UNITS"/spark-*.d /etc/systemd/system/spark-*@*.d \
        /etc/systemd/system/spark-nginx.service.d; do
        [ ! -d "$path" ] || run 'remove it by hand' rmdir --ignore-fail-on-non-empty "$path"
    done
    [ ! -L $COMMAND ] || run 'remove it by hand' rm -f $COMMAND
    run 'see journalctl -b -p err' systemctl daemon-reload
    if [ "$1" = yes ]; then
        purge_system
    else
        say "kept: $ETC, $STATE, users and groups (--purge takes them too)"
    fi
    if [ "$DRY" = yes ]; then
        say 'Nothing was done (--dry-run).'
    else
        say 'Uninstalled. Packages of the distribution stay.'
    fi
}

# stop_units NAME...: and take their enablement back.
stop_units() {
    for unit in "$@"; do
        case $unit in
        spark-model@*.socket)
            run "see: systemctl status $unit" systemctl disable "$unit"
            # One of no model can be enabled by a slip, and is nothing that could be stopped;
            # one whose settings went since then still listens.
            ! systemctl is-active --quiet "$unit" ||
                run "see: systemctl status $unit" systemctl stop "$unit"
            ;;
        *@*) run "see: systemctl status $unit" systemctl stop "$unit" ;;
        *)
            ! systemctl cat "$unit" >/dev/null 2>&1 ||
                run "see: systemctl status $unit" systemctl disable --now "$unit"
            ;;
        esac
    done
}

# The right to read the journal: kept, it would be that of whatever group gets the number next.
close_journal() {
    has setfacl && getent group spark-activator >/dev/null || return 0
    for path in /run/log/journal /var/log/journal; do
        [ ! -d "$path" ] || run 'see setfacl(1)' setfacl --recursive \
            --remove group:spark-activator,default:group:spark-activator "$path"
    done
}

# A container survives its runner by design, and now nobody would come back for it.
remove_containers() {
    docker info >/dev/null 2>&1 || return 0
    for container in $(docker ps --all --quiet --filter label=io.spark-activator.model); do
        run 'remove it by hand: docker rm -f' docker rm --force "$container"
    done
}

purge_system() {
    for path in $ETC $STATE /var/log/spark-nginx; do
        [ ! -e "$path" ] || run 'remove it by hand' rm -rf "$path"
    done
    for name in spark-engine spark-event spark-nginx spark-runner spark-activator spark-keys; do
        ! id "$name" >/dev/null 2>&1 || run 'remove it by hand' userdel "$name"
        ! getent group "$name" >/dev/null || run 'remove it by hand' groupdel "$name"
    done
}
