package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBatches: a batch comes true as a whole, the kernel's answer names the
// message that it refuses, and one that is held to a generation is refused where
// somebody changed the ruleset since.
func TestBatches(t *testing.T) {
	s := kerneltest.New(t)
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := Table{unix.NFPROTO_INET, "t"}
	set := Set{Name: "s", Key: []Datatype{InetService, InetProto}, Data: []Datatype{IPv4Addr, InetService}}
	element := func(port byte) Element {
		return Element{Set: "s", Key: Fields([]byte{0, port}, []byte{6}), Data: Fields([]byte{10, 0, 0, port}, []byte{0, 80})}
	}
	if err := c.Commit([]Message{table.NewTable("words"), table.NewSet(set, 1), table.Create(element(1), "first")}, 0); err != nil {
		t.Fatal(err)
	}
	before, err := c.Generation()
	if err != nil {
		t.Fatal(err)
	}
	var refused Refused
	err = c.Commit([]Message{table.Create(element(2), ""), table.Create(element(1), ""), table.Create(element(3), "")}, 0)
	if !errors.As(err, &refused) || refused.Index != 1 || !errors.Is(err, unix.EEXIST) {
		t.Errorf("one that is there: %v (%d)", err, refused.Index)
	}
	if err := c.Rehearse([]Message{table.Create(element(4), "")}); err != nil {
		t.Error(err)
	}
	f, err := c.Get(table, element(1))
	if err != nil || !f.Is(element(1)) || f.Comment != "first" || !bytes.Equal(f.Data, element(1).Data) {
		t.Errorf("%+v %v", f, err)
	}
	for n := range byte(100) {
		f, err := c.Get(table, element(n))
		if err != nil || f.Is(element(n)) != (n == 1) {
			t.Errorf("element %d: %+v %v", n, f, err)
		}
	}
	if err := c.Commit([]Message{table.Delete(element(1)), table.Add(element(5), "")}, before); err != nil {
		t.Error(err)
	}
	if err := c.Commit([]Message{table.Delete(element(5))}, before); !errors.Is(err, unix.ERESTART) {
		t.Errorf("an older generation: %v", err)
	}
	listed, err := c.Dump(table, "s")
	if err != nil || len(listed) != 1 || !listed[0].Is(element(5)) {
		t.Errorf("%+v %v", listed, err)
	}
	s.Run("nft delete table inet t")
	if listed, err := c.Dump(table, "s"); err != nil || listed != nil {
		t.Errorf("no set: %+v %v", listed, err)
	}
	if err := c.Commit([]Message{table.Add(element(1), "")}, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no table: %v", err)
	}
}

// FuzzAttrs: no answer, however torn, is read beyond its end, and what elements are read
// of it are those that are written.
func FuzzAttrs(f *testing.F) {
	table := Table{unix.NFPROTO_INET, "t"}
	elements := func(e Element, comment string) []byte { return slices.Concat(table.Create(e, comment).Body...) }
	f.Add([]byte(Nest(1, String(2, "text"), U32(3, 4))))
	f.Add([]byte{255, 255, 1, 0})
	f.Add([]byte{3, 0, 0, 0})
	f.Add([]byte{5, 0, 1, 0, 1})
	f.Add(elements(Element{Set: "s", Key: []byte{0, 80, 6}, Data: []byte{10, 1, 2, 3}}, "n/c1/eth0"))
	f.Add(elements(Element{Set: "v", Key: []byte{1}, Jump: "c"}, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		for kind, data := range Attrs(b) {
			_ = fmt.Sprint(kind, Text(Find(data, 2)), Uint32(data), ReadComment(data))
		}
		for _, found := range decode(b) {
			if found.Key == nil || len(found.Key)+len(found.Data) > 1000 || len(found.Comment) > 127 {
				continue // more than the kernel has
			}
			again := decode(elements(Element{Set: "s", Key: found.Key, Data: found.Data}, found.Comment))
			if len(again) != 1 || !reflect.DeepEqual(again[0], found) {
				t.Errorf("%+v is written as %+v", found, again)
			}
		}
	})
}

// FuzzRefusal: every acknowledgement is success or an error that can be read.
func FuzzRefusal(f *testing.F) {
	f.Add(uint16(unix.NLMSG_ERROR), uint16(0), []byte{0, 0, 0, 0})
	f.Add(uint16(unix.NLMSG_DONE), uint16(unix.NLM_F_MULTI), []byte{0xef, 0xff, 0xff, 0xff})
	f.Add(uint16(unix.NLMSG_ERROR), uint16(unix.NLM_F_ACK_TLVS), append(append([]byte{0xfe, 0xff, 0xff, 0xff}, make([]byte, 16)...), String(unix.NLMSGERR_ATTR_MSG, "words")...))
	f.Fuzz(func(t *testing.T, kind, flags uint16, data []byte) {
		err := refusal(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Flags: flags}, Data: data})
		if err != nil && (err.Error() == "" || !errors.As(err, new(unix.Errno))) {
			t.Errorf("%v", err)
		}
	})
}
