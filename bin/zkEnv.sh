#!/usr/bin/env bash
# Sourced by the scripts beside it: where things are. The variables are those
# that ZooKeeper's operators set: ZOOCFGDIR, ZOOCFG, ZOO_LOG_DIR, ZOOPIDFILE,
# JVMFLAGS, SERVER_JVMFLAGS, CLIENT_JVMFLAGS.

ZOOBINDIR="${ZOOBINDIR:-/usr/local/zookeeper/bin}"
ZOOKEEPER_PREFIX="$(cd "$ZOOBINDIR/.." && pwd)"

if [ "${1:-}" = "--config" ]; then
  [ $# -ge 2 ] || { echo "--config needs a directory" >&2; exit 2; }
  ZOOCFGDIR="$2"
  shift 2
fi
if [ -z "${ZOOCFGDIR:-}" ]; then
  if [ -d "$ZOOKEEPER_PREFIX/conf" ]; then
    ZOOCFGDIR="$ZOOKEEPER_PREFIX/conf"
  else
    ZOOCFGDIR="$ZOOKEEPER_PREFIX/etc/zookeeper"
  fi
fi
if [ -f "$ZOOCFGDIR/zookeeper-env.sh" ]; then
  . "$ZOOCFGDIR/zookeeper-env.sh"
fi
ZOOCFG="${ZOOCFG:-zoo.cfg}"
case "$ZOOCFG" in
  */*) ;;
  *) ZOOCFG="$ZOOCFGDIR/$ZOOCFG" ;;
esac
if [ -f "$ZOOCFGDIR/java.env" ]; then
  . "$ZOOCFGDIR/java.env"
fi
ZOO_LOG_DIR="${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}"

# A release has its programs in bin/, a checkout in build/.
find_program() {
  local p
  for p in "$ZOOBINDIR/$1" "$ZOOKEEPER_PREFIX/build/$1"; do
    if [ -x "$p" ]; then
      echo "$p"
      return 0
    fi
  done
  echo "$1 is neither in $ZOOBINDIR nor in $ZOOKEEPER_PREFIX/build (make build puts it there)" >&2
  return 1
}

# The -D words of JVMFLAGS and its like; what only a JVM understands is left out.
properties_of() {
  local word
  for word in "$@"; do
    case "$word" in
      -D*=*) printf '%s\n' "$word" ;;
    esac
  done
}

# The value of a key in a configuration file, the last one if there are several.
value_in() {
  sed -n "s/^[[:space:]]*$(printf '%s' "$2" | sed 's/\./\\./g')\([[:space:]]*[=:]\|[[:space:]]\)[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*\$/\2/p" "$1" 2>/dev/null | tail -n 1
}
