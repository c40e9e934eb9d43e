#!/usr/bin/env bash
# Builds every plugin under plugins/ into bin/, and puts them where a container runtime looks for them if asked to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
	cat <<'TEXT'
usage: build_linux.sh [--install [DIR] | --release VERSION] [GO BUILD ARGUMENTS...]

Builds every plugin (each folder of plugins/*/* with a main package, but for plugins/tool) into bin/: static, stripped,
reproducible, and stamped with the version that git describes.

  --install [DIR]   then put each plugin into DIR (default /opt/cni/bin), each one atomically, so that this is safe
                    while a container runtime is using the folder. Other files in DIR are left alone. Says in which
                    folders containerd, podman and CRI-O of this host look, and warns where they do not get to DIR, or
                    find plugins of the same names in another folder before.
  --release VERSION make what is published of a version such as v1.2.3 instead, in release/VERSION/, of a commit, the same to
                    the byte wherever and whenever: for each architecture (or those that ARCHES names) an archive as
                    upstream's, its checksums and what it is made of (SPDX), and image/, of which podman build makes
                    an image that installs the plugins on a node (plugins/tool/install)
  --help            print this text

Everything else goes to "go build": for instance -tags x, or -ldflags "-X main.a=b", which is added to our own.
GOOS, GOARCH, GOARM and the like are honoured: GOARCH=arm64 ./build_linux.sh
With DESTDIR in the environment, that folder is the root of the host: DIR and the runtimes' files are below it.
TEXT
}

die() {
	echo "build_linux.sh: $*" >&2
	exit 1
}

install_dir=
release=
ldflags=
args=()
while (($#)); do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--install)
		install_dir=/opt/cni/bin
		if (($# > 1)) && [[ -n $2 && $2 != -* ]]; then
			install_dir=$2
			shift
		fi
		;;
	--install=*)
		install_dir=${1#*=}
		[[ -n $install_dir ]] || die "--install= names no folder"
		;;
	--release)
		(($# > 1)) || die "$1 wants a version"
		release=$2
		shift
		;;
	--release=*)
		release=${1#*=}
		[[ -n $release ]] || die "--release= names no version"
		;;
	-ldflags | --ldflags)
		(($# > 1)) || die "$1 wants a value"
		ldflags+=" $2"
		shift
		;;
	-ldflags=* | --ldflags=*)
		ldflags+=" ${1#*=}"
		;;
	*)
		args+=("$1")
		;;
	esac
	shift
done

# sudo and bare service environments drop the folder that Go's own installer uses.
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || die "go is neither in PATH nor in /usr/local/go/bin: see https://go.dev/doc/install"

export GOOS=${GOOS:-linux} CGO_ENABLED=${CGO_ENABLED:-0}

# The tree may belong to another user than the one who builds (sudo, a container), which git refuses to read unless told.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
version=$(git describe --tags --always --dirty 2>/dev/null) || version=unknown
module=$(go list -m)

packages=()
names=()
while read -r kind package; do
	[[ $kind == main ]] || continue
	packages+=("$package")
	names+=("${package##*/}")
done < <(go list -f '{{.Name}} {{.ImportPath}}' './plugins/...' | awk -v m="$module" '{ p = $2; sub("^" m "/", "", p) } split(p, a, "/") == 3 && a[2] != "tool"')
((${#packages[@]})) || die "plugins/ holds no main package"

# Two packages of one name would silently overwrite each other in bin/.
mapfile -t names < <(printf '%s\n' "${names[@]}" | sort)
twice=$(printf '%s\n' "${names[@]}" | uniq -d)
[[ -z $twice ]] || die "two packages are both named ${twice//$'\n'/, }"

# build OUT PACKAGE... builds. Go records git's revision: by it bridge and the like know the programs of their own build. What
# GOFLAGS says of that does not count.
build() {
	go build -trimpath -buildvcs=auto -o "$1" "${args[@]}" -ldflags "-s -w -X $module/internal/plugin.Version=$version$ldflags" "${@:2}"
}

if [[ $release ]]; then
	[[ -z $install_dir ]] || die "--release installs nothing"
	version=$release
	. .ci/release.sh
	release
	exit
fi

mkdir -p bin
build bin/ "${packages[@]}"

sizes=()
for name in "${names[@]}"; do
	file=bin/$name
	[[ $GOOS == windows ]] && file+=.exe
	sizes+=("$(stat -c %s "$file") $file")
done
printf '%s\n' "${sizes[@]}" | awk -v v="$version" -v t="$GOOS/$(go env GOARCH)" '
	{ printf "%-24s %6.2f MB\n", $2, $1 / 1e6; sum += $1 }
	END { printf "%-24s %6.2f MB  %d plugins, %s, version %s\n", "total", sum / 1e6, NR, t, v }'

[[ -n $install_dir ]] || exit 0

into=${DESTDIR:=}$install_dir
mkdir -p "$into"
temporary=
trap '[[ -z $temporary ]] || rm -f "$temporary"' EXIT
for name in "${names[@]}"; do
	# A runtime may start the plugin at any moment, also after a power cut: it is to find the old file or the whole new one.
	# The leading dot keeps the temporary name from being taken for a plugin.
	temporary=$(mktemp "$into/.$name.XXXXXX")
	cp "bin/$name" "$temporary"
	chmod 0755 "$temporary"
	sync "$temporary"
	mv -fT "$temporary" "$into/$name"
	temporary=
done
sync "$into"
echo "installed in $into: ${names[*]}"

# setting KEYS FILE... prints the last of these TOML files that sets one of the keys (a regexp), and the strings that it is
# set to, a line each. What is not there says nothing.
setting() {
	local keys=$1 file files=()
	shift
	for file; do
		[[ ! -f $file ]] || files+=("$file")
	done
	((${#files[@]})) || return 0
	awk -v keys="^[ \t]*($keys)[ \t]*=" '
		{ sub(/(^|[ \t])#.*/, "") }
		$0 ~ keys { sub(keys, ""); value = ""; from = FILENAME; open = 1 }
		open { value = value " " $0; open = value ~ /\[/ && value !~ /\]/ }
		END {
			if (from) print from
			while (match(value, /"[^"]*"|\047[^\047]*\047/)) {
				print substr(value, RSTART + 1, RLENGTH - 2)
				value = substr(value, RSTART + RLENGTH)
			}
		}' "${files[@]}"
}

# imports FILE adds a configuration of containerd's to files, and what it imports, which counts more.
imports() {
	local pattern file
	[[ " ${files[*]} " != *" $1 "* ]] || return 0
	files+=("$1")
	while read -r pattern; do
		[[ $pattern == /* ]] && pattern=$DESTDIR$pattern || pattern=${1%/*}/$pattern
		for file in $pattern; do
			[[ ! -f $file ]] || imports "$file"
		done
	done < <(setting imports "$1" | tail -n +2)
}

# looks RUNTIME PROGRAM KEYS WHERE DEFAULT FILE... says where a runtime that is on this host looks for plugins, and warns
# where those are not ours. One of its KEYS (a regexp) is set in the last of the FILES that does so, and can be set in WHERE.
looks() {
	local runtime=$1 program=$2 keys=$3 where=$4 folders set from="its default" folder name others= found known=
	read -ra folders <<<"$5"
	shift 5
	for folder in /usr/local/{s,}bin /usr/{s,}bin /{s,}bin; do
		[[ ! -x $DESTDIR$folder/$program ]] || known=1
	done
	mapfile -t set < <(setting "$keys" "$@")
	[[ $known || ${#set[@]} -gt 0 ]] || return 0
	if ((${#set[@]} > 1)); then
		from=${set[0]#"$DESTDIR"} where=${set[0]#"$DESTDIR"} folders=("${set[@]:1}")
	fi
	echo "$runtime looks for plugins in ${folders[*]} ($from)"
	for folder in "${folders[@]}"; do
		if [[ $DESTDIR$folder -ef $into ]]; then
			[[ -z $others ]] || warn "$runtime takes$others before ours: remove them, or name $install_dir first in ${keys//|/ or } of $where"
			return 0
		fi
		found=()
		for name in "${names[@]}"; do
			[[ ! -e $DESTDIR$folder/$name ]] || cmp -s "bin/$name" "$DESTDIR$folder/$name" || found+=("$name")
		done
		((${#found[@]} == 0)) || others+=" ${found[*]} of $folder"
	done
	warn "$runtime does not look in $install_dir: name it in ${keys//|/ or } of $where, or install in ${folders[0]}"
}

warn() {
	echo "build_linux.sh: warning: $*" >&2
}

files=()
[[ ! -f $DESTDIR/etc/containerd/config.toml ]] || imports "$DESTDIR/etc/containerd/config.toml"
looks containerd containerd "bin_dir|bin_dirs" /etc/containerd/config.toml "/opt/cni/bin" "${files[@]}"

files=("$DESTDIR"/{usr/share,etc}/containers/containers.conf "$DESTDIR"/etc/containers/containers.conf.d/*.conf)
if [[ $(setting network_backend "${files[@]}" | tail -n 1) != netavark ]]; then # which has no plugins
	looks podman podman cni_plugin_dirs /etc/containers/containers.conf \
		"/usr/local/libexec/cni /usr/libexec/cni /usr/local/lib/cni /usr/lib/cni /opt/cni/bin" "${files[@]}"
fi

looks CRI-O crio plugin_dirs /etc/crio/crio.conf "/opt/cni/bin /usr/libexec/cni" "$DESTDIR"/etc/crio/crio.conf "$DESTDIR"/etc/crio/crio.conf.d/*
