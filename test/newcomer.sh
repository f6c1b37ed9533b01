#!/bin/sh
# What a newcomer does, each from a fresh clone with an empty HOME: `npm ci && npm start`, and `npm ci && npm test`.
# Needs Node 20 or newer, npm, Go and their registries. `test/newcomer.sh start` or `test` does one of the two.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fresh() {
  git clone --quiet . "$work/$1"
  mkdir "$work/$1-home"
  cd "$work/$1"
  export HOME="$work/$1-home"
  # Nothing of this checkout or of the npm that runs us.
  unset NODE_OPTIONS KUBECONFIG KUBEBUILDER_ASSETS WALSTORAGE_TEST_ALL
  for name in $(env | sed -n 's/^\(npm_[a-z_]*\)=.*/\1/p'); do unset "$name"; done
  npm ci
}

try_start() {
  fresh start
  WALSTORAGE_HTTP=127.0.0.1:0 npm start >start.out 2>&1 &
  npm=$!
  for _ in $(seq 100); do
    grep -q 'Ctrl-C ends it' start.out && break
    sleep 0.1
  done
  cat start.out
  grep -q 'Ctrl-C ends it' start.out
  npm run --silent walstorage -- append orders 'first entry' --socket data/wal.sock
  npm run --silent walstorage -- read orders --socket data/wal.sock | grep 'first entry'
  kill "$npm"
  wait "$npm"
}

try_test() {
  fresh test
  npm test
}

case "${1:-both}" in
  start) try_start ;;
  test) try_test ;;
  both)
    (try_start)
    (try_test)
    ;;
  *)
    echo "usage: test/newcomer.sh [start|test]" >&2
    exit 2
    ;;
esac
