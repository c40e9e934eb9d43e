package kernel

// Home is a pod's namespace as a record of the pod's speaks of it: the path that
// it was named by, and the namespace that was there.
type Home struct {
	Netns   string  `json:"netns"`
	NetnsID NetnsID `json:"netnsID"`
}

// Home is where the pod of this call lives.
func (k *Kernel) Home() Home { return Home{k.podPath, Netns(k.podPath)} }

// Abandoned reports whether the pod is provably gone: its namespace is not at
// its path any more.
func (h Home) Abandoned() bool { return h.Netns != "" && Netns(h.Netns) != h.NetnsID }
