#!/usr/bin/env bash
# demo.sh [-plugins DIR] [-conf FILE] [-v] builds the toolkit and shows it at work in namespaces of its own. Needs root and Go;
# what else is missing it installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
need_root
need_go
need ip nft

# With plugins from elsewhere there is nothing to build.
case " $* " in
*" -plugins "* | *" -plugins="* | *" --plugins "* | *" --plugins="*) ;;
*) ./build_linux.sh ;;
esac
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -buildvcs=false -o "$scratch/demo" ./integration/demo
"$scratch/demo" "$@"
