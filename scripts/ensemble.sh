#!/usr/bin/env bash
# Three servers on loopback, with their data under data/ensemble.
set -euo pipefail
cd "$(dirname "$0")/.."
top="$PWD/data/ensemble"

members() {
  local n
  for n in 1 2 3; do echo "server.$n=127.0.0.1:$((2887 + n)):$((3887 + n))"; done
}

case "${1:-}" in
  start)
    for n in 1 2 3; do
      dir="$top/$n"
      mkdir -p "$dir/conf"
      echo "$n" >"$dir/myid"
      {
        sed -e "s|^dataDir=.*|dataDir=$dir|" -e "s|^clientPort=.*|clientPort=$((2180 + n))|" conf/zoo_sample.cfg
        members
      } >"$dir/conf/zoo.cfg"
      # One that runs already is left alone: this starts what is missing.
      if ! said="$(ZOO_LOG_DIR="$dir/logs" bin/zkServer.sh --config "$dir/conf" start 2>&1)"; then
        case "$said" in
          *"already running"*) ;;
          *)
            echo "$said" >&2
            exit 1
            ;;
        esac
      fi
    done
    for n in 1 2 3; do
      for _ in $(seq 100); do
        if ZOO_LOG_DIR="$top/$n/logs" bin/zkServer.sh --config "$top/$n/conf" status 2>/dev/null | grep '^Mode' >"$top/$n/mode"; then break; fi
        sleep 0.1
      done
      if [ ! -s "$top/$n/mode" ]; then
        echo "server $n on port $((2180 + n)) does not serve: see $top/$n/logs" >&2
        exit 1
      fi
      echo "server $n on port $((2180 + n)): $(cat "$top/$n/mode")"
    done
    echo "Connect with: bin/zkCli.sh -server localhost:2181,localhost:2182,localhost:2183"
    ;;
  stop)
    for n in 1 2 3; do
      [ ! -d "$top/$n/conf" ] || bin/zkServer.sh --config "$top/$n/conf" stop
    done
    ;;
  *)
    echo "Usage: $0 {start|stop}" >&2
    exit 2
    ;;
esac
