#!/usr/bin/env bash
# priv-net-run.sh COMMAND [ARGUMENT...] runs a command in a network namespace of its own, attached to every network of
# NETCONFPATH by the plugins of CNI_PATH (see exec-plugins.sh --help), and takes everything away again.
# Its exit code is the command's, or 1 if the networks could not be made or removed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (($# == 0)); then
	echo "usage: priv-net-run.sh COMMAND [ARGUMENT...]" >&2
	exit 2
fi

id=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
netns=/run/netns/$id

cleanup() {
	local status=$?
	trap - EXIT
	"$here/exec-plugins.sh" del "$id" "$netns" || status=$((status ? status : 1))
	ip netns delete "$id" || status=$((status ? status : 1))
	exit "$status"
}

ip netns add "$id"
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
"$here/exec-plugins.sh" add "$id" "$netns"

ip netns exec "$id" "$@"
