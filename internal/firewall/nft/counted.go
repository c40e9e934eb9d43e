package nft

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
	"github.com/catena-cni/catena/internal/state/name"
)

// Some members are of a bridge and not of a pod: they come with the first pod
// that asks for them, and go with the last. The kernel counts. Each of those
// pods has a holder, a member of a map, whose verdict leads to a chain that is
// there for nothing else. The kernel says how many lead to a chain, and deletes
// none that something leads to, nor what was to be deleted in the same batch.
const (
	holders = "holders" // of what makes a bridge keep to itself
	loners  = "loners"  // of what isolates its ports too
)

// holder is the member of one of the maps that a pod has for a bridge.
func holder(set, bridge string, owner name.Attachment) Element {
	link := owner.HostLink()
	e := Element{Set: set, Key: fields(ifnameBytes(bridge), ifnameBytes(link)), Text: fmt.Sprintf("%q . %q", bridge, link)}
	e.Jump, _ = e.held()
	return e
}

// held gives the chain that counts a holder and its like, and the members that
// they hold. Both follow from the holder's key. Other elements hold nothing.
func (e Element) held() (chain string, members []Element) {
	if e.Set != holders && e.Set != loners || len(e.Key) < unix.IFNAMSIZ {
		return "", nil
	}
	bridge := e.Key[:unix.IFNAMSIZ]
	h := name.Hash(e.Set + "\x00" + string(bridge))
	chain = e.Set + "_" + hex.EncodeToString(h[:4])
	text := fmt.Sprintf("%q", strings.TrimRight(string(bridge), "\x00"))
	pair := Element{Set: "within", Key: fields(bridge, bridge), Text: text + " . " + text, Shared: true}
	if e.Set == loners {
		pair.Set = "isolated"
		return chain, []Element{pair}
	}
	return chain, []Element{{Set: "bridges", Key: bridge, Text: text, Shared: true}, pair}
}

// hold adds what comes with a holder, before it.
func (t *table) hold(e Element) (batch []message) {
	chainName, members := e.held()
	if chainName == "" {
		return nil
	}
	batch = append(batch, t.newChain(chain{name: chainName}))
	for _, m := range members {
		batch = append(batch, t.member(&m, ""))
	}
	return batch
}

// release removes what goes with the last holder, behind it.
func (c conn) release(t *table, e Element) (batch []message, err error) {
	chainName, members := e.held()
	if chainName == "" {
		return nil, nil
	}
	chain := []attr{stringAttr(unix.NFTA_CHAIN_TABLE, t.name), stringAttr(unix.NFTA_CHAIN_NAME, chainName)}
	answers, err := c.ask(message{unix.NFT_MSG_GETCHAIN, 0, t.family, chain})
	if err != nil {
		return nil, fmt.Errorf("look up chain %s: %w", chainName, err)
	}
	if len(answers) == 0 || be32(netlink.Find(answers[0], unix.NFTA_CHAIN_USE)) > 1 {
		return nil, nil
	}
	for _, m := range members {
		_, there, err := c.get(t, m)
		if err != nil {
			return nil, err
		}
		if there { // somebody may have removed it by hand
			batch = append(batch, t.elementMessage(unix.NFT_MSG_DELSETELEM, 0, m.Set, m.encode("")))
		}
	}
	return append(batch, message{unix.NFT_MSG_DELCHAIN, 0, t.family, chain}), nil
}

// KindIngress is the members of Between, KindAlone those of Alone.
const (
	KindIngress = "ingress"
	KindAlone   = "alone"
)

// Between lets nothing pass between the pod's bridge and other bridges that keep
// to themselves, as long as a pod on them asks for it. Where it is Isolated,
// nothing is routed from the bridge to itself either.
type Between struct {
	Owner    name.Attachment
	Bridge   string
	Isolated bool
	// Pod is an address of the pod, by which a bridge's VLAN is found, if the
	// pod is in one: packets come and go by the VLAN's own link.
	Pod netip.Addr
}

func (b Between) String() string {
	policy := "same-bridge"
	if b.Isolated {
		policy = "isolated"
	}
	return fmt.Sprintf("nft  %s %s for %q", KindIngress, policy, b.Bridge)
}

// Idle says that nothing is asked for.
func (b Between) Idle() bool { return b.Bridge == "" }

func (b Between) members(k *kernel.Kernel) Members {
	m := Members{Owner: b.Owner, Kind: KindIngress, table: inet}
	if b.Idle() {
		return m
	}
	link := b.Bridge
	if b.Pod.IsValid() {
		if out, err := route.Lookup(k, kernel.Host, b.Pod); err == nil && strings.HasPrefix(out.Link, b.Bridge+".") {
			link = out.Link
		}
	}
	m.Elements = []Element{holder(holders, link, b.Owner)}
	if b.Isolated {
		m.Elements = append(m.Elements, holder(loners, link, b.Owner))
	}
	return m
}

// Made reports whether a bridge keeps to itself for the attachment.
func (b Between) Made(k *kernel.Kernel) (bool, error) {
	return Members{Owner: b.Owner, Kind: KindIngress}.Made(k)
}

// Add makes the bridge keep to itself.
func (b Between) Add(k *kernel.Kernel) error { return b.members(k).Add(k) }

// Del ends it, where no other pod wants it.
func (b Between) Del(k *kernel.Kernel) error {
	return Members{Owner: b.Owner, Kind: KindIngress, table: inet}.Del(k)
}

// Check looks for the pod's holder and what it holds.
func (b Between) Check(k *kernel.Kernel) error { return b.members(k).Check(k) }

// Alone lets no frame pass from one of the pod's links on the host to another
// link that is alone, whatever the bridge.
func Alone(owner name.Attachment, links ...string) Members {
	m := Members{Owner: owner, Kind: KindAlone, table: bridge}
	for _, l := range links {
		m.Elements = append(m.Elements, Element{Set: "alone", Key: ifnameBytes(l), Text: fmt.Sprintf("%q", l)})
	}
	return m
}
