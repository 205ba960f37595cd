#!/bin/sh
# Makes a cluster of SERVERS (host:port, the primaries first) with REPLICAS for each primary, unless they are one.
set -eu
export REDISCLI_AUTH="$ADMIN_PASSWORD"
ask() { valkey-cli --no-auth-warning --user admin "$@"; }
address_of() {
    case $1 in
    *[!0-9.]*) { getent ahostsv4 "$1" 2> /dev/null || getent hosts "$1"; } | sed -n '1s/ .*//p' ;;
    *) echo "$1" ;;
    esac
}

addresses=
for server in $SERVERS; do
    host=${server%:*} port=${server#*:}
    until ask -h "$host" -p "$port" ping | grep -q PONG; do sleep 1; done
    addresses="$addresses $(address_of "$host"):$port"
done
if ask -h "$host" -p "$port" cluster info | grep -q '^cluster_slots_assigned:16384'; then
    echo "The cluster exists."
    exit 0
fi
# Word splitting is meant: one address each. It refuses servers that hold keys or know others.
ask --cluster create $addresses --cluster-replicas "$REPLICAS" --cluster-yes
