package kernel

import "github.com/catena-cni/catena/internal/state/name"

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

// Owned is the head of a record (state.Record): the attachment and its pod.
type Owned struct {
	Owner name.Attachment `json:"owner"`
	Home
}

// Owned is the head of a record of an attachment of this call's pod.
func (k *Kernel) Owned(at name.Attachment) Owned { return Owned{at, k.Home()} }

// Of is the attachment.
func (o Owned) Of() name.Attachment { return o.Owner }
