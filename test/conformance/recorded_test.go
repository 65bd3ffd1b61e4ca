package conformance

import (
	"net"
	"testing"

	"github.com/zkcore/zkcore/core/recorded"
	"github.com/zkcore/zkcore/test/harness"
)

// TestRecorded replays to each of the servers what was recorded of Apache's (package recorded): each exchange is a row,
// with raw frames in and the frames that have to come. Rows build on each other, and some wait for a session of four
// seconds to expire; so the servers, which have nothing to do meanwhile, have their turns at the same time.
//
//	go test ./test/conformance -run Recorded/zkcore-mem
func TestRecorded(t *testing.T) {
	for _, tg := range targets {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			release := recorded.Release
			if tg.label == "3.8" {
				release = recorded.OldRelease
			}
			r := recorded.Replay{Patience: harness.Patience}
			if tg.label == "zkcore" {
				r.Ours, r.OwnPasswords = recorded.Ours, true
			}
			addrs := map[bool]string{}
			r.Dial = func(extendedTypes bool) (net.Conn, error) {
				if addrs[extendedTypes] == "" {
					c := asRecorded[extendedTypes]
					addrs[extendedTypes] = tg.start(t, &c).Servers[0].Addr()
				}
				return net.DialTimeout("tcp", addrs[extendedTypes], harness.Patience)
			}
			all, err := r.Begin(release)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for i := range all {
				x := &all[i]
				if x.Name == "getACL_config" && tg.group == ensembles {
					continue // in an ensemble the configuration has a text
				}
				t.Run(x.Name, func(t *testing.T) {
					if err := r.Do(x); err != nil {
						t.Errorf("%s: %v", x.Notes, err)
					}
				})
			}
			if err := r.Order(); err != nil {
				t.Error(err)
			}
		})
	}
}

// asRecorded is how the servers were configured, with extendedTypesEnabled and without.
var asRecorded = map[bool]configuration{
	true:  {name: "recorded", extra: map[string]string{"tickTime": "2000", "maxSessionTimeout": "40000"}},
	false: {name: "recorded, no extended types", extra: map[string]string{"tickTime": "2000", "maxSessionTimeout": "40000", "extendedTypesEnabled": "false"}},
}
