#!/usr/bin/env bash
# docker-run.sh ARGUMENT... is "docker run ARGUMENT..." in the network that the plugins of CNI_PATH make from the files of
# NETCONFPATH (see exec-plugins.sh --help) instead of docker's own.
# Its exit code is that of "docker run", or 1 if the networks could not be made or removed.
#
#   DOCKER       the engine's command (default docker; podman takes the same arguments)
#   PAUSE_IMAGE  an image with "sleep" that holds the namespace meanwhile (default busybox:latest)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
docker=${DOCKER:-docker}

if (($# == 0)); then
	echo "usage: docker-run.sh DOCKER-RUN-ARGUMENT..." >&2
	exit 2
fi

id=$("$docker" run -d --net=none "${PAUSE_IMAGE:-busybox:latest}" sleep 1000000)
netns=

cleanup() {
	local status=$?
	trap - EXIT
	if [[ -n $netns ]]; then
		"$here/exec-plugins.sh" del "$id" "$netns" || status=$((status ? status : 1))
	fi
	"$docker" rm -f "$id" >/dev/null || status=$((status ? status : 1))
	exit "$status"
}

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

pid=$("$docker" inspect -f '{{.State.Pid}}' "$id")
if [[ ! $pid =~ ^[1-9][0-9]*$ ]]; then
	echo "docker-run.sh: container $id does not run: its process is \"$pid\"" >&2
	exit 1
fi
netns=/proc/$pid/ns/net
"$here/exec-plugins.sh" add "$id" "$netns"

"$docker" run --net="container:$id" "$@"
