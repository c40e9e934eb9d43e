package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

type inner struct {
	ID *int `json:"id" min:"1" max:"9" doc:"a number"`
}

type sample struct {
	Name    string            `json:"name" doc:"a name"`
	Backend string            `json:"backend" enum:"one,two" default:"one"`
	Count   int               `json:"count" min:"0" max:"10" default:"3"`
	On      *bool             `json:"on"`
	List    []inner           `json:"list"`
	Map     map[string]string `json:"map"`
	Addr    netip.Addr        `json:"addr"`
	Raw     json.RawMessage   `json:"raw"`
	Runtime inner             `json:"runtimeConfig" lint:"-"`
}

func TestDecode(t *testing.T) {
	for _, row := range []struct {
		in    string
		err   error
		words []string
	}{
		{`{"name":"n","COUNT":4,"on":null,"list":[null,{"id":3}]}`, nil, nil},
		{"{\n  \"name\": \"n\",\n  \"count\": }", ErrSyntax, []string{"line 3", "column 12"}},
		{`{"name":"n"`, ErrSyntax, []string{"line 1"}},
		{``, ErrSyntax, []string{"line 1"}},
		{`{"count":"3"}`, ErrType, []string{"count", "whole number", "string"}},
		{`{"on":1}`, ErrType, []string{"on", "true or false"}},
		{`{"list":[{"id":"x"}]}`, ErrType, []string{"list[0].id is to be a whole number, not string"}},
		{`{"list":{}}`, ErrType, []string{"list is to be a list, not object"}},
		{`{"list":[{},[1]]}`, ErrType, []string{"list[1] is to be an object, not array"}},
		{`[]`, ErrType, []string{"the configuration", "an object"}},
		{`{"addr":"10.1.2"}`, ErrType, []string{"10.1.2"}},
	} {
		var s sample
		err := Decode([]byte(row.in), &s)
		if !errors.Is(err, row.err) {
			t.Errorf("%s: %v", row.in, err)
		}
		for _, w := range row.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: the error does not say %q: %v", row.in, w, err)
			}
		}
	}
}

// own reads its JSON itself.
type own struct{ Type string }

func (o *own) UnmarshalJSON(data []byte) error {
	var is struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(data, &is)
	o.Type = is.Type
	return err
}

// TestExplain: a message names the key as it stands in the configuration, and a
// place only where that is known; what could not be read is held against nothing.
func TestExplain(t *testing.T) {
	type Embedded struct {
		Map map[string]string `json:"map"`
	}
	type shape struct {
		Embedded
		Name  string  `json:"name"`
		Own   own     `json:"own"`
		Table *uint32 `json:"table" min:"1"`
	}
	for in, want := range map[string]string{
		`{"map":{"net.x":5}}`:                     `wrong type: map.net.x is to be a string, not number (line 1, column 17)`,
		`{"name":"abcdefghijk","own":{"type":5}}`: `wrong type: own.type is to be a string, not number`,
		`{"name":"abcdefghijk","own":[]}`:         ``,
		`{"name":"abcdefghijk","own":[1]}`:        `wrong type: own is to be an object, not array`,
		`{"table":-1}`:                            `wrong type: table is to be a whole number from 0 on, not number -1 (line 1, column 11)`,
		`{"table":0}`:                             `value not allowed: table is 0, and can be 1 or more`,
	} {
		got := ""
		if err := Read([]byte(in), new(shape)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q; want %q", in, got, want)
		}
	}
}

// TestDecodeReadsTheRest: a DEL does what it can with a broken configuration.
func TestDecodeReadsTheRest(t *testing.T) {
	var s sample
	if err := Decode([]byte(`{"count":"x","name":"n"}`), &s); err == nil || s.Name != "n" {
		t.Errorf("%v %+v", err, s)
	}
}

// TestEmptyIsAbsent: what is empty or null decodes as if it were left out, at
// every depth, whatever the type, and places stay as they are.
func TestEmptyIsAbsent(t *testing.T) {
	for _, row := range []struct{ in, as string }{
		{`{"count":"","name":null,"on":""}`, `{}`},
		{`{"name":"n","count":null , "list" : [ ] }`, `{"name":"n"}`},
		{`{"count":"","name":"n","list":[],"on":true}`, `{"name":"n","on":true}`},
		{`{"list":[{"id":""},{"id":3},{}],"map":{"a":""},"addr":""}`, `{"list":[{},{"id":3},{}],"map":{"a":""}}`},
		{`{"raw":{},"runtimeConfig":{"id":null},"Backend":null}`, `{}`},
		{`{"name":"a,\"b","count":""}`, `{"name":"a,\"b"}`},
	} {
		var got, want sample
		err := errors.Join(Decode([]byte(row.in), &got), json.Unmarshal([]byte(row.as), &want))
		Defaults(&want)
		if err != nil {
			t.Errorf("%s: %v", row.in, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", row.in, got, want)
		}
	}
	var s sample
	if err := Decode([]byte("{\"name\": \"\",\n\"count\": [1]}"), &s); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v", err)
	}
}

func TestLint(t *testing.T) {
	for _, row := range []struct {
		in   string
		want string
	}{
		{`{"name":"n","Count":1,"list":[{"ID":1}],"map":{"anything":"x"},"raw":{"anything":1},"runtimeConfig":{"other":1}}`, ""},
		{`{"nmae":"n"}`, "unknown key nmae: did you mean name?"},
		{`{"list":[{"id":1},{"idd":2}]}`, "unknown key list[].idd: did you mean id?"},
		{`{"somethingElseAltogether":1}`, "unknown key somethingElseAltogether"},
		{`{"x":{"name":1},"name":"n"}`, "unknown key x"},
	} {
		unknown, twice := Parse([]byte(row.in)).Lint(new(sample))
		got := ""
		if len(unknown) > 0 {
			got = errors.Join(unknown...).Error()
		}
		if got != row.want || twice != nil {
			t.Errorf("%s: %q, %v", row.in, got, twice)
		}
	}
	if _, twice := Parse([]byte(`{"map":{"a":"1","a":"2"}}`)).Lint(new(sample)); !errors.Is(twice, ErrValue) {
		t.Errorf("a key that stands twice: %v", twice)
	}
}

func TestValidate(t *testing.T) {
	n := func(i int) *int { return &i }
	for _, row := range []struct {
		in    sample
		words string
	}{
		{sample{Backend: "one", Count: 10, List: []inner{{n(1)}, {}}}, ""},
		{sample{Backend: "three"}, `backend is "three", and can be one, two`},
		{sample{Count: 11}, "count is 11, and can be 0 to 10"},
		{sample{Count: -1}, "count is -1"},
		{sample{List: []inner{{n(1)}, {n(0)}}}, "list[1].id is 0"},
	} {
		err := Validate(&row.in)
		if row.words == "" && err != nil || row.words != "" && (!errors.Is(err, ErrValue) || !strings.Contains(err.Error(), row.words)) {
			t.Errorf("%+v: %v", row.in, err)
		}
	}
}

func TestSchema(t *testing.T) {
	b, err := Schema("sample", new(sample))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Type       string
		Properties map[string]map[string]any
		Additional *bool `json:"additionalProperties"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	count := s.Properties["count"]
	switch {
	case s.Type != "object" || s.Additional == nil || *s.Additional:
		t.Errorf("%s", b)
	case count["type"] != "integer" || count["minimum"] != 0.0 || count["maximum"] != 10.0 || count["default"] != 3.0:
		t.Errorf("count: %v", count)
	case s.Properties["addr"]["type"] != "string", s.Properties["list"]["type"] != "array", s.Properties["name"]["description"] != "a name":
		t.Errorf("%s", b)
	}
}

// FuzzDecode: what is read of any text is a value that is written and read again as the
// same, or an error of one of the classes; a DEL goes on with the rest.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"n","list":[{"id":1}]}`))
	f.Add([]byte(`{"NAME":"n","backend":"","count":null,"on":true,"list":[null,{"id":"x"}],"map":{"a":"b"},"addr":"fd00::1","raw":{"a":[1e400]},"runtimeConfig":{"id":9}}`))
	f.Add([]byte(`{"a":[[[{"b":`))
	f.Add([]byte(`{"list":[{"id":3},{"id":3}],"list":[{}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var s, again sample
		d := Parse(in)
		err := d.Into(&s)
		_, _ = d.Lint(new(sample))
		_ = Validate(&s)
		switch {
		case err != nil && !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrType) && !errors.Is(err, ErrValue):
			t.Errorf("of no class: %v", err)
		case err != nil:
			return
		}
		text, err := json.Marshal(s)
		if err == nil {
			err = Decode(text, &again)
		}
		written, _ := json.Marshal(again)
		if err != nil || string(written) != string(text) {
			t.Errorf("%s: %v\n%s\n%s", in, err, text, written)
		}
	})
}

// TestDefaults: a text that no key gives is as its tag says, wherever it stands
// and whatever is wrong elsewhere.
func TestDefaults(t *testing.T) {
	type inner struct {
		Protocol string `json:"protocol" default:"tcp"`
	}
	type shape struct {
		inner
		Name  string  `json:"name" default:"cni0"`
		Other *string `json:"other" default:"x"`
		List  []inner `json:"list"`
		N     int     `json:"n"`
	}
	for text, want := range map[string]string{
		`{}`:                                  "tcp cni0 <nil> []",
		`{"name":"","list":[{}]}`:             "tcp cni0 <nil> [{tcp}]",
		`{"name":"a","protocol":"b","n":[1]}`: "b a <nil> []",
		`{"list":[{"protocol":"udp"},null]}`:  "tcp cni0 <nil> [{udp} {tcp}]",
		`{`:                                   "tcp cni0 <nil> []",
	} {
		var s shape
		_ = Decode([]byte(text), &s)
		if got := fmt.Sprint(s.Protocol, " ", s.Name, " ", s.Other, " ", s.List); got != want {
			t.Errorf("%s: %s, not %s", text, got, want)
		}
	}
}
