package node

import (
	"errors"
	"fmt"
	"os"
)

// Join lays a wire between two nodes. Both ends have the name given; they are operational, and have no addresses yet.
func (n *Node) Join(other *Node, link string) error {
	// The one node's mounts do not show the other's namespace. This process has it open.
	there := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), other.net.Fd())
	if err := n.batch("link add "+link+" type veth peer name "+link+" netns "+there, "link set "+link+" up"); err != nil {
		return err
	}
	if err := other.batch("link set " + link + " up"); err != nil {
		return err
	}
	return errors.Join(n.awaitUp(link), other.awaitUp(link))
}
