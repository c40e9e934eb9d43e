# What the scripts of this folder have in common; to be sourced.

# A shell of su's or cron's lacks these.
PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

need_root() {
	((EUID == 0)) || die "network namespaces need root: sudo $0"
}

# Go asks git for the revision; git refuses in the folder of another user unless it is told. sudo drops the folder that Go's own
# installer uses.
need_go() {
	export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "go is neither in PATH nor in /usr/local/go/bin: see https://go.dev/doc/install"
}

# The Debian package of every tool that a script here or a test executes.
declare -A package=(
	[nft]=nftables [ip]=iproute2 [iptables]=iptables [strace]=strace [jq]=jq [conntrack]=conntrack [nc]=netcat-openbsd
	[curl]=curl [ping]=iputils-ping [ethtool]=ethtool [iperf3]=iperf3 [git]=git [dnsmasq]=dnsmasq-base
	[kea-dhcp4]=kea-dhcp4-server [kea-dhcp6]=kea-dhcp6-server [firewalld]=firewalld [dbus-send]=dbus [sysctl]=procps
	[modprobe]=kmod [debootstrap]=debootstrap [podman]=podman [crun]=crun [containerd]=containerd [runc]=runc
	[/usr/lib/cni/bridge]=containernetworking-plugins
)

# missing TOOL... gives the packages of those that are not there.
missing() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || echo "${package[$tool]}"
	done
	# By these go trusts those that it fetches modules from.
	[[ -e /etc/ssl/certs/ca-certificates.crt ]] || ! command -v apt-get >/dev/null || echo ca-certificates
}

# need TOOL... installs what is missing of the tools.
need() {
	local missing
	mapfile -t missing < <(missing "$@")
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null || die "these are missing, by the names of their Debian packages: ${missing[*]}"
	echo "installing ${missing[*]}"
	apt-get update -qq
	without_services "${missing[@]}"
}

# without_services PACKAGE... installs, and starts nothing now, nor a server at the next boot: the tests have servers of their own,
# and as services firewalld would close the machine's ports, and kea answer its network.
without_services() (
	policy=/usr/sbin/policy-rc.d service=
	if [[ ! -e $policy ]]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" || exit
	for service in containerd firewalld kea-dhcp4-server kea-dhcp6-server; do
		[[ " $* " != *" $service "* ]] || ! command -v systemctl >/dev/null || systemctl disable --quiet "$service"
	done
)

# stage NAME COMMAND... runs the command and remembers how long it took. It fails as the command does.
stage() {
	local name=$1 began=$SECONDS status=0
	shift
	echo "== $name"
	"$@" || status=$?
	took "$name" $((SECONDS - began))
	return "$status"
}

# took NAME SECONDS remembers how long a stage took, and says so.
took() {
	stages+=("$(printf '%-44s %3d min %02d s' "$1" $(($2 / 60)) $(($2 % 60)))")
	echo "== $1: $2 s"
}
stages=()
