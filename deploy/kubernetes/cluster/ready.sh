#!/bin/sh
# Checks whether one server of the cluster is ready: the cluster serves, and a replica follows its primary.
#
# A recreated pod has another address. One server tells the others by itself; but if all were recreated at the same time,
# none knows where the others are, so each is introduced to all of SERVERS (host:port) until they serve.
set -eu
export REDISCLI_AUTH="$ADMIN_PASSWORD"
ask() { valkey-cli --no-auth-warning --user admin -p "$PORT" "$@" | tr -d '\r'; }

address_of() {
    case $1 in
    *[!0-9.]*) { getent ahostsv4 "$1" 2> /dev/null || getent hosts "$1"; } | sed -n '1s/ .*//p' ;;
    *) echo "$1" ;;
    esac
}
field() { printf '%s\n' "$1" | sed -n "s/^$2://p"; }

state=$(ask cluster info)
if [ "$(field "$state" cluster_state)" != ok ]; then
    [ "$(field "$state" cluster_known_nodes)" -gt 1 ] || exit 1  # not formed yet
    for server in $SERVERS; do
        address=$(address_of "${server%:*}")
        [ -z "$address" ] || ask cluster meet "$address" "${server#*:}" > /dev/null
    done
    exit 1
fi
replication=$(ask info replication)
[ "$(field "$replication" role)" = master ] || [ "$(field "$replication" master_link_status)" = up ]
