package txn

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
)

// multis is the limit for a txn of parts: a part takes 160 bytes and can come in 8.
var multis = fuzztest.Limit{Factor: 20, Constant: fuzztest.Rule.Constant}

func limitOf(b []byte) fuzztest.Limit {
	if h, err := DecodeHeader(b); err == nil && h.Type == TypeMulti {
		return multis
	}
	return fuzztest.Rule
}

func FuzzTxn(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Hex))
	}
	for typ := int32(-11); typ < 30; typ++ {
		h := AppendHeader(nil, &Header{Type: typ})
		f.Add(append(h[:len(h):len(h)], bytes.Repeat([]byte{0xff}, 20)...))
		f.Add(append(h[:len(h):len(h)], "\x00\x00\x00\x02/a\x7f\xff\xff\xff"...))
		f.Add(append(h[:len(h):len(h)], make([]byte, 40)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var x Txn
		var err error
		limitOf(b).Check(t, len(b), func() { err = Decode(b, &x) })
		if err != nil {
			return
		}
		// What decodes can be encoded, and that decodes to the same.
		again := Append(nil, &x)
		var y Txn
		if err := Decode(again, &y); err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v\n%+v", x, y)
		}
	})
}

// The txns in which the least bytes ask for the most.
func TestMemoryOfTxns(t *testing.T) {
	const size = 1 << 20
	head := func(typ int32) []byte { return AppendHeader(nil, &Header{Type: typ}) }
	multi := func(part []byte, n int) []byte {
		return append(jute.AppendCount(head(TypeMulti), n), bytes.Repeat(part, size/len(part))...)
	}
	empty := []byte("\x00\x00\x00\x00\xff\xff\xff\xff")
	remove := []byte("\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00\x00")
	for name, b := range map[string][]byte{
		"parts without a record": multi(empty, size/len(empty)),
		"deletes":                multi(remove, size/len(remove)),
		"a part too many":        multi(remove, size/len(remove)+1),
		"paths of a session":     append(jute.AppendCount(head(TypeCloseSession), size/4), make([]byte, size)...),
		"acl":                    append(jute.AppendCount(jute.AppendString(head(TypeSetACL), "/a"), size/12), make([]byte, size)...),
	} {
		t.Run(name, func(t *testing.T) {
			var x Txn
			limitOf(b).Check(t, len(b), func() { _ = Decode(b, &x) })
		})
	}
}
