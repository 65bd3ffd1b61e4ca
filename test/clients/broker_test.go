package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/zkcore/zkcore/test/harness"
)

// A message broker keeps its membership, its controller and its configuration in ZooKeeper; this is
// how Kafka (without KRaft) does it, call for call:
//
//	/brokers/ids/N            ephemeral, made without data and filled in one multi; the czxid is the
//	                          broker's epoch
//	/controller               ephemeral; made in one multi with a conditional set of
//	/controller_epoch         so that two brokers can't both believe that they were elected
//	/brokers/topics/t/state   written by the controller only, in a multi with a check of the epoch
//	/config/changes/…         sequential; every broker reads each of them, in order
//	/latest_producer_id_block ranges that brokers take by conditional sets

const (
	brokerSession = 10 * time.Second // outlives an election, even on a busy machine
	blockSize     = 1000
)

// A cluster is what the brokers of one test have in common.
type cluster struct {
	t     *testing.T
	addrs []string

	mu     sync.Mutex
	reigns []reign
	blocks []int64 // the starts of the ranges that were taken
}

// A reign is a broker's time as controller.
type reign struct {
	broker  int
	epoch   int
	version int32 // of /controller_epoch, which fences its writes
}

type broker struct {
	*session
	c  *cluster
	id int

	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	epoch   int64    // czxid of its registration
	changes []string // what it read below /config/changes
}

func TestBroker(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	c := &cluster{t: t, addrs: e.Addrs()}
	observer := dial(t, c.addrs, brokerSession)

	// All brokers start at once, on an empty tree.
	brokers := make(map[int]*broker)
	var mu sync.Mutex
	var starting sync.WaitGroup
	for id := 1; id <= 4; id++ {
		starting.Go(func() {
			b := c.startBroker(id)
			mu.Lock()
			brokers[id] = b
			mu.Unlock()
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, b := range brokers {
			b.halt()
		}
	})
	c.await("a controller that knows all brokers", func() error { return c.state(observer, 1, 1, 2, 3, 4) })
	c.work(brokers)
	epochs := registrations(t, observer)
	if len(epochs) != 4 {
		t.Fatalf("registrations %v", epochs)
	}

	// A server dies under them: nobody loses a registration, nobody else takes over.
	leader := e.Leader()
	leader.Kill9()
	c.work(brokers)
	leader.Start()
	e.Await()
	c.work(brokers)
	if now := registrations(t, observer); fmt.Sprint(now) != fmt.Sprint(epochs) {
		t.Fatalf("a server died, and the brokers' epochs are %v instead of %v", now, epochs)
	}
	if r := c.reigned(); len(r) != 1 {
		t.Fatalf("a server died, and the controllers were %v", r)
	}

	// The controller vanishes: its session expires, and one of the others takes over, once.
	first := c.reigned()[0]
	brokers[first.broker].vanish()
	delete(brokers, first.broker)
	left := ids(brokers)
	c.await("another controller, which knows that the first is gone", func() error { return c.state(observer, 2, left...) })
	second := c.reigned()[1]
	if second.broker == first.broker || second.epoch != 2 {
		t.Fatalf("controllers %v", c.reigned())
	}
	c.work(brokers)

	// What the first controller still had to say is refused.
	_, err := observer.Multi(
		&zk.CheckVersionRequest{Path: "/controller_epoch", Version: first.version},
		&zk.SetDataRequest{Path: "/brokers/topics/t/state", Data: []byte("zombie"), Version: -1},
	)
	wantErr(t, err, zk.ErrBadVersion)

	// The second one leaves in order, which needs no expiry.
	brokers[second.broker].halt()
	brokers[second.broker].Close()
	delete(brokers, second.broker)
	left = ids(brokers)
	c.await("a third controller", func() error { return c.state(observer, 3, left...) })
	c.work(brokers)

	// The first broker comes back, with a later epoch than it had.
	back := c.startBroker(first.broker)
	brokers[back.id] = back
	left = ids(brokers)
	c.await("the controller knows the broker that is back", func() error { return c.state(observer, 3, left...) })
	c.work(brokers)
	if back.epoch <= epochs[back.id] {
		t.Fatalf("broker %d is back with epoch %d, before %d", back.id, back.epoch, epochs[back.id])
	}

	// Each takeover happened exactly once.
	reigns := c.reigned()
	if len(reigns) != 3 {
		t.Fatalf("controllers %v", reigns)
	}
	data, st, err := observer.Get("/controller_epoch")
	if err != nil || string(data) != "3" || st.Version != 3 {
		t.Fatalf("/controller_epoch is %s, version %d, %v", data, st.Version, err)
	}

	// Every broker that was there all the time read every change, in order, once.
	must[string](t)(observer.Sync("/"))
	kids, _, err := observer.Children("/config/changes")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(kids)
	for _, b := range brokers {
		if b == back {
			continue
		}
		c.await(fmt.Sprintf("broker %d reads all changes", b.id), func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !slices.Equal(b.changes, kids) {
				return fmt.Errorf("it read %v, there are %v", b.changes, kids)
			}
			return nil
		})
	}
	// No range was given to two of them.
	slices.Sort(c.blocks)
	if len(slices.Compact(slices.Clone(c.blocks))) != len(c.blocks) {
		t.Fatalf("a range was given twice: %v", c.blocks)
	}
}

func ids(brokers map[int]*broker) []int {
	var out []int
	for id := range brokers {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// await polls until check holds.
func (c *cluster) await(what string, check func() error) {
	c.t.Helper()
	end := time.Now().Add(harness.Patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s: not within %v: %v (controllers so far: %v)", what, harness.Patience, err, c.reigned())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *cluster) reigned() []reign {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.reigns)
}

// work makes every broker announce a change and take a range, all at the same time.
func (c *cluster) work(brokers map[int]*broker) {
	c.t.Helper()
	var wg sync.WaitGroup
	for _, b := range brokers {
		wg.Go(func() {
			for range 3 {
				if err := b.announce(); err != nil {
					c.t.Errorf("broker %d announces a change: %v", b.id, err)
				}
				if err := b.takeRange(); err != nil {
					c.t.Errorf("broker %d takes a range: %v", b.id, err)
				}
			}
		})
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// A topicState is what a controller writes: whom it knows.
type topicState struct {
	Epoch   int   `json:"controller_epoch"`
	Brokers []int `json:"brokers"`
}

// state compares what the present controller last wrote, and that it is registered.
func (c *cluster) state(s *session, epoch int, brokers ...int) error {
	data, _, err := s.Get("/brokers/topics/t/state")
	if err != nil {
		return err
	}
	var got topicState
	if len(data) == 0 {
		return errors.New("not written yet")
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return err
	}
	if got.Epoch != epoch || !slices.Equal(got.Brokers, brokers) {
		return fmt.Errorf("the controller wrote %+v, want epoch %d and brokers %v", got, epoch, brokers)
	}
	_, _, err = s.Get("/controller")
	return err
}

// registrations returns the epoch of each broker that is registered.
func registrations(t *testing.T, s *session) map[int]int64 {
	t.Helper()
	out := make(map[int]int64)
	var kids []string
	if err := retry(t, func() (err error) { kids, _, err = s.Children("/brokers/ids"); return err }); err != nil {
		t.Fatal(err)
	}
	for _, k := range kids {
		id, err := strconv.Atoi(k)
		if err != nil {
			t.Fatal(err)
		}
		var data []byte
		var st *zk.Stat
		if err := retry(t, func() (err error) { data, st, err = s.Get("/brokers/ids/" + k); return err }); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), `"endpoints"`) || st.EphemeralOwner == 0 {
			t.Fatalf("broker %s is registered with %q, owner 0x%x", k, data, st.EphemeralOwner)
		}
		out[id] = st.Czxid
	}
	return out
}

// startBroker does what a broker does at its start. It is called from several goroutines.
func (c *cluster) startBroker(id int) *broker {
	b := &broker{session: dial(c.t, c.addrs, brokerSession), c: c, id: id, stop: make(chan struct{})}
	for _, p := range []string{"/consumers", "/brokers", "/brokers/ids", "/brokers/topics", "/brokers/topics/t",
		"/brokers/topics/t/state", "/config", "/config/changes", "/config/topics", "/admin", "/admin/delete_topics",
		"/isr_change_notification", "/latest_producer_id_block", "/log_dir_event_notification"} {
		if err := b.makePath(p, nil); err != nil {
			c.t.Errorf("broker %d makes %s: %v", id, p, err)
		}
	}
	if err := b.makePath("/controller_epoch", []byte("0")); err != nil {
		c.t.Errorf("broker %d makes /controller_epoch: %v", id, err)
	}
	if err := b.register(); err != nil {
		c.t.Errorf("broker %d registers: %v", id, err)
	}
	b.wg.Go(b.followChanges)
	b.wg.Go(b.standForElection)
	return b
}

// halt stops the broker's own work; its session stays.
func (b *broker) halt() {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
	b.wg.Wait()
}

// vanish is a broker's death without a last word.
func (b *broker) vanish() {
	b.die()
	b.halt()
}

// do repeats f over lost connections, until the broker is halted.
func (b *broker) do(f func() error) error {
	end := time.Now().Add(harness.Patience)
	for {
		err := f()
		if !errors.Is(err, zk.ErrConnectionClosed) && !errors.Is(err, zk.ErrNoServer) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("still after %v: %w", harness.Patience, err)
		}
		select {
		case <-b.stop:
			return errHalted
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var errHalted = errors.New("the broker was halted")

func (b *broker) makePath(path string, data []byte) error {
	err := b.do(func() error { _, err := b.Create(path, data, 0, open); return err })
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

// register makes the broker's own znode, empty, and fills it in the same transaction.
func (b *broker) register() error {
	path := fmt.Sprintf("/brokers/ids/%d", b.id)
	info := fmt.Sprintf(`{"version":5,"host":"127.0.0.1","port":%d,"endpoints":["PLAINTEXT://127.0.0.1:%d"]}`, 9092+b.id, 9092+b.id)
	return b.do(func() error {
		res, err := b.Multi(
			&zk.CreateRequest{Path: path, Acl: open, Flags: zk.FlagEphemeral},
			&zk.SetDataRequest{Path: path, Data: []byte(info), Version: 0},
		)
		switch {
		case err == nil:
			b.epoch = res[1].Stat.Czxid
			return nil
		case !errors.Is(err, zk.ErrNodeExists):
			return err
		}
		// A retry after a lost connection finds its own work.
		_, st, err := b.Get(path)
		if err != nil {
			return err
		}
		if st.EphemeralOwner != b.SessionID() {
			return fmt.Errorf("%s belongs to session 0x%x, mine is 0x%x", path, st.EphemeralOwner, b.SessionID())
		}
		b.epoch = st.Czxid
		return nil
	})
}

// standForElection tries to become controller, and waits for the present one's end where it fails.
func (b *broker) standForElection() {
	for {
		r, err := b.elect()
		if errors.Is(err, errHalted) {
			return
		}
		if err != nil {
			b.c.t.Errorf("broker %d stands for election: %v", b.id, err)
			return
		}
		if r != nil {
			b.c.mu.Lock()
			b.c.reigns = append(b.c.reigns, *r)
			b.c.mu.Unlock()
			b.reign(*r)
			return
		}
		var gone <-chan zk.Event
		var there bool
		if err := b.do(func() (err error) { there, _, gone, err = b.ExistsW("/controller"); return err }); err != nil {
			if !errors.Is(err, errHalted) {
				b.c.t.Errorf("broker %d watches the controller: %v", b.id, err)
			}
			return
		}
		if !there {
			continue
		}
		select {
		case <-gone:
		case <-b.stop:
			return
		}
	}
}

// elect returns the reign that it began, or nil if somebody else is controller.
func (b *broker) elect() (*reign, error) {
	var won *reign
	err := b.do(func() error {
		data, st, err := b.Get("/controller_epoch")
		if err != nil {
			return err
		}
		epoch, err := strconv.Atoi(string(data))
		if err != nil {
			return err
		}
		me := fmt.Appendf(nil, `{"version":1,"brokerid":%d}`, b.id)
		res, err := b.Multi(
			&zk.CreateRequest{Path: "/controller", Data: me, Acl: open, Flags: zk.FlagEphemeral},
			&zk.SetDataRequest{Path: "/controller_epoch", Data: []byte(strconv.Itoa(epoch + 1)), Version: st.Version},
		)
		switch {
		case err == nil:
			won = &reign{broker: b.id, epoch: epoch + 1, version: res[1].Stat.Version}
			return nil
		case !errors.Is(err, zk.ErrNodeExists) && !errors.Is(err, zk.ErrBadVersion):
			return err
		}
		// Somebody was elected. It is this broker, if it lost the connection over the answer.
		_, cst, err := b.Get("/controller")
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if err != nil {
			return err
		}
		if cst.EphemeralOwner != b.SessionID() {
			return nil
		}
		data, st, err = b.Get("/controller_epoch")
		if err != nil {
			return err
		}
		if epoch, err = strconv.Atoi(string(data)); err != nil {
			return err
		}
		won = &reign{broker: b.id, epoch: epoch, version: st.Version}
		return nil
	})
	return won, err
}

// reign writes who is there whenever that changes, as long as this broker's epoch holds.
func (b *broker) reign(r reign) {
	for {
		var kids []string
		var changed <-chan zk.Event
		err := b.do(func() (err error) { kids, _, changed, err = b.ChildrenW("/brokers/ids"); return err })
		if err == nil {
			state := topicState{Epoch: r.epoch}
			for _, k := range kids {
				id, err := strconv.Atoi(k)
				if err != nil {
					b.c.t.Errorf("/brokers/ids has %q", k)
				}
				state.Brokers = append(state.Brokers, id)
			}
			slices.Sort(state.Brokers)
			var data []byte
			if data, err = json.Marshal(state); err == nil {
				err = b.do(func() error {
					_, err := b.Multi(
						&zk.CheckVersionRequest{Path: "/controller_epoch", Version: r.version},
						&zk.SetDataRequest{Path: "/brokers/topics/t/state", Data: data, Version: -1},
					)
					return err
				})
			}
		}
		if err != nil {
			if !errors.Is(err, errHalted) {
				b.c.t.Errorf("controller %d: %v", b.id, err)
			}
			return
		}
		select {
		case <-changed:
		case <-b.stop:
			return
		}
	}
}

// followChanges reads what is announced below /config/changes, each child once.
func (b *broker) followChanges() {
	for {
		var kids []string
		var more <-chan zk.Event
		if err := b.do(func() (err error) { kids, _, more, err = b.ChildrenW("/config/changes"); return err }); err != nil {
			if !errors.Is(err, errHalted) {
				b.c.t.Errorf("broker %d follows the changes: %v", b.id, err)
			}
			return
		}
		slices.Sort(kids)
		b.mu.Lock()
		for _, k := range kids {
			if len(b.changes) == 0 || k > b.changes[len(b.changes)-1] {
				b.changes = append(b.changes, k)
			}
		}
		b.mu.Unlock()
		select {
		case <-more:
		case <-b.stop:
			return
		}
	}
}

func (b *broker) announce() error {
	return b.do(func() error {
		_, err := b.Create("/config/changes/config_change_", fmt.Appendf(nil, `{"broker":%d}`, b.id), zk.FlagSequence, open)
		return err
	})
}

// takeRange takes the next range of ids, which nobody else may get. A set whose answer is lost with
// the connection may have been applied: then its range is nobody's, which does no harm.
func (b *broker) takeRange() error {
	for {
		err := b.do(func() error {
			data, st, err := b.Get("/latest_producer_id_block")
			if err != nil {
				return err
			}
			var start int64
			if len(data) > 0 {
				if start, err = strconv.ParseInt(string(data), 10, 64); err != nil {
					return err
				}
			}
			next := strconv.FormatInt(start+blockSize, 10)
			if _, err := b.Set("/latest_producer_id_block", []byte(next), st.Version); err != nil {
				return err
			}
			b.c.mu.Lock()
			b.c.blocks = append(b.c.blocks, start)
			b.c.mu.Unlock()
			return nil
		})
		if !errors.Is(err, zk.ErrBadVersion) { // another broker was faster
			return err
		}
	}
}
