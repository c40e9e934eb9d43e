#!/usr/bin/env bash
# Runs the demo where nothing is but Debian's minimal base and Go, so that it is known to install what it needs: minimal.sh
# [ARGUMENTS OF THE DEMO]. The base and the packages are fetched once, into ${XDG_CACHE_HOME:-~/.cache}/catena-minimal; from
# then on no network is needed, nor is there one. What is written goes with the mounts, and these with their namespace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/catena-minimal
base=$cache/base

# The environment of a login on a new machine.
login=(/usr/bin/env -i HOME=/root LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)

fetch() { # PACKAGE... into the base that is made
	local suite mirror
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# Without lists apt does not know what it could fetch from where.
	[[ -n $(apt-get indextargets 'Created-By: Packages') ]] || apt-get update -qq
	mirror=$(apt-get indextargets 'Created-By: Packages' --format '$(CODENAME) $(REPO_URI)' | sed -n "s/^$suite //p" | head -n 1)
	rm -rf "$base" "$base.new"
	debootstrap --variant=minbase "$suite" "$base.new" "$mirror" >"$cache/log" 2>&1 || {
		tail "$cache/log"
		die "no base of $suite from $mirror"
	}
	chroot "$base.new" "${login[@]}" apt-get update -qq
	chroot "$base.new" "${login[@]}" apt-get install -y -qq --no-install-recommends --download-only "$@" >>"$cache/log"
	echo "$*" >"$base.new/.fetched"
	mv "$base.new" "$base"
}

# over LOWER WHERE shows a folder elsewhere, in a layer that takes what is written.
over() {
	local layer=$scratch/${2//\//-}
	mkdir -p "$layer/up" "$layer/work" "$2"
	mount -t overlay -o "lowerdir=$1,upperdir=$layer/up,workdir=$layer/work" overlay "$2"
}

inside() { # in namespaces of its own
	local root go cached modules scratch=$cache/mnt
	mkdir -p "$scratch"
	mount -t tmpfs tmpfs "$scratch"
	root=$scratch/root go=$(go env GOROOT) cached=$(go env GOCACHE) modules=$(go env GOMODCACHE)
	over "$base" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount --rbind /dev "$root/dev"
	over "$go" "$root/usr/local/go"
	over "$modules" "$root/root/go/pkg/mod"
	over "$cached" "$root/root/.cache/go-build"
	over "$PWD" "$root/catena"
	# Who enters a mount namespace gets its root, so a chroot would not do.
	mkdir "$root/.old"
	cd "$root"
	pivot_root . .old
	umount -l /.old
	exec "${login[@]}" GOPROXY=off GOTOOLCHAIN=local /catena/integration/demo.sh "$@"
}

need_root
need_go
if [[ ${1:-} == inside ]]; then
	inside "${@:2}"
	exit
fi
need debootstrap
read -ra tools < <(sed -n 's/^need //p' integration/demo.sh)
packages=(ca-certificates)
for tool in "${tools[@]}"; do packages+=("${package[$tool]}"); done
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [[ $(cat "$base/.fetched" 2>/dev/null) != "${packages[*]}" ]]; then
	fetch "${packages[@]}"
fi
exec 9>&-
mkdir -p "$(go env GOCACHE)" "$(go env GOMODCACHE)"
go mod download
exec unshare --mount --propagation private --net --pid --fork --kill-child "$0" inside "$@"
