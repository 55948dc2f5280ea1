#!/bin/sh
# Build the image again, and replace web servers and workers one by one, without an outage:
#   PROJECT=../shop docker/upgrade.sh              web, then worker
#   PROJECT=../shop docker/upgrade.sh worker web   the other way round
# A new container that does not become healthy is removed, and the old ones go on.
set -eu
[ $# -gt 0 ] || set -- web worker
docker compose build --quiet web
for service in "$@"; do
    old=$(docker compose ps --quiet "$service")
    count=$(echo "$old" | wc -w)
    if [ "$count" -eq 0 ]; then
        echo "error: no $service is running; start the cluster with docker compose up" >&2
        exit 1
    fi
    for container in $old; do
        before=$(docker compose ps --all --quiet "$service")
        if ! docker compose --progress quiet up --detach --no-build --no-deps --no-recreate \
            --scale "$service=$((count + 1))" --wait --wait-timeout 120 "$service"; then
            for new in $(docker compose ps --all --quiet "$service"); do
                case $before in
                    *"$new"*) ;;
                    *)
                        docker logs --tail 3 "$new" >&2
                        docker rm --force "$new" >/dev/null
                        ;;
                esac
            done
            echo "error: a new $service does not become healthy; the others go on" >&2
            exit 1
        fi
        # It completes what it does, while the others serve.
        docker stop "$container" >/dev/null
        docker rm "$container" >/dev/null
    done
    echo "$service: $count replaced"
done
