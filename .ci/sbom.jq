# An SPDX document of an archive: the files in it, and the Go modules that each program has in it.
def id: "SPDXRef-" + gsub("[^A-Za-z0-9.-]"; "-");
def unknown: {licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION", downloadLocation: "NOASSERTION"};
def modules: select(.info) | [(.info.Deps // [])[] | .Replace // .] + [{Path: "stdlib", Version: (.info.GoVersion | sub("^go"; ""))}] | .[] | . + {id: ("Go-" + .Path + "-" + .Version | id)};

. as $files | "SPDXRef-Archive" as $top | {
	spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", name: $archive,
	documentNamespace: "https://\($source)/releases/\($version)/\($archive)#\($sha256)",
	creationInfo: {created: $created, creators: ["Tool: build_linux.sh-\($version)"]},
	packages: ([unknown + {
		SPDXID: $top, name: $source, versionInfo: $version, packageFileName: $archive, primaryPackagePurpose: "ARCHIVE",
		licenseConcluded: "Apache-2.0", licenseDeclared: "Apache-2.0", filesAnalyzed: true, licenseInfoFromFiles: ["NOASSERTION"],
		packageVerificationCode: {packageVerificationCodeValue: $code},
		checksums: [{algorithm: "SHA256", checksumValue: $sha256}, {algorithm: "SHA512", checksumValue: $sha512}],
		externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: "pkg:golang/\($source)@\($version)"}]
	}] + ([$files[] | modules] | unique_by(.id) | map(unknown + {
		SPDXID: .id, name: .Path, versionInfo: .Version, filesAnalyzed: false, primaryPackagePurpose: "LIBRARY",
		externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: "pkg:golang/\(.Path)@\(.Version)"}]
	}))),
	files: [$files[] | {
		SPDXID: ("File-" + .name | id), fileName: "./\(.name)", fileTypes: [if .info then "BINARY" else "TEXT" end],
		checksums: [{algorithm: "SHA1", checksumValue: .sha1}, {algorithm: "SHA256", checksumValue: .sha256}],
		licenseConcluded: "NOASSERTION", licenseInfoInFiles: ["NOASSERTION"], copyrightText: "NOASSERTION"
	}],
	relationships: ([{spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: $top}]
		+ [$files[] | ("File-" + .name | id) as $file | {spdxElementId: $top, relationshipType: "CONTAINS", relatedSpdxElement: $file},
			(modules | {spdxElementId: $file, relationshipType: "STATIC_LINK", relatedSpdxElement: .id})])
}
