package node

import (
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A gatedStore lets the next look at one path wait, as long as the gate is shut.
type gatedStore struct {
	storage.Store
	mu    sync.Mutex
	path  string // "": nobody waits
	there chan struct{}
	open  chan struct{}
}

// shut says whose look waits next. The first channel is closed when it does, and it goes on when
// the second is.
func (s *gatedStore) shut(path string) (there <-chan struct{}, open chan<- struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path, s.there, s.open = path, make(chan struct{}), make(chan struct{})
	return s.there, s.open
}

func (s *gatedStore) View() storage.View { return gatedView{s.Store.View(), s} }

type gatedView struct {
	storage.View
	s *gatedStore
}

func (v gatedView) Get(path string) (storage.Record, bool, error) {
	v.s.mu.Lock()
	waits := v.s.path == path
	if waits {
		v.s.path = ""
		close(v.s.there)
	}
	open := v.s.open
	v.s.mu.Unlock()
	if waits {
		<-open
	}
	return v.View.Get(path)
}

// TestContainersHoldUpNobody: while a leader looks at the containers and TTL nodes there are,
// which may take long, others write and read. What is set meanwhile stays.
func TestContainersHoldUpNobody(t *testing.T) {
	var s *gatedStore
	r := start(t, consensus.Leading, false, func(c *Config) {
		c.ExtendedTypes, c.ContainerCheck = true, time.Hour
		c.OpenStorage = func(sc storage.Config) (storage.Store, error) {
			inner, err := openMapStore(sc)
			s = &gatedStore{Store: inner}
			return s, err
		}
	})
	p := r.connect()
	ttl := func(path string) {
		p.must(proto.OpCreateTTL, &proto.CreateTTLRequest{CreateRequest: *create(path, proto.FlagPersistentWithTTL), TTL: 1})
	}
	ttl("/set")
	ttl("/unset")
	made := r.n.wallMS()
	r.until("the TTL to be over", func() bool { return r.n.wallMS() > made+1 })

	there, open := s.shut("/set")
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.n.removeExpired()
	}()
	release := sync.OnceFunc(func() { close(open) })
	t.Cleanup(func() { release(); <-done }) // before the node is closed
	select {
	case <-there:
	case <-time.After(patience):
		t.Fatal("nobody looks")
	}
	p.must(proto.OpSetData, set("/set", "new"))
	if got := p.call(proto.OpGetData, get("/set")).data(t); got != "new" {
		t.Errorf("it is %q", got)
	}
	release()
	<-done
	p.must(proto.OpCreate, create("/behind", 0)) // whatever is to be removed
	for path, want := range map[string]zkerr.Code{"/set": zkerr.OK, "/unset": zkerr.NoNode} {
		if a := p.call(proto.OpExists, get(path)); a.Err != want {
			t.Errorf("%s: %v, want %v", path, a.Err, want)
		}
	}
}
