#!/bin/sh
# Starts one server of the cluster, with the users of deploy/users.acl. Passwords go into files that nobody else can
# read, not on the command line. `exec` makes valkey, not a shell, receive the stop signal.
set -eu
umask 077
sed -e "s/@admin@/$ADMIN_PASSWORD/" -e "s/@api@/$API_PASSWORD/" -e "s/@worker@/$WORKER_PASSWORD/" \
    -e "s/@consumer@/$CONSUMER_PASSWORD/" \
    -e "s/@flower@/$FLOWER_PASSWORD/" -e "s/@operator@/$OPERATOR_PASSWORD/" /etc/valkey/users.acl > "$RUN/users.acl"
printf 'masteruser admin\nmasterauth %s\n' "$ADMIN_PASSWORD" > "$RUN/valkey.conf"
exec valkey-server "$RUN/valkey.conf" --aclfile "$RUN/users.acl" --port "$PORT" --dir "$DATA" \
    --maxmemory "$MAXMEMORY" --cluster-config-file "$DATA/nodes.conf" --appendfsync always \
    --save "" --appendonly yes --auto-aof-rewrite-min-size 1gb --rdbcompression no --maxmemory-policy noeviction \
    --hash-max-listpack-entries 64 --hash-max-listpack-value 512 --zset-max-listpack-entries 16 \
    --client-output-buffer-limit pubsub 256mb 128mb 60 --tcp-keepalive 60 \
    --cluster-enabled yes --cluster-node-timeout 2000 --cluster-require-full-coverage no \
    --cluster-replica-validity-factor 10 --repl-diskless-sync-delay 0
