# What the scripts of this folder have in common; to be sourced.

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

need_root() {
	((EUID == 0)) || die "network namespaces need root: sudo $0"
}

# sudo drops the folder that Go's own installer uses.
need_go() {
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "go is neither in PATH nor in /usr/local/go/bin: see https://go.dev/doc/install"
}
