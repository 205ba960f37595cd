#!/bin/sh
# Starts one server of the cluster, with the users of deploy/users.acl. Passwords are put into files that nobody else
# reads, not on the command line. `exec` so that valkey, not a shell, is told to stop.
set -eu
umask 077
sed -e "s/@admin@/$ADMIN_PASSWORD/" -e "s/@api@/$API_PASSWORD/" -e "s/@worker@/$WORKER_PASSWORD/" \
    -e "s/@flower@/$FLOWER_PASSWORD/" -e "s/@operator@/$OPERATOR_PASSWORD/" /etc/valkey/users.acl > "$RUN/users.acl"
printf 'masteruser admin\nmasterauth %s\n' "$ADMIN_PASSWORD" > "$RUN/valkey.conf"
exec valkey-server "$RUN/valkey.conf" --aclfile "$RUN/users.acl" --port "$PORT" --dir "$DATA" \
    --cluster-enabled yes --cluster-config-file "$DATA/nodes.conf" --cluster-node-timeout 5000 \
    --cluster-require-full-coverage no \
    --appendonly yes --appendfsync always --save "" --maxmemory "$MAXMEMORY" --maxmemory-policy noeviction \
    --hash-max-listpack-entries 64 --hash-max-listpack-value 512 --zset-max-listpack-entries 16
