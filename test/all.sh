#!/bin/sh
# Every test, and a skip is a failure: installs what the tests need of Debian (as root), then runs them.
set -eu

# program to look for: Debian package that has it
needed='redis-server:redis-server redis-cli:redis-tools strace:strace python3:python3 unshare:util-linux mount:mount openssl:openssl
  containerd:containerd runc:runc buildah:buildah busybox:busybox-static nft:nftables ip:iproute2 /usr/lib/cni/bridge:containernetworking-plugins'
packages=''
for pair in $needed; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || packages="$packages ${pair#*:}"
done
python3 -m pip --version >/dev/null 2>&1 || packages="$packages python3-pip"
if [ -n "$packages" ]; then
  echo "installing$packages"
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

export WALSTORAGE_TEST_ALL=1
exec npm test
