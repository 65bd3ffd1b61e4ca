package quorum

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

func TestChange(t *testing.T) {
	const three = "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\nserver.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\n" +
		"server.3=10.0.0.3:2888:3888:observer;0.0.0.0:2181\nversion=100000000"
	const grouped = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\ngroup.1=1:2\nversion=5"
	type req struct{ joining, leaving, members string } // "-" is null
	for _, tc := range []struct {
		name, now  string
		req        req
		multi      bool
		standalone bool
		want       string
		code       zkerr.Code
	}{
		{name: "nothing", now: three, req: req{"-", "-", "-"}, want: three},
		{name: "one leaves", now: three, req: req{"-", "3", "-"}, want: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\nserver.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\nversion=100000000"},
		{name: "one that is not there leaves", now: three, req: req{"-", " 9 ,", "-"}, want: three},
		{name: "two voters are the least", now: three, req: req{"-", "2", "-"}, standalone: true, code: zkerr.BadArguments},
		{name: "one does where it has to", now: three, req: req{"-", "2,3", "-"}, want: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\nversion=100000000"},
		{name: "none does not", now: three, req: req{"-", "1,2", "-"}, code: zkerr.BadArguments},
		{name: "one takes another role", now: three, req: req{"server.3=10.0.0.3:2888:3888;2181", "-", "-"},
			want: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\nserver.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\nserver.3=10.0.0.3:2888:3888:participant;0.0.0.0:2181\nversion=100000000"},
		{name: "one leaves and another takes its address", now: three, req: req{"server.4=10.0.0.3:2888:3888:observer;2181", "3", "-"},
			want: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\nserver.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\nserver.4=10.0.0.3:2888:3888:observer;0.0.0.0:2181\nversion=100000000"},
		{name: "an address that another one has", now: three, req: req{"server.4=10.0.0.3:2889:3888;2181", "-", "-"}, code: zkerr.BadArguments},
		{name: "an address of a client port", now: three, req: req{"server.4=10.0.0.4:2888:3888;10.0.0.3:3888", "-", "-"}, code: zkerr.BadArguments},
		{name: "loopback is no address", now: "server.1=127.0.0.1:1:2:participant\nserver.2=localhost:1:2:participant\nversion=0", req: req{"server.3=127.0.0.1:1:2:observer;5,server.4=[::1]:1:2:observer;5,server.5=[::1]:1:2:observer;5", "-", "-"},
			want: "server.1=127.0.0.1:1:2:participant\nserver.2=localhost:1:2:participant\nserver.3=127.0.0.1:1:2:observer;0.0.0.0:5\nserver.4=[::1]:1:2:observer;0.0.0.0:5\nserver.5=[::1]:1:2:observer;0.0.0.0:5\nversion=0"},
		{name: "no client address", now: three, req: req{"server.4=10.0.0.4:2888:3888", "-", "-"}, code: zkerr.BadArguments},
		{name: "several addresses", now: three, req: req{"server.4=10.0.0.4:1:2|10.0.0.5:1:2;3", "-", "-"}, code: zkerr.BadArguments},
		{name: "several where they may be", now: "server.1=a:1:2:participant\nversion=0", req: req{"server.4=10.0.0.4:1:2|10.0.0.5:1:2;3", "-", "-"}, multi: true,
			want: "server.1=a:1:2:participant\nserver.4=10.0.0.4:1:2|10.0.0.5:1:2:participant;0.0.0.0:3\nversion=0"},
		{name: "no number", now: three, req: req{"-", "x", "-"}, code: zkerr.MarshallingError},
		{name: "no number to join under", now: three, req: req{"server.x=10.0.0.4:1:2;3", "-", "-"}, code: zkerr.MarshallingError},
		{name: "no server", now: three, req: req{"server.4", "-", "-"}, code: zkerr.BadArguments},
		{name: "groups don't change by and by", now: grouped, req: req{"-", "9", "-"}, code: zkerr.BadArguments},
		{name: "all anew", now: grouped, req: req{"what?", "what?", "server.7=c:1:2:participant;3,server.8=d:1:2:participant;3"}, standalone: true,
			want: "server.7=c:1:2:participant;0.0.0.0:3\nserver.8=d:1:2:participant;0.0.0.0:3\nversion=5"},
		{name: "all anew, with another version", now: three, req: req{"-", "-", "server.7=c:1:2:participant;3\nversion=77"}, want: "server.7=c:1:2:participant;0.0.0.0:3\nversion=100000000"},
		{name: "none anew", now: three, req: req{"-", "-", ""}, code: zkerr.MarshallingError},
		{name: "none anew, one may be alone", now: three, req: req{"-", "-", ""}, standalone: true, code: zkerr.BadArguments},
		{name: "observers alone", now: three, req: req{"-", "-", "server.1=a:1:2:observer;3"}, standalone: true, code: zkerr.MarshallingError},
		{name: "a key that nobody knows", now: three, req: req{"-", "-", "server.1=a:1:2;3,tickTime=5"}, code: zkerr.BadArguments},
		{name: "a version that is none", now: three, req: req{"-", "-", "server.1=a:1:2;3,version=x"}, code: zkerr.MarshallingError},
		{name: "an escape that is none", now: three, req: req{"-", "-", `server.1=a:1:2;3` + "\n" + `version=\u12`}, code: zkerr.MarshallingError},
		{name: "in two groups", now: three, req: req{"-", "-", "server.1=a:1:2;3,group.1=1,group.2=1"}, code: zkerr.BadArguments},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ParseConfig(tc.now, true)
			if err != nil {
				t.Fatal(err)
			}
			before := c.Text()
			ask := func(s string) *string {
				if s == "-" {
					return nil
				}
				return &s
			}
			next, code := c.Change(&proto.ReconfigRequest{JoiningServers: ask(tc.req.joining), LeavingServers: ask(tc.req.leaving), NewMembers: ask(tc.req.members)}, tc.multi, tc.standalone)
			if code != tc.code {
				t.Fatalf("%v, want %v", code, tc.code)
			}
			if code == zkerr.OK && next.Text() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", next.Text(), tc.want)
			}
			if c.Text() != before {
				t.Errorf("what there was has become\n%s", c.Text())
			}
		})
	}
}

// A client may name as many servers as a packet has room for, and all others wait for the answer.
func TestChangeOfMany(t *testing.T) {
	c, err := ParseConfig("server.1=a:1:2:participant\nversion=0", false)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	const many = 40_000
	for i := range many {
		fmt.Fprintf(&b, "server.%d=h%d:1:2;3,", many+1-i, i)
	}
	joining := b.String()
	done := make(chan int, 1)
	go func() {
		next, _ := c.Change(&proto.ReconfigRequest{JoiningServers: &joining, CurConfigID: -1}, false, false)
		if next == nil {
			next = new(Config)
		}
		done <- len(next.Servers)
	}()
	select {
	case n := <-done:
		if n != many+1 {
			t.Errorf("%d servers", n)
		}
	case <-time.After(time.Minute):
		t.Error("there is no answer")
	}
}
