#!/usr/bin/env bash
# A one-machine Ceph with its S3 gateway, for tests: memory only, loopback only, gone when this ends.
#
#   radosgw.sh FOLDER [PORT]
#
# FOLDER takes configuration, keys and logs, and should be empty. PORT (9500) is the gateway's; the
# monitor takes the two ports after it. Prints "ready ENDPOINT ACCESS_KEY SECRET_KEY" and stays in
# the foreground. On exit, TERM or INT it stops every process it started.
# Needs (Debian, Ubuntu): apt-get install --no-install-recommends radosgw ceph-mon ceph-osd
set -euo pipefail

folder=$(realpath "${1:?usage: radosgw.sh FOLDER [PORT]}")
port=${2:-9500}
access_key=hooklinetest
secret_key=hooklinetestsecret
patience_s=60
export CEPH_CONF=$folder/ceph.conf

pids=()
exec 3>&1 4>&2
stop() {
    local status=$?
    trap - EXIT
    kill "${pids[@]}" 2>/dev/null || true
    wait || true
    if ((status != 0 && status != 143)); then
        tail -n 20 "$folder/log/setup.out" >&4 || true
    fi
}
trap stop EXIT
trap 'exit 143' TERM INT

start() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$folder/log/$name.out" 2>&1 3>&- 4>&- &
    pids+=($!)
}

until_true() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + patience_s))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "no $what after $patience_s s; see $folder/log"
            exit 1
        fi
        sleep 0.2
    done
}

osd_is_up() { ceph osd stat | grep -q '1 up'; }
gateway_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port"); }

configure() {
    mkdir -p "$folder"/{mon,osd,rgw,run,log,keys}
    fsid=$(cat /proc/sys/kernel/random/uuid)
    monitor="[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"
    cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon_host = $monitor
mon_initial_members = a
public_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_allow_insecure_global_id_reclaim = false
# One copy of everything: this is for tests.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
keyring = $folder/keys/\$name.keyring
run_dir = $folder/run
admin_socket = $folder/run/\$name.asok
pid_file = $folder/run/\$name.pid
log_file = $folder/log/\$name.log
crash_dir = $folder/log
log_to_stderr = false
[mon]
mon_data = $folder/mon
keyring = $folder/keys/mon.keyring
[osd]
osd_data = $folder/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
# The limits of a file system under the folder don't matter to a store in memory.
osd_max_object_name_len = 256
osd_max_object_namespace_len = 64
[client.rgw]
rgw_data = $folder/rgw
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_thread_pool_size = 32
rgw_run_sync_thread = false
END
}

start_monitor() {
    local keys=$folder/keys map=$folder/monmap
    ceph-authtool --create-keyring "$keys/mon.keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool --create-keyring "$keys/client.admin.keyring" --gen-key -n client.admin \
        --cap mon 'allow *' --cap osd 'allow *'
    ceph-authtool "$keys/mon.keyring" --import-keyring "$keys/client.admin.keyring"
    monmaptool --create --fsid "$fsid" --addv a "$monitor" "$map"
    ceph-mon --mkfs -i a --monmap "$map" --keyring "$keys/mon.keyring"
    start mon ceph-mon -i a -f
    until_true monitor ceph --connect-timeout 3 -s
}

start_storage() {
    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$uuid" 0
    ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' -o "$folder/keys/osd.0.keyring"
    ceph-osd -i 0 --mkfs --osd-uuid "$uuid"
    start osd ceph-osd -i 0 -f
    until_true storage osd_is_up
}

start_gateway() {
    ceph auth get-or-create client.rgw mon 'allow rw' osd 'allow rwx' -o "$folder/keys/client.rgw.keyring"
    start rgw radosgw -n client.rgw -f
    until_true gateway gateway_answers
    radosgw-admin user create --uid=test --display-name=test \
        --access-key="$access_key" --secret-key="$secret_key"
}

configure
exec >"$folder/log/setup.out" 2>&1
start_monitor
start_storage
start_gateway
echo "ready http://127.0.0.1:$port $access_key $secret_key" >&3
# Ends when one of them does, which is a failure: they are meant to run until we are stopped.
wait -n "${pids[@]}"
exit 1
