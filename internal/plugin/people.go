package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
)

const help = `%[1]s is a CNI plugin of catena, version %[2]s. Container runtimes run it without arguments.

  %[1]s plan   < configuration    the facts that ADD would make true; nothing is touched
  %[1]s result < configuration    the result that ADD would print; nothing is touched
  %[1]s schema                    the configuration's keys, as a JSON Schema
  %[1]s version

plan and result take CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS and CNI_PATH from the environment as ADD does;
where they are missing they stand in for a container "example" with an interface "eth0" and the plugin's own folder.
`

// people serves who runs a plugin by hand, and says by the exit code how it went.
func people(p Program, args []string) int {
	err := serveHand(p, args[0])
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", p.title(), err)
	if e := cni.AsError(err); e.Details != "" {
		fmt.Fprintf(os.Stderr, "%s\n", e.Details)
	}
	return 1
}

// about is what upstream's plugins say of themselves, by which installers and
// schedulers find out a plugin's version.
func about(p Program) string {
	return fmt.Sprintf("CNI %s plugin %s\n%s\n", p.title(), Version, cni.About())
}

func serveHand(p Program, word string) error {
	switch word {
	case "help", "-h", "--help":
		fmt.Printf(help, p.title(), Version)
		return nil
	case "version", "--version":
		fmt.Print(about(p))
		return nil
	case "schema":
		schema, err := conf.Schema("CNI plugin "+p.title(), append(p.shapes(), new(cni.Conf))...)
		fmt.Printf("%s\n", schema)
		return err
	case "plan", "result":
		r, err := requestByHand(p)
		if err != nil {
			return err
		}
		if word == "plan" {
			return p.plan(r, os.Stdout)
		}
		return printPreview(p, r)
	}
	return fmt.Errorf("%q is no argument: run '%s help'", word, p.title())
}

// requestByHand is what ADD would read, with stand-ins for what a person leaves
// out.
func requestByHand(p Program) (*cni.Request, error) {
	standIn := map[string]string{
		"CNI_COMMAND": cni.Add, "CNI_CONTAINERID": "example", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/example",
	}
	if self, err := os.Executable(); err == nil {
		standIn["CNI_PATH"] = filepath.Dir(self)
	}
	getenv := func(key string) string {
		if v := os.Getenv(key); v != "" && key != "CNI_COMMAND" {
			return v
		}
		return standIn[key]
	}
	// A plugin that this one delegates to shall see the same.
	for key := range standIn {
		if key != "CNI_COMMAND" {
			_ = os.Setenv(key, getenv(key))
		}
	}
	r, err := cni.Read(getenv, os.Stdin)
	if err != nil {
		return nil, err
	}
	if err := checkName(p, r); err != nil {
		return nil, err
	}
	unknown, err := r.Lint(p.shapes()...)
	if len(unknown) > 0 {
		fmt.Fprintf(os.Stderr, "%v\n", errors.Join(unknown...))
	}
	return r, err
}

func printPreview(p Program, r *cni.Request) error {
	result, err := p.preview(r)
	if err != nil {
		return err
	}
	out, err := cni.Print(result, r.Conf.CNIVersion)
	fmt.Printf("%s\n", out)
	return err
}
