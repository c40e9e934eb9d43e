# What is published of a version, for build_linux.sh to source: it has $version, $module and $packages, and builds.

# The architectures that upstream publishes; ARCHES in the environment names others.
ARCHES=${ARCHES:-amd64 arm64 arm ppc64le s390x riscv64 mips64le}

# release makes release/$version/. The bytes hang on the commit, its tags, the version and the release of Go alone.
release() {
	local arch archive changed filter=$PWD/.ci/sbom.jq out=$PWD/release/$version tree tool
	[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || die "--release wants a version like v1.2.3, as installers do, and not $version"
	for tool in git jq sha256sum tar gzip; do
		command -v "$tool" >/dev/null || die "--release needs $tool"
	done
	changed=$(git status --porcelain) || die "--release wants a clone of the repository, whose commit it is made of"
	[[ -z $changed ]] || die "--release is of a commit, and this is in none:"$'\n'"$changed"
	umask 022
	export LC_ALL=C SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
	export GOOS=linux CGO_ENABLED=0 GOFLAGS=-trimpath GOEXPERIMENT='' GOAMD64=v1 GOARM64=v8.0 GOARM=7 GOPPC64=power8 GORISCV64=rva20u64 GOMIPS64=hardfloat
	rm -rf "$out"
	mkdir -p "$out/image"
	containerfile >"$out/image/Containerfile"
	for arch in $ARCHES; do
		archive=cni-plugins-linux-$arch-$version.tgz
		tree=$out/image/linux-$arch
		mkdir -p "$tree/opt/cni/bin"
		GOARCH=$arch build "$tree/opt/cni/bin/" "${packages[@]}"
		GOARCH=$arch build "$tree/install" ./plugins/tool/install
		# Upstream's archives have these beside the plugins; in the image they are not, as all that is there is installed.
		install -m 0644 LICENSE README.md "$tree/opt/cni/bin/"
		tar -C "$tree/opt/cni/bin" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" -cf - . |
			gzip -n -9 >"$out/$archive"
		(
			cd "$out"
			sha256sum "$archive" >"$archive.sha256"
			sha512sum "$archive" >"$archive.sha512"
			sbom "$archive" "$tree/opt/cni/bin" >"$archive.spdx.json"
		)
		mv "$tree/opt/cni/bin/LICENSE" "$tree/"
		rm "$tree/opt/cni/bin/README.md"
		echo "$out/$archive"
	done
	find "$out" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
}

# sbom ARCHIVE FOLDER says in SPDX 2.3 of what the files of an archive are made, as Go has written it into them.
sbom() {
	local file
	for file in "$2"/*; do
		{ [[ ! -x $file ]] || go version -m -json "$file"; } | jq -n --arg name "${file##*/}" \
			--arg sha1 "$(sha1sum <"$file" | cut -d' ' -f1)" --arg sha256 "$(sha256sum <"$file" | cut -d' ' -f1)" \
			'{$name, $sha1, $sha256, info: (try input catch null)}'
	done | jq -s --arg archive "$1" --arg version "$version" --arg source "$module" --arg created "$(date -ud "@$SOURCE_DATE_EPOCH" +%FT%TZ)" \
		--arg sha256 "$(cut -d' ' -f1 "$1.sha256")" --arg sha512 "$(cut -d' ' -f1 "$1.sha512")" \
		--arg code "$(sha1sum "$2"/* | cut -d' ' -f1 | sort | tr -d '\n' | sha1sum | cut -d' ' -f1)" -f "$filter"
}

# containerfile prints how the folders beside it become images: podman build --platform linux/arm64 FOLDER
containerfile() {
	cat <<TEXT
FROM scratch
ARG TARGETARCH
LABEL org.opencontainers.image.title="catena" org.opencontainers.image.version="$version" org.opencontainers.image.licenses="Apache-2.0" \\
	org.opencontainers.image.source="https://$module" org.opencontainers.image.revision="$(git rev-parse HEAD)"
COPY linux-\${TARGETARCH}/ /
ENTRYPOINT ["/install"]
TEXT
}
