// Answer tells everybody who asks it by which address they are seen, for containers whose image holds nothing else.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/catena-cni/catena/integration/node"
)

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

func answer() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: answer PORT")
	}
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	_, err = node.Listen(port)
	return err
}
