#!/usr/bin/env bash
# The shell: zkCli.sh [-server host:port[,host:port…][/chroot]] [command arguments]

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

shell="$(find_program zkcli)" || exit 1
exec "$shell" "$@"
