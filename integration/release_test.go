package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const archive = "cni-plugins-linux-amd64-v1.2.3.tgz"

// releasable is a scratch suite that a version can be made of, with a module from elsewhere in one of its plugins.
func releasable(t *testing.T) string {
	t.Helper()
	suite := scratchSuite(t)
	for _, name := range []string{".ci/release.sh", ".ci/sbom.jq", "LICENSE", "README.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(suite, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(suite, name), text, 0o644))
	}
	for name, text := range map[string]string{
		".gitignore":                "/bin/\n/release/\n",
		"go.mod":                    "module example.org/suite\n\ngo 1.21\n\nrequire example.org/other v1.5.0\n\nreplace example.org/other => ./other\n",
		"other/go.mod":              "module example.org/other\n\ngo 1.21\n",
		"other/other.go":            "package other\n",
		"plugins/ipam/beta/uses.go": "package main\n\nimport _ \"example.org/other\"\n",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(suite, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(suite, name), []byte(text), 0o644))
	}
	run(t, suite, "sh", "-c", "export GIT_AUTHOR_DATE=@1700000000+0000 GIT_COMMITTER_DATE=@1700000000+0000; git add -A && git -c user.name=t -c user.email=t@example.org commit -qm y && git tag -f v1.2.3")
	return suite
}

// TestRelease makes a version twice, of two clones in folders of different lengths, as users with different habits, in
// different parts of the world: the bytes are the same, and installers of upstream's releases find what they expect.
func TestRelease(t *testing.T) {
	t.Parallel()
	suite := releasable(t)
	one, other := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "somewhere", "else")
	must(t, os.MkdirAll(filepath.Dir(other), 0o755))
	run(t, suite, "git", "clone", "-q", suite, one)
	run(t, suite, "sh", "-c", "umask 077; git clone -q . "+other+"; find "+other+" -name '*.go' -exec touch -d 2001-01-01 {} +; chown -R 65534:65534 "+other)
	run(t, one, "env", "ARCHES=amd64 arm", "./build_linux.sh", "--release", "v1.2.3")
	run(t, other, "sh", "-c", "umask 077; TZ=Asia/Tokyo LC_ALL=C.UTF-8 GOFLAGS=-buildvcs=false GOAMD64=v3 GOARM=5 ARCHES='arm amd64' ./build_linux.sh --release=v1.2.3")
	one, other = filepath.Join(one, "release/v1.2.3"), filepath.Join(other, "release/v1.2.3")
	run(t, one, "diff", "-r", one, other)
	const list = `find . -printf '%p %m %T@ %y\n' | LC_ALL=C sort`
	if a, b := run(t, one, "sh", "-c", list), run(t, other, "sh", "-c", list); a != b {
		t.Errorf("the folders differ:\n%s\n%s", a, b)
	}

	if got := strings.NewReplacer(archive, "A", "cni-plugins-linux-arm-v1.2.3.tgz", "B").Replace(names(t, one)); got != "A A.sha256 A.sha512 A.spdx.json B B.sha256 B.sha512 B.spdx.json image" {
		t.Errorf("there are %s", got)
	}
	run(t, one, "sh", "-c", "sha256sum --strict -c *.sha256 && sha512sum --strict -c *.sha512")
	const want = `drwxr-xr-x 0/0 2023-11-14 22:13 ./
-rw-r--r-- 0/0 2023-11-14 22:13 ./LICENSE
-rw-r--r-- 0/0 2023-11-14 22:13 ./README.md
-rwxr-xr-x 0/0 2023-11-14 22:13 ./alpha
-rwxr-xr-x 0/0 2023-11-14 22:13 ./beta
`
	if got := run(t, one, "sh", "-c", "TZ=UTC tar --numeric-owner -tvzf "+archive+" | sed -E 's/ +[0-9]+ 2/ 2/'"); got != want {
		t.Errorf("in the archive are\n%s", got)
	}
	// As every installer does.
	bin := filepath.Join(t.TempDir(), "opt/cni/bin")
	must(t, os.MkdirAll(bin, 0o755))
	run(t, one, "tar", "-C", bin, "-xzf", archive)
	if out := run(t, bin, "./alpha"); out != "v1.2.3 nothing\n" {
		t.Errorf("the plugin says %q", out)
	}
	if got := run(t, one, "sh", "-c", "cd image && find . -type f | LC_ALL=C sort | xargs"); got !=
		"./Containerfile ./linux-amd64/LICENSE ./linux-amd64/install ./linux-amd64/opt/cni/bin/alpha ./linux-amd64/opt/cni/bin/beta ./linux-arm/LICENSE ./linux-arm/install ./linux-arm/opt/cni/bin/alpha ./linux-arm/opt/cni/bin/beta\n" {
		t.Errorf("of the image there are %s", got)
	}
	store := t.TempDir()
	podman := []string{"--root", store + "/root", "--runroot", store + "/run", "--tmpdir", store + "/tmp", "--storage-driver", "vfs"}
	run(t, one, "podman", append(podman, "build", "-q", "--platform", "linux/amd64", "-t", "localhost/catena", "image")...)
	mounted := strings.TrimSpace(run(t, one, "podman", append(podman, "image", "mount", "localhost/catena")...))
	run(t, one, "diff", "-r", "image/linux-amd64", mounted)
	run(t, one, "podman", append(podman, "image", "unmount", "localhost/catena")...)
	madeOf(t, filepath.Join(one, archive+".spdx.json"), bin)
}

// madeOf holds a document of what an archive is made against what is in it.
func madeOf(t *testing.T, document, bin string) {
	t.Helper()
	type thing struct {
		SPDXID, Name, FileName, VersionInfo string
		Checksums                           []struct{ Algorithm, ChecksumValue string }
	}
	var doc struct {
		SPDXVersion, DocumentNamespace string
		CreationInfo                   struct{ Created string }
		Packages, Files                []thing
		Relationships                  []struct{ SPDXElementID, RelationshipType, RelatedSPDXElement string }
	}
	text, err := os.ReadFile(document)
	must(t, err)
	must(t, json.Unmarshal(text, &doc))
	if doc.SPDXVersion != "SPDX-2.3" || doc.CreationInfo.Created != "2023-11-14T22:13:20Z" {
		t.Errorf("the document is %q of %q", doc.SPDXVersion, doc.CreationInfo.Created)
	}
	is := map[string]string{"SPDXRef-DOCUMENT": "document"}
	for _, one := range append(doc.Packages, doc.Files...) {
		if is[one.SPDXID] != "" {
			t.Errorf("two things are %s", one.SPDXID)
		}
		is[one.SPDXID] = one.Name + one.FileName
	}
	said := map[string]bool{}
	for _, r := range doc.Relationships {
		if is[r.SPDXElementID] == "" || is[r.RelatedSPDXElement] == "" {
			t.Errorf("there is nothing like %v", r)
		}
		said[is[r.SPDXElementID]+" "+r.RelationshipType+" "+is[r.RelatedSPDXElement]] = true
	}
	for _, want := range []string{"document DESCRIBES example.org/suite", "example.org/suite CONTAINS ./LICENSE", "example.org/suite CONTAINS ./alpha",
		"./alpha STATIC_LINK stdlib", "./beta STATIC_LINK stdlib", "./beta STATIC_LINK ./other"} {
		if !said[want] {
			t.Errorf("it does not say %s but %v", want, said)
		}
	}
	if said["./alpha STATIC_LINK ./other"] || len(doc.Files) != 4 {
		t.Errorf("it says %v", said)
	}
	for _, file := range doc.Files {
		for _, sum := range file.Checksums {
			if out := run(t, bin, strings.ToLower(sum.Algorithm)+"sum", file.FileName); !strings.HasPrefix(out, sum.ChecksumValue+" ") {
				t.Errorf("%s is %s, not %v", file.FileName, out, sum)
			}
		}
	}
}

// TestReleaseOfACommit: what is in no commit, and what is no version to installers, is not released.
func TestReleaseOfACommit(t *testing.T) {
	t.Parallel()
	suite := releasable(t)
	if out := run(t, suite, "env", "-u", "ARCHES", "bash", "-c", ". .ci/release.sh; echo $ARCHES"); out != "amd64 arm64 arm ppc64le s390x riscv64 mips64le\n" {
		t.Errorf("the architectures are %s", out)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, err := exec.Command(filepath.Join(suite, "build_linux.sh"), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		if _, err := os.Stat(filepath.Join(suite, "release")); err == nil {
			t.Errorf("%q left something", args)
		}
	}
	for _, version := range []string{"1.2.3", "v1.2", "v1.2.3/..", "latest"} {
		refused("a version like v1.2.3", "--release", version)
	}
	refused("wants a version", "--release")
	refused("installs nothing", "--release", "v1.2.3", "--install")
	must(t, os.WriteFile(filepath.Join(suite, "plugins/main/alpha/new.go"), []byte("package main\n"), 0o644))
	refused("plugins/main/alpha/new.go", "--release", "v1.2.3")
	must(t, os.RemoveAll(filepath.Join(suite, ".git")))
	refused("wants a clone", "--release", "v1.2.3")
}
