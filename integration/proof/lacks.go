package main

import (
	"strings"

	"github.com/catena-cni/catena/integration/node"
)

// lackingHere ends the text of a row that another kernel has to fill.
const lackingHere = ", which this kernel lacks"

// lacks is lacks of what a row needs, which it then says.
func (r *row) lacks(link string) (bool, error) {
	none, err := lacks(link)
	if none {
		r.what += lackingHere
	}
	return none, err
}

// lacks reports whether the kernel has no such link, as ip link add takes it. It has what is not asked for.
func lacks(link string) (bool, error) {
	if link == "" {
		return false, nil
	}
	n, err := node.New()
	if err != nil {
		return false, err
	}
	defer n.Close()
	_, err = n.Run("ip", append([]string{"link", "add"}, strings.Fields(link)...)...)
	return err != nil, nil
}
