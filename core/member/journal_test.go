package member

import (
	"encoding/binary"
	"testing"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestReadLogBesideACut: while a server delivers what it knows to be committed, a leader cuts off what
// is behind that and was never committed. And what is to be delivered itself must not be missing in silence.
func TestReadLogBesideACut(t *testing.T) {
	for _, tc := range []struct {
		name       string
		last, cut  consensus.Zxid
		want       consensus.Zxid
		incomplete bool
	}{
		{"behind it", 8, 8, 8, false},
		{"within it", 8, 5, 5, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			if err := fsys.MkdirAll("/log"); err != nil {
				t.Fatal(err)
			}
			l, _, err := txnlog.OpenLog(fsys, "/log", txnlog.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for z := consensus.Zxid(1); z <= 10; z++ {
				b := make([]byte, 100<<10)
				binary.BigEndian.PutUint64(b[12:], uint64(z))
				if z%3 == 0 {
					l.Roll()
				}
				if err := l.Append([]consensus.Txn{{Zxid: z, Data: b}}); err != nil {
					t.Fatal(err)
				}
			}
			at := consensus.Zxid(0)
			err = ReadLog(l, 0, tc.last, func(txns []consensus.Txn) error {
				for _, x := range txns {
					if x.Zxid != at+1 || consensus.Zxid(binary.BigEndian.Uint64(x.Data[12:])) != x.Zxid {
						t.Fatalf("%v comes after %v", x.Zxid, at)
					}
					at = x.Zxid
				}
				if l.Last() == 10 {
					return l.TruncateTo(tc.cut)
				}
				return nil
			})
			if tc.incomplete != (err != nil) || at > tc.want || !tc.incomplete && at != tc.want {
				t.Errorf("delivered up to %v, %v", at, err)
			}
		})
	}
}
