package kernel

// Verify says that the path of the pod's namespace may lead to another pod's by
// now, as it may for DEL: the pod has ended, and the number of its process is
// another's. A link that is there is taken away only where owned says that it
// is provably the attachment's.
func (k *Kernel) Verify(owned func(*Link) bool) { k.verify, k.owned = owned, map[int]bool{} }

// MarkOwned says that a link of the pod's is the attachment's, by what only a
// fact knows.
func (k *Kernel) MarkOwned(l *Link) {
	if k.verify != nil {
		k.owned[l.Index] = true
	}
}

// Trusted reports whether the pod's namespace is the attachment's beyond doubt.
func (k *Kernel) Trusted() bool { return k.verify == nil }

// Owned reports whether a link of the pod's namespace is the attachment's, to be
// deleted, moved or made again what it was. Each link is asked for once.
func (k *Kernel) Owned(l *Link) bool {
	if k.verify == nil {
		return true
	}
	owned, known := k.owned[l.Index]
	if !known {
		owned = k.verify(l)
		k.owned[l.Index] = owned
	}
	return owned
}
