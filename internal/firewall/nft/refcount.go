package nft

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Some members are of a bridge and not of a pod: they come with the first pod
// that asks for them, and go with the last. The kernel keeps the reference count.
// Each of those pods has a reference, a member of a map, whose verdict leads to a
// chain that is there for nothing else. The kernel says how many lead to a chain,
// and deletes none that something leads to, nor what was to be deleted in the
// same batch.
const (
	samebridgeRefs = "samebridgerefs" // to what keeps a bridge from others
	isolatedRefs   = "isolatedrefs"   // to what isolates its ports too
)

// reference is the member of one of the maps that a pod has for a bridge.
func reference(set, bridge string, owner name.Attachment) Element {
	link := owner.HostLink()
	e := element(set, wire.Fields(wire.IfName(bridge), wire.IfName(link)), "%q . %q", bridge, link)
	e.Jump, _ = e.counted()
	return e
}

// counted gives the chain that counts a reference and its like, and the members
// that are there as long as there is one. Both follow from the reference's key.
// Other elements are no references.
func (e Element) counted() (chain string, members []Element) {
	if e.Set != samebridgeRefs && e.Set != isolatedRefs || len(e.Key) < unix.IFNAMSIZ {
		return "", nil
	}
	bridge := e.Key[:unix.IFNAMSIZ]
	chain = e.Set + "_" + name.Digits(e.Set + "\x00" + string(bridge))[:8]
	text := fmt.Sprintf("%q", strings.TrimRight(string(bridge), "\x00"))
	pair := element(strings.TrimSuffix(e.Set, "refs"), wire.Fields(bridge, bridge), "%s . %s", text, text)
	pair.Shared = true
	members = []Element{pair}
	if e.Set == samebridgeRefs {
		one := element("bridges", bridge, "%s", text)
		one.Shared = true
		members = append(members, one)
	}
	return chain, members
}

// retain adds to a batch what comes with a reference, before it.
func (t *table) retain(batch []wire.Message, e Element) []wire.Message {
	chainName, members := e.counted()
	if chainName == "" {
		return batch
	}
	batch = append(batch, t.NewChain(chainName, nil))
	for _, m := range members {
		batch = append(batch, t.Add(m.Element, ""))
	}
	return batch
}

// release gives what removes what goes with the last reference, behind it.
func (c conn) release(t *table, e Element) (batch []wire.Message, err error) {
	chainName, members := e.counted()
	if chainName == "" {
		return nil, nil
	}
	answers, err := c.Ask(t.GetChain(chainName))
	if err != nil {
		return nil, fmt.Errorf("look up chain %s: %w", chainName, err)
	}
	if len(answers) == 0 || wire.Uint32(wire.Find(answers[0], unix.NFTA_CHAIN_USE)) > 1 {
		return nil, nil
	}
	have, err := c.getEach(t, members)
	for i, f := range have {
		if f.Is(members[i].Element) { // else somebody has removed it by hand
			batch = append(batch, t.Delete(members[i].Element))
		}
	}
	return append(batch, t.DeleteChain(chainName)), err
}

// BridgePolicy lets nothing pass between the pod's bridge and other bridges that
// keep to themselves, as long as a pod on them asks for it. Where it is Isolated,
// nothing is routed from the bridge to itself either.
type BridgePolicy struct {
	Members
	Bridge   string
	Isolated bool
	// Pod is an address of the pod, by which a bridge's VLAN is found, if the
	// pod is in one: packets come and go by the VLAN's own link.
	Pod netip.Addr
}

// NewBridgePolicy is one that asks for nothing yet.
func NewBridgePolicy(owner name.Attachment) BridgePolicy {
	return BridgePolicy{Members: Members{Owner: owner, Kind: KindIngress, table: inet}}
}

func (b BridgePolicy) String() string {
	policy := "same-bridge"
	if b.Isolated {
		policy = "isolated"
	}
	return fmt.Sprintf("nft  %s %s for %q", KindIngress, policy, b.Bridge)
}

// Idle says that nothing is asked for.
func (b BridgePolicy) Idle() bool { return b.Bridge == "" }

func (b BridgePolicy) members(k *kernel.Kernel) (Members, error) {
	link := b.Bridge
	if b.Pod.IsValid() {
		towards, err := route.HostLink(k, b.Pod)
		if err != nil {
			return b.Members, err
		}
		if strings.HasPrefix(towards, b.Bridge+".") {
			link = towards
		}
	}
	if !b.Idle() {
		b.Elements = []Element{reference(samebridgeRefs, link, b.Owner)}
	}
	if b.Isolated {
		b.Elements = append(b.Elements, reference(isolatedRefs, link, b.Owner))
	}
	return b.Members, nil
}

// Add makes the bridge keep to itself. Del ends it, where no other pod wants it.
func (b BridgePolicy) Add(k *kernel.Kernel) error {
	m, err := b.members(k)
	if err != nil {
		return err
	}
	return m.Add(k)
}

// Check looks for the pod's reference and what it is to.
func (b BridgePolicy) Check(k *kernel.Kernel) error {
	m, err := b.members(k)
	if err != nil {
		return err
	}
	return m.Check(k)
}

// IsolatedLinks lets no frame pass from one of the pod's links on the host to
// another link that is isolated, whatever the bridge.
func IsolatedLinks(owner name.Attachment, links ...string) Members {
	m := Members{Owner: owner, Kind: KindIsolated, table: bridge}
	for _, l := range links {
		m.Elements = append(m.Elements, element("isolated", wire.IfName(l), "%q", l))
	}
	return m
}
