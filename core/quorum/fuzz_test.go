package quorum

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
)

func FuzzQuorumPacket(f *testing.F) {
	for _, m := range messages(f) {
		f.Add(unhex(f, m.Hex))
	}
	p := Packet{Type: TypeRequest, Zxid: -1, Data: []byte{}, AuthInfo: []jute.ID{{Scheme: "ip", ID: "::1"}, {}}}
	f.Add(p.Append(nil))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\x7f\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\xff\xff\xff\xfe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, q Packet
		var d jute.Decoder
		fuzztest.Check(t, len(b), func() {
			p, d = Packet{}, jute.NewDecoder(b)
			p.Decode(&d)
		})
		err := q.Read(jute.NewReader(bytes.NewReader(b), 1<<20))
		if (d.Err() == nil) != (err == nil) {
			t.Fatalf("from a slice %v, from a stream %v", d.Err(), err)
		}
		if err != nil {
			return
		}
		if !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v\n%+v", p, q)
		}
		if enc := p.Append(nil); !bytes.Equal(enc, b[:d.Offset()]) {
			// Null strings in identities read as empty ones.
			var again Packet
			e := jute.NewDecoder(enc)
			if again.Decode(&e); e.Err() != nil || !reflect.DeepEqual(p, again) {
				t.Fatalf("%+v\n%+v", p, again)
			}
		}
	})
}

// FuzzPayload decodes the data of a packet as that of each type: what a peer says is
// the type need not be it.
func FuzzPayload(f *testing.F) {
	for _, m := range messages(f) {
		var p Packet
		d := jute.NewDecoder(unhex(f, m.Hex))
		if p.Decode(&d); d.Err() == nil && p.Data != nil {
			f.Add(p.Data)
		}
	}
	f.Add([]byte{})
	f.Add((&Request{SessionID: 1, Cxid: -1, Op: 9, Body: []byte("\x00\x00\x00\x01/")}).Append(nil))
	f.Add(AppendTouches(nil, []Touch{{1, 2}, {-1, -1}, {1 << 62, 1 << 30}}))
	f.Add(AppendActivate(nil, 3, []byte("txn")))
	f.Add(LearnerInfo{ServerID: 1, ProtocolVersion: 0x10000, ConfigVersion: -1}.Append(nil))
	f.Add(bytes.Repeat([]byte{0xff}, 23))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Check(t, len(b), func() {
			DecodeLearnerInfo(b)
			DecodeRequest(b)
			DecodeActivate(b)
			DecodeRevalidate(b)
			DecodeRevalidated(b)
			DecodeInt(b)
		})
		if v, ok := DecodeLearnerInfo(b); ok {
			if again, ok := DecodeLearnerInfo(v.Append(nil)); !ok || again != v {
				t.Fatalf("learner %+v, again %+v", v, again)
			}
		}
		if v, err := DecodeInt(b); err == nil && !bytes.Equal(AppendInt(nil, v), b[:4]) {
			t.Fatalf("int %d", v)
		}
		if leader, txn, err := DecodeActivate(b); err == nil && !bytes.Equal(AppendActivate(nil, leader, txn), b) {
			t.Fatalf("activate %d %x", leader, txn)
		}
		if r, err := DecodeRequest(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("request %+v", r)
		}
		var touches []Touch
		var err error
		fuzztest.Check(t, len(b), func() { touches, err = DecodeTouches(b) })
		if err == nil && !bytes.Equal(AppendTouches(nil, touches), b) {
			t.Fatalf("touches %+v", touches)
		}
		if v, err := DecodeRevalidate(b); err == nil && !bytes.Equal(v.Append(nil), b[:12]) {
			t.Fatalf("revalidate %+v", v)
		}
		if v, err := DecodeRevalidated(b); err == nil {
			if again, err := DecodeRevalidated(v.Append(nil)); err != nil || again != v {
				t.Fatalf("revalidated %+v, again %+v, %v", v, again, err)
			}
		}
	})
}

func FuzzNotification(f *testing.F) {
	for _, m := range messages(f) {
		if m.Type == "NOTIFICATION" {
			b := unhex(f, m.Hex)[4:]
			f.Add(b)
			f.Add(b[:40])
			f.Add(b[:28])
		}
	}
	n := Notification{State: Observing, Leader: -1, Zxid: -1, ElectionEpoch: -1, PeerEpoch: -1}
	f.Add(n.Append(nil))
	f.Add(append(n.Append(nil)[:40], "\x00\x00\x00\x02\x7f\xff\xff\xff"...))
	f.Add(append(n.Append(nil)[:40], "\x00\x00\x00\x02\xff\xff\xff\xff"...))
	f.Add(append(n.Append(nil)[:40], "\x80\x00\x00\x00"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var n Notification
		var err error
		fuzztest.Check(t, len(b), func() { n, err = DecodeNotification(b) })
		if err != nil {
			return
		}
		again, err := DecodeNotification(n.Append(nil))
		n.Version = NotificationVersion // which is what is always sent
		if n.Config == nil {
			n.Config = []byte{}
		}
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Fatalf("%+v\n%+v, %v", n, again, err)
		}
	})
}

// FuzzElectionStream reads a whole connection of the election port: the message that
// opens it, and the messages behind it.
func FuzzElectionStream(f *testing.F) {
	var opening []byte
	for _, m := range messages(f) {
		switch m.Type {
		case "INIT":
			opening = unhex(f, m.Hex)
		case "NOTIFICATION":
			f.Add(append(opening[:len(opening):len(opening)], unhex(f, m.Hex)...))
		}
	}
	f.Add(append(jute.AppendLong(nil, 3), "\x7f\xff\xff\xff"...))
	f.Add(append(jute.AppendLong(nil, 3), "\x00\x08\x00\x00abc"...))
	f.Add(append(jute.AppendLong(nil, 3), "\x00\x00\x00\x00\xff\xff\xff\xff"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A length that is believed buys one step of memory, of 64 kB.
		(fuzztest.Limit{Factor: 4, Constant: 128 << 10}).Check(t, len(b), func() {
			r := bytes.NewReader(b)
			if _, err := ReadInitialMessage(r); err != nil {
				return
			}
			var buf []byte
			for {
				var err error
				if buf, err = ReadMessage(r, buf[:0]); err != nil {
					return
				}
				DecodeNotification(buf)
			}
		})
	})
}

func FuzzInitialMessage(f *testing.F) {
	for _, m := range messages(f) {
		if m.Type == "INIT" {
			f.Add(unhex(f, m.Hex))
		}
	}
	f.Add(jute.AppendLong(nil, 3))
	f.Add((&InitialMessage{Version: InitialV2, SID: 1, Addrs: []HostPort{{"::1", 1}, {"b", 2}}}).Append(nil))
	f.Add(append(jute.AppendLong(jute.AppendLong(nil, InitialV1), -5), "\x7f\xff\xff\xff"...))
	f.Add(append(jute.AppendLong(jute.AppendLong(nil, InitialV2), AnonymousObserver), "\x00\x00\x00\x05||||:"...))
	f.Add(append(jute.AppendLong(jute.AppendLong(nil, InitialV2), 1), "\x00\x00\x00\x08[::1:1|["...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m InitialMessage
		var err error
		fuzztest.Check(t, len(b), func() { m, err = ReadInitialMessage(bytes.NewReader(b)) })
		if err != nil {
			return
		}
		if again, err := ReadInitialMessage(bytes.NewReader(m.Append(nil))); err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v\n%+v, %v", m, again, err)
		}
	})
}

// texts is the limit for a membership in words: the least that adds a server to it is
// some twenty bytes, of which a server, its address, its line among the properties and
// its weight are made.
var texts = fuzztest.Limit{Factor: 48, Constant: fuzztest.Rule.Constant}

func FuzzConfigText(f *testing.F) {
	for _, m := range messages(f) {
		for _, v := range []any{m.Decoded["config"], m.Decoded["payload"]} {
			if p, ok := v.(map[string]any); ok {
				v = p["config"]
			}
			if s, ok := v.(string); ok {
				f.Add(s)
			}
		}
	}
	f.Add("server.1=[::1]:1:2|a:3:4:observer;[::]:5\ngroup.1=1\nweight.1=7\nversion=ff")
	f.Add("# x\nserver.1 : a\\\n:1:2\rserver.2\ta\\u002eb:1:2\nversion\\\n=ff")
	f.Add("server.9223372036854775807=a:1:2\nserver.-1=b:1:2\nversion=ffffffffffffffff")
	f.Add("server.1=a:1:2:participant;\nserver.01=b:99999:2\ngroup.1=1:1:2\ngroup.2=1\nweight.1=-1\n")
	f.Add("server.1=\\ud83d\\ude00:1:2\nserver.2=\\ud83d:1:2\nserver.3=é:1:2;é:3\nversion=0")
	f.Add("server.1=a:1:2\\")
	f.Fuzz(func(t *testing.T, text string) {
		var c *Config
		var err error
		texts.Check(t, len(text), func() { c, err = ParseConfig(text, true) })
		if err != nil {
			return
		}
		again, err := ParseConfig(c.Text(), true)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%q:\n%+v\n%+v, %v", c.Text(), c, again, err)
		}
		c.IsQuorumOf(1, 2, 3)
		c.FileText()
	})
}
