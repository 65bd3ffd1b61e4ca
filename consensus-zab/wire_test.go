package zab

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/quorum"
)

// readers are ways in which the same bytes can come.
func readers(b []byte) map[string]*bufio.Reader {
	return map[string]*bufio.Reader{
		"all at once":  bufio.NewReaderSize(bytes.NewReader(b), 1<<16),
		"byte by byte": bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(b)), 64),
		"in halves":    bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(b)), 64),
	}
}

func FuzzReadPacket(f *testing.F) {
	f.Add(quorum.AppendPacket(nil, quorum.TypePing, 5, nil))
	f.Add(quorum.AppendPacket(nil, quorum.TypePing, 5, []byte{}))
	f.Add(quorum.AppendPacket(nil, quorum.TypeProposal, 1<<40, bytes.Repeat([]byte("x"), 300)))
	p := quorum.Packet{Type: quorum.TypeRequest, Zxid: -1, Data: []byte("abc"), AuthInfo: []jute.ID{{Scheme: "ip", ID: "::1"}, {Scheme: "", ID: "b"}}}
	f.Add(p.Append(nil))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x03\xe8abc"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\x00\x00\x04\x00"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\xff\xff\xff\xfe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		r := bufio.NewReaderSize(in, 64)
		// A connection's packets one after the other. Identities grow as they come.
		(fuzztest.Limit{Factor: 16, Constant: fuzztest.Rule.Constant}).Check(t, len(b), func() {
			in.Reset(b)
			r.Reset(in)
			for {
				if _, err := readPacket(r, 1<<20); err != nil {
					return
				}
			}
		})
		var want quorum.Packet
		wantErr := want.Read(jute.NewReader(bytes.NewReader(b), 1000))
		for how, r := range readers(b) {
			got, err := readPacket(r, 1000)
			if err != nil {
				if wantErr == nil && len(want.AuthInfo) <= maxIdentities {
					t.Fatalf("%s: %v, want %+v", how, err, want)
				}
				continue
			}
			if got.Type == quorum.TypePing && len(got.Data) > 1000 {
				continue // they have a limit of their own
			}
			if len(got.AuthInfo) == 0 && len(want.AuthInfo) == 0 {
				got.AuthInfo, want.AuthInfo = nil, nil
			}
			if wantErr != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %+v, want %+v, %v", how, got, want, wantErr)
			}
		}
	})
}

// TestManyTouches: a ping with the sessions of a hundred thousand clients is taken, however short records are to be.
func TestManyTouches(t *testing.T) {
	touches := make([]quorum.Touch, 100_000)
	for i := range touches {
		touches[i] = quorum.Touch{SessionID: int64(i), TimeoutMS: 4000}
	}
	data := quorum.AppendTouches(nil, touches)
	b := quorum.AppendPacket(nil, quorum.TypePing, 1, data)
	for how, r := range readers(b) {
		if k, err := readPacket(r, 8192); err != nil || !bytes.Equal(k.Data, data) {
			t.Errorf("%s: %v, %d bytes", how, err, len(k.Data))
		}
	}
	b = quorum.AppendPacket(nil, quorum.TypeProposal, 1, data)
	for how, r := range readers(b) {
		if _, err := readPacket(r, 8192); !errors.Is(err, jute.ErrLength) {
			t.Errorf("%s: a proposal as long as that: %v", how, err)
		}
	}
}

// apacheStream is a snapshot as Apache's leader sent it.
func apacheStream(t testing.TB) []byte {
	b, err := os.ReadFile("testdata/snap-sync-3.9.5.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Split(string(b), "\n") {
		var l struct{ Type, Hex string }
		if json.Unmarshal([]byte(s), &l) == nil && l.Type == "SNAPSTREAM" {
			b, err := hex.DecodeString(l.Hex)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatal("there is no snapshot in the file")
	return nil
}

// A snapshot ends where it ends, however it comes, and what follows is left alone.
func TestSnapStreamEnds(t *testing.T) {
	stream := apacheStream(t)
	next := quorum.AppendPacket(nil, quorum.TypeNewLeader, 1<<32, []byte("server.1=…"))
	for how, r := range readers(append(stream[:len(stream):len(stream)], next...)) {
		s := &snapStream{r: r, begin: func() {}}
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, stream) {
			t.Fatalf("%s: %d bytes, %v, want %d", how, len(got), err, len(stream))
		}
		k, err := readPacket(r, 1000)
		if err != nil || k.Type != quorum.TypeNewLeader {
			t.Errorf("%s: the packet behind it is %+v, %v", how, k, err)
		}
	}
	// Cut anywhere it is not a whole one.
	for n := range len(stream) {
		s := &snapStream{r: bufio.NewReader(bytes.NewReader(stream[:n])), begin: func() {}}
		if _, err := io.ReadAll(s); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func FuzzSnapStream(f *testing.F) {
	stream := apacheStream(f)
	f.Add(stream)
	f.Add(stream[:len(stream)-3])
	for _, s := range []string{"\x7f\xff\xff\xff", "\xff\xff\xff\xfe", "\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01/\x7f\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		r := bufio.NewReaderSize(in, 16)
		fuzztest.Check(t, len(b), func() {
			in.Reset(b)
			r.Reset(in)
			_, _ = io.Copy(io.Discard, &snapStream{r: r, begin: func() {}})
		})
		// Whatever it is, it is passed on as it comes, and no more than there is.
		s := &snapStream{r: bufio.NewReaderSize(bytes.NewReader(b), 16), begin: func() {}}
		got, err := io.ReadAll(s)
		if len(got) > len(b) || !bytes.Equal(got, b[:len(got)]) {
			t.Fatalf("%d bytes of %d, which are others", len(got), len(b))
		}
		if err == nil && !bytes.Contains(got, []byte{0, 0, 0, 1, '/'}) {
			t.Fatal("it ends without the end of the nodes")
		}
	})
}
