#!/usr/bin/env bash
# Starts, stops and asks after a zkcore server, with the actions, words and exit
# codes of ZooKeeper's script of the same name.

self="${BASH_SOURCE[0]}"
while [ -L "$self" ]; do
  link="$(readlink "$self")"
  case "$link" in
    /*) self="$link" ;;
    *) self="$(dirname "$self")/$link" ;;
  esac
done
ZOOBINDIR="$(cd "$(dirname "$self")" && pwd)"
. "$ZOOBINDIR/zkEnv.sh"

usage() {
  echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}" >&2
}

action="${1:-}"
if [ -n "${2:-}" ]; then
  case "$2" in
    */*) ZOOCFG="$2" ;;
    *) ZOOCFG="$ZOOCFGDIR/$2" ;;
  esac
fi

server="$(find_program zkcore)" || exit 1

if [ "$action" = version ]; then
  exec "$server" version
fi

echo "ZooKeeper JMX is not there: zkcore has no JVM" >&2
echo "Using config: $ZOOCFG" >&2

# The environment beats the file, for the server too.
datadir="${ZKCORE_DATADIR:-$(value_in "$ZOOCFG" dataDir)}"
[ "$datadir" = / ] || datadir="${datadir%/}"
logdir="${ZKCORE_DATALOGDIR:-$(value_in "$ZOOCFG" dataLogDir)}"

# The properties go first, so that nothing in them can take an option's place.
command=("$server")
while IFS= read -r word; do
  command+=("$word")
# shellcheck disable=SC2086 # these are lists of words
done < <(properties_of ${SERVER_JVMFLAGS:-} ${JVMFLAGS:-})
if [ -n "${ZOO_DATADIR_AUTOCREATE_DISABLE:-}" ]; then
  command+=("-Dzookeeper.datadir.autocreate=false")
fi
command+=("--config=$ZOOCFG")

check_dirs() {
  if [ -n "${ZOO_DATADIR_AUTOCREATE_DISABLE:-}" ]; then
    if [ ! -d "$datadir/version-2" ]; then
      echo "ZooKeeper data directory is missing at $datadir fix the path or run initialize" >&2
      exit 1
    fi
    if [ -n "$logdir" ] && [ ! -d "$logdir/version-2" ]; then
      echo "ZooKeeper txnlog directory is missing at $logdir fix the path or run initialize" >&2
      exit 1
    fi
  fi
}

need_datadir() {
  if [ -z "$datadir" ] && [ -z "${ZOOPIDFILE:-}" ]; then
    if [ ! -e "$ZOOCFG" ]; then
      echo "$ZOOCFG file is missing" >&2
      exit 1
    fi
    echo "no dataDir in $ZOOCFG" >&2
    exit 1
  fi
  pidfile="${ZOOPIDFILE:-$datadir/zookeeper_server.pid}"
}

# A pid may have been given to somebody else since: only a zkcore counts, and
# not one that ended and that nobody has waited for, as in many containers.
alive() {
  kill -0 "$1" 2>/dev/null || return 1
  [ -r "/proc/$1/status" ] || return 0
  local name state
  name="$(sed -n 's/^Name:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)"
  state="$(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)"
  case "$state" in Z* | X*) return 1 ;; esac
  [ "$name" = "$(basename "$server" | cut -c1-15)" ]
}

start_server() {
  need_datadir
  check_dirs
  echo -n "Starting zookeeper ... "
  if [ -f "$pidfile" ] && alive "$(cat "$pidfile")"; then
    echo " already running as process $(cat "$pidfile")."
    return 1
  fi
  mkdir -p "$ZOO_LOG_DIR" "$(dirname "$pidfile")" || { echo FAILED TO START; return 1; }
  local out="$ZOO_LOG_DIR/zookeeper-${USER:-$(id -un)}-server-$(hostname 2>/dev/null || uname -n).out"
  # Why the one before ended is what is asked for next.
  # A copy, as another server of this host may be writing to the same file.
  [ ! -s "$out" ] || cp -f "$out" "$out.1" 2>/dev/null
  if ! : >"$out"; then
    echo FAILED TO START
    return 1
  fi
  nohup "${command[@]}" >>"$out" 2>&1 </dev/null &
  local pid=$!
  if ! echo "$pid" >"$pidfile"; then
    kill "$pid" 2>/dev/null
    echo FAILED TO WRITE PID
    return 1
  fi
  # What keeps it from starting shows before it serves: on a busy machine that takes a
  # while. One that has much to load is not waited for longer than this.
  local n
  for n in $(seq 100); do
    if ! kill -0 "$pid" 2>/dev/null || grep -q ' - client port open ' "$out"; then break; fi
    sleep 0.1
  done
  sleep 0.3
  if ! kill -0 "$pid" 2>/dev/null; then
    rm -f "$pidfile"
    echo SERVER DID NOT START
    tail -n 3 "$out" >&2
    return 1
  fi
  echo STARTED
}

stop_server() {
  need_datadir
  echo -n "Stopping zookeeper ... "
  if [ ! -f "$pidfile" ]; then
    echo "no zookeeper to stop (could not find file $pidfile)"
    return 0
  fi
  local pid
  pid="$(cat "$pidfile")"
  if alive "$pid"; then
    kill "$pid"
    # It closes its files first. Until it is gone nobody else can have its data.
    local n
    for n in $(seq 300); do
      alive "$pid" || break
      sleep 0.1
    done
    if alive "$pid"; then
      echo "process $pid has not ended after 30 s"
      return 1
    fi
  fi
  rm -f "$pidfile"
  echo STOPPED
}

# Finds the client port the way the server does: zoo.cfg, then this server's
# line there, then the dynamic file.
find_port() {
  address="${ZKCORE_CLIENTPORTADDRESS:-$(value_in "$ZOOCFG" clientPortAddress)}"
  port="${ZKCORE_CLIENTPORT:-$(value_in "$ZOOCFG" clientPort)}"
  [ -z "$port" ] || return 0
  local file="$ZOOCFG" id
  if ! grep -q '^[[:space:]]*server\.' "$ZOOCFG" 2>/dev/null; then
    echo "Client port not found in static config file. Looking in dynamic config file." >&2
    file="$(value_in "$ZOOCFG" dynamicConfigFile)"
  fi
  id="$(cat "$datadir/myid" 2>/dev/null)"
  case "$id" in
    '' | *[!0-9]*)
      echo "myid could not be determined, will not able to locate clientPort in the server configs." >&2
      return 1
      ;;
  esac
  local line
  line="$(value_in "$file" "server.$id")"
  case "$line" in
    *';'*) line="${line##*;}" ;;
    *)
      echo "Client port not found in the server configs" >&2
      return 1
      ;;
  esac
  port="${line##*:}"
  case "$line" in
    *:*) address="${line%:*}" ;;
  esac
}

status_server() {
  if ! find_port; then
    echo "Client port not found. Looking for secureClientPort in the static config." >&2
    echo "Unable to find either secure or unsecure client port in any configs. Terminating." >&2
    return 1
  fi
  address="${address#[}"
  address="${address%]}"
  case "$address" in
    '' | 0.0.0.0 | ::) address=localhost ;;
  esac
  echo "Client port found: $port. Client address: $address. Client SSL: false."
  local mode
  mode="$("$server" 4lw "$address" "$port" srvr 2>/dev/null | grep Mode)"
  if [ -z "$mode" ]; then
    echo "Error contacting service. It is probably not running."
    return 1
  fi
  echo "$mode"
}

case "$action" in
  start)
    start_server
    exit
    ;;
  start-foreground)
    check_dirs
    if [ -n "${ZOO_NOEXEC:-}" ]; then
      "${command[@]}"
    else
      exec "${command[@]}"
    fi
    ;;
  print-cmd)
    printf '%q ' "${command[@]}"
    echo
    ;;
  stop)
    stop_server
    exit
    ;;
  restart)
    stop_server && start_server
    exit
    ;;
  status)
    status_server
    exit
    ;;
  *)
    usage
    ;;
esac
