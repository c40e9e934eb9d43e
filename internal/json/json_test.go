package json_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	ours "github.com/catena-cni/catena/internal/json"
)

type upper string

func (u *upper) UnmarshalJSON(b []byte) error {
	if b[0] != '"' {
		return fmt.Errorf("%s is no upper", b)
	}
	*u = upper(strings.ToUpper(string(b[1 : len(b)-1])))
	return nil
}

type shout struct{ Word string }

func (s shout) MarshalJSON() ([]byte, error) { return []byte(`"` + s.Word + `!"`), nil }

type inner struct {
	Name   string `json:"name"`
	Number int    `json:"number,omitempty"`
}

type hidden struct {
	Deep string `json:"deep"`
}

type all struct {
	inner
	hidden
	Bool    bool              `json:"bool"`
	Small   uint8             `json:"small,omitempty"`
	Signed  int16             `json:"signed"`
	Maybe   *int              `json:"maybe,omitempty"`
	Flag    *bool             `json:"flag"`
	List    []string          `json:"list"`
	Lists   [][]int           `json:"lists,omitempty"`
	Objects []*inner          `json:"objects,omitempty"`
	Values  []inner           `json:"values"`
	Map     map[string]string `json:"map,omitempty"`
	Nested  map[string]*inner `json:"nested"`
	Raw     json.RawMessage   `json:"raw,omitempty"`
	Any     any               `json:"any"`
	IP      net.IP            `json:"ip"`
	Addr    netip.Addr        `json:"addr"`
	Prefix  *netip.Prefix     `json:"prefix"`
	Upper   upper             `json:"upper"`
	Below   struct {
		Name string
		More []inner `json:"more"`
	} `json:"below"`
	Odd     string `json:"cni.dev/odd-name,omitempty"`
	Skipped string `json:"-"`
	Plain   string
	private string
}

type floating struct {
	F float64  `json:"f"`
	A [2]int   `json:"a"`
	S int      `json:"s,string"`
	C *shout   `json:"c"`
	D []shout  `json:"d"`
	E any      `json:"e"`
	G []net.IP `json:"g"`
}

type bytewise struct {
	B []byte     `json:"b"`
	N upperBytes `json:"n"`
	M []small    `json:"m,omitempty"`
}

type upperBytes []byte

type small uint8

func (s small) MarshalText() ([]byte, error) { return []byte{'a' + byte(s)}, nil }

type ambiguous struct {
	inner
	Other struct{} `json:"other"`
	Name  string   `json:"name"`
}

var texts = []string{
	`{}`, `null`, ` `, ``, `{`, `[]`, `3`, `"x"`, `{"bool":true,}`, `{"bool":tru}`,
	`{"name":"n","number":3,"deep":"d","bool":true,"small":255,"signed":-32768,"maybe":0,"flag":false}`,
	` { "list" : [ "a" , "b\n\u00e9\ud83d\ude00" , "<&>" ] , "lists" : [ [ ] , [ 1 , -2 ] , null ] } `,
	`{"objects":[{"name":"x"},null,{"NUMBER":7}],"values":[{},{"name":"y","other":[{"a":"}]"}]}],"below":{"name":"z","more":[{"name":"q"}]}}`,
	`{"map":{"a":"1","b":"\"2\""},"nested":{"x":null,"y":{"number":-1}},"raw":{"any" : [1, 2.5e3]},"any":{"a":[1,"b",null,{"c":2.5}]}}`,
	`{"ip":"10.0.0.1","addr":"fd00::1","prefix":"10.0.0.0/8","upper":"quiet","cni.dev/odd-name":"odd","Plain":"p","plain":"q","Skipped":"s","private":"t"}`,
	`{"ip":"10.0.0.300"}`, `{"addr":""}`, `{"addr":7}`, `{"prefix":null,"flag":null,"list":null,"map":null,"any":null,"raw":null}`,
	`{"upper":null}`, `{"upper":7}`, `{"bool":null,"name":null,"signed":null,"ip":null,"addr":null,"below":null}`,
	`{"small":256}`, `{"small":-1}`, `{"signed":1.5}`, `{"signed":1e2}`, `{"signed":"3"}`, `{"name":3,"bool":true}`, `{"bool":"true","name":"kept"}`,
	`{"list":"a"}`, `{"list":[1],"name":"kept"}`, `{"map":{"a":1}}`, `{"below":[]}`, `{"objects":{}}`, `[{"name":"x"}]`,
	`{"name":"a","name":"b"}`, `{"list":["a","b"],"list":["c"]}`, `{"map":{"a":"1"},"map":{"b":"2"}}`, `{"maybe":1,"maybe":2}`, `{"below":{"name":"a"},"BELOW":{"more":[]}}`,
	`{"NAME":"folded","Name":"folded again"}`, `{"name":"exact","NAME":"folded"}`, `{"ſigned":5}`, "{\"name\":\"\xff\"}", "{\"name\":\"tab\there\"}",
	`{"b":"AQI=","n":"","m":"AQ=="}`, `{"b":"AQI"}`, `{"b":[1,2]}`, `{"b":"\u0041QI="}`, `{"b":null,"n":3}`, `{"b":"AQ\nI="}`, `{"f":1.5,"b":"AQI=","a":[1,2],"s":"7","c":null,"e":[],"g":["10.0.0.1"]}`, `{"number":12345678901234567890}`, `{"name":"` + strings.Repeat("x", 3000) + `"}`,
	`{"other":{"a":{"b":[{"c":"\\"},"]"]}},"name":"after"}`, `{"raw": [ {"x" : "}" } , 1 ] , "name" : "after"}`, `{"any":1e400,"name":"n"}`,
}

// TestUnmarshal holds every value and error against the library's.
func TestUnmarshal(t *testing.T) {
	for _, text := range texts {
		same(t, []byte(text))
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { same(t, text) })
}

func same(t *testing.T, text []byte) {
	t.Helper()
	for _, kind := range []reflect.Type{reflect.TypeFor[all](), reflect.TypeFor[floating](), reflect.TypeFor[ambiguous](), reflect.TypeFor[bytewise](), reflect.TypeFor[inner](),
		reflect.TypeFor[*inner](), reflect.TypeFor[[]inner](), reflect.TypeFor[any](), reflect.TypeFor[string](), reflect.TypeFor[int](),
		reflect.TypeFor[map[string]json.RawMessage](), reflect.TypeFor[map[string]any](), reflect.TypeFor[map[int]string]()} {
		mine, theirs := reflect.New(kind), reflect.New(kind)
		err, want := ours.Unmarshal(text, mine.Interface()), json.Unmarshal(text, theirs.Interface())
		if fmt.Sprint(err) != fmt.Sprint(want) || !reflect.DeepEqual(mine.Interface(), theirs.Interface()) {
			t.Errorf("%.200q into %v: %+v, %v; want %+v, %v", text, kind, mine.Elem(), err, theirs.Elem(), want)
		}
		read := theirs.Elem().Interface()
		out, err := ours.Marshal(read)
		wantOut, want := json.Marshal(read)
		if !bytes.Equal(out, wantOut) || fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%+v is written as\n%s, %v; want\n%s, %v", read, out, err, wantOut, want)
		}
		out, _ = ours.MarshalIndent(theirs.Interface(), "", "  ")
		if wantOut, _ := json.MarshalIndent(theirs.Interface(), "", "  "); !bytes.Equal(out, wantOut) {
			t.Errorf("%+v is written as\n%s; want\n%s", read, out, wantOut)
		}
	}
}

// TestInto reads into values that are not empty, and what no value can be read into.
func TestInto(t *testing.T) {
	one := func() *all {
		n, f := 1, true
		return &all{inner: inner{Name: "was", Number: 4}, Maybe: &n, Flag: &f, List: []string{"was"}, Map: map[string]string{"was": "there"}, Values: []inner{{"was", 1}}}
	}
	for _, text := range texts {
		mine, theirs := one(), one()
		err, want := ours.Unmarshal([]byte(text), mine), json.Unmarshal([]byte(text), theirs)
		if fmt.Sprint(err) != fmt.Sprint(want) || !reflect.DeepEqual(mine, theirs) {
			t.Errorf("%.200s: %+v, %v; want %+v, %v", text, mine, err, theirs, want)
		}
	}
	for _, into := range []any{nil, all{}, (*all)(nil), 3} {
		if err, want := ours.Unmarshal([]byte(`{}`), into), json.Unmarshal([]byte(`{}`), into); fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("into %T: %v; want %v", into, err, want)
		}
	}
}

// TestMarshal writes what reading does not come to.
func TestMarshal(t *testing.T) {
	n := 3
	p := &n
	for _, v := range []any{nil, &p, shout{"a"}, &shout{"b"}, (*shout)(nil), []shout{{"c"}}, []any{1, "x", nil, shout{"d"}}, map[string]shout{"e": {"f"}}, 1.5, int8(-3), uint16(7), true,
		"<&>\u2028\x7f", struct{ E error }{}, net.IP(nil), []net.IP{nil, net.IPv4(1, 2, 3, 4)}, netip.Addr{}, map[string]int(nil), []string{}, struct{}{}, make(chan int),
		map[netip.Addr]int{netip.MustParseAddr("10.0.0.1"): 1}, json.RawMessage(`{ "a" : 1 }`), []byte("bytes"), upper("x")} {
		out, err := ours.Marshal(v)
		want, wantErr := json.Marshal(v)
		if !bytes.Equal(out, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%#v is written as %s, %v; want %s, %v", v, out, err, want, wantErr)
		}
	}
}
