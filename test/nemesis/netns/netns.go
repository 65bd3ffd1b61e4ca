// Package netns makes network namespaces: one for each server of an ensemble, each with an address
// of its own on one bridge, whose links a packet filter cuts and a shaper slows.
//
// It works inside a namespace of its own. [Enter], called from TestMain, puts the whole test process
// into a fresh network and mount namespace before anything else happens: there it may do what it
// likes, no address or mount of it is seen outside, and the kernel clears all of it away when the
// process ends, however it ends.
//
//	func TestMain(m *testing.M) { netns.Enter(); os.Exit(m.Run()) }
//
//	n, err := netns.New(3)                // three hosts
//	cmd := exec.Command("zkcore", …)
//	cmd.Args = append(n.Prefix(1), cmd.Args...)  // runs on the first
//	n.Drop(1, 2, true)                    // the second doesn't hear the first any more
//
// The test process is on the bridge too, with an address for each group of clients.
//
// As root it needs nothing more; as somebody else it takes a user namespace where the machine
// allows that, and sudo where not.
package netns

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// insideVar says that this process has been put into namespaces of its own, and how.
const insideVar = "ZKCORE_TEST_NETNS"

// Inside says whether this process is in namespaces of its own, and how it came there: root, user
// (a user namespace) or sudo.
func Inside() (how string, ok bool) {
	how = os.Getenv(insideVar)
	return how, how != "" && how != "no"
}

// Why says why this process is not in namespaces of its own.
func Why() string {
	if why := os.Getenv(insideVar + "_WHY"); why != "" {
		return why
	}
	return "nobody called netns.Enter"
}

// Tools are the programs that namespaces take, and the Debian package of each.
var Tools = map[string]string{"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "unshare": "util-linux", "nsenter": "util-linux", "mount": "mount"}

// Enter puts this process into a network and a mount namespace of its own, by running it anew. It
// returns in the process that is inside, and in one that could not be put there; Inside tells.
// Whoever calls it has done nothing yet that would be lost.
func Enter() {
	if _, ok := Inside(); ok {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "netns:", err)
			os.Exit(1)
		}
		return
	}
	why := func(format string, args ...any) {
		os.Setenv(insideVar, "no")
		os.Setenv(insideVar+"_WHY", fmt.Sprintf(format, args...))
	}
	for tool, pkg := range Tools {
		if _, err := exec.LookPath(tool); err != nil {
			why("%s is missing (Debian: %s)", tool, pkg)
			return
		}
	}
	self, err := os.Executable()
	if err != nil {
		why("%v", err)
		return
	}
	var reasons []string
	for _, w := range []struct {
		how  string
		args []string
		root bool
	}{
		{"root", []string{"unshare", "--net", "--mount"}, true},
		{"user", []string{"unshare", "--net", "--mount", "--user", "--map-root-user"}, false},
		{"sudo", []string{"sudo", "-n", "-E", "--preserve-env=PATH", "unshare", "--net", "--mount"}, false},
	} {
		if w.root != (os.Getuid() == 0) {
			continue
		}
		// A trial: the real thing is an exec, from which there is no way back.
		trial := slices.Concat(w.args, []string{"sh", "-c", "mount -t tmpfs none /run && ip link add nemesis type bridge && ip netns add nemesis && ip netns exec nemesis nft list tables"})
		if out, err := exec.Command(trial[0], trial[1:]...).CombinedOutput(); err != nil {
			reasons = append(reasons, fmt.Sprintf("as %s: %v: %s", w.how, err, strings.TrimSpace(string(out))))
			continue
		}
		path, err := exec.LookPath(w.args[0])
		if err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		os.Setenv(insideVar, w.how)
		err = syscall.Exec(path, slices.Concat(w.args, []string{self}, os.Args[1:]), os.Environ())
		os.Unsetenv(insideVar)
		reasons = append(reasons, err.Error())
	}
	why("%s", strings.Join(reasons, "; "))
}

// prepare makes the fresh namespaces fit to work in. ip keeps the names of namespaces in /run: the
// one of this process is its own.
func prepare() error {
	for _, s := range []string{"mount --make-rprivate /", "mount -t tmpfs none /run", "ip link set lo up"} {
		if err := run("", strings.Fields(s)...); err != nil {
			return err
		}
	}
	return nil
}

// The network that the bridge carries. It is nobody else's: it exists in namespaces of our own only.
const (
	network = "10.111.0."
	bridge  = "br0"
)

// A Net is a bridge with hosts on it. Its methods are for one goroutine.
type Net struct {
	hosts  int
	groups int
	netem  bool // the kernel can delay packets; else links are made slow by a rate alone
	seen   []string
}

// New makes hosts 1 to n, and so many client addresses.
func New(n, groups int) (*Net, error) {
	if _, ok := Inside(); !ok {
		return nil, fmt.Errorf("no namespaces: %s", Why())
	}
	t := &Net{hosts: n, groups: groups}
	if err := t.make(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Net) make() error {
	steps := []string{
		"ip link add " + bridge + " type bridge",
		"ip link set " + bridge + " up",
	}
	// The first address is what a connection of nobody's in particular comes from: nothing cuts it.
	steps = append(steps, "ip addr add "+network+"199/24 dev "+bridge)
	for g := range t.groups {
		steps = append(steps, "ip addr add "+t.ClientAddr(g)+"/24 dev "+bridge)
	}
	for i := 1; i <= t.hosts; i++ {
		h := t.name(i)
		steps = append(steps,
			"ip netns add "+h,
			fmt.Sprintf("ip link add eth0 netns %s type veth peer name port%d", h, i),
			fmt.Sprintf("ip link set port%d master %s up", i, bridge),
			fmt.Sprintf("ip -n %s addr add %s/24 dev eth0", h, t.Addr(i)),
			fmt.Sprintf("ip -n %s link set eth0 up", h),
			fmt.Sprintf("ip -n %s link set lo up", h),
		)
	}
	for _, s := range steps {
		if err := run("", strings.Fields(s)...); err != nil {
			return err
		}
	}
	for i := 1; i <= t.hosts; i++ {
		// What is dropped on its way out is dropped where it is sent, so that a drop is one-way. To
		// reset is to refuse what comes from somewhere.
		rules := `table inet nemesis {
	set lost { type ipv4_addr
	}
	set cut { type ipv4_addr
	}
	chain in { type filter hook input priority 0
		ip saddr @cut meta l4proto tcp reject with tcp reset
	}
	chain out { type filter hook output priority 0
		ip daddr @lost drop
	}
}
`
		if err := t.nft(i, rules); err != nil {
			return err
		}
	}
	// The groups of clients are one host, so what it loses has pairs of addresses.
	if err := t.nft(0, `table inet nemesis {
	set lost { type ipv4_addr . ipv4_addr
	}
	chain out { type filter hook output priority 0
		ip saddr . ip daddr @lost drop
	}
}
`); err != nil {
		return err
	}
	t.netem = run("", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms") == nil
	if t.netem {
		return run("", "tc", "qdisc", "del", "dev", "lo", "root")
	}
	return nil
}

// Close removes what New made, as far as it was made.
func (t *Net) Close() error {
	var first error
	for i := 1; i <= t.hosts; i++ {
		// The kernel takes its time to clear a namespace away: the link's name shall be free now.
		if err := run("", "ip", "link", "del", fmt.Sprintf("port%d", i)); first == nil {
			first = err
		}
		if err := run("", "ip", "netns", "del", t.name(i)); first == nil {
			first = err
		}
	}
	if err := run("", "ip", "link", "del", bridge); first == nil {
		first = err
	}
	if err := run("", "nft", "delete", "table", "inet", "nemesis"); first == nil {
		first = err
	}
	return first
}

func (t *Net) name(i int) string { return "host" + strconv.Itoa(i) }

// Addr is the address of a host.
func (t *Net) Addr(i int) string { return network + strconv.Itoa(i) }

// ClientAddr is the address that clients of a group, 0 and up, bind to.
func (t *Net) ClientAddr(g int) string { return network + strconv.Itoa(200+g) }

// Prefix is what is put before the arguments of a command to run it on a host.
func (t *Net) Prefix(i int) []string {
	return []string{"nsenter", "--net=/run/netns/" + t.name(i), "--"}
}

// Netem says whether the kernel can delay packets.
func (t *Net) Netem() bool { return t.netem }

// An End is a host, 1 and up, or a group of clients: 0 is group 0, -1 group 1 and so on.
type End = int

func (t *Net) at(e End) string {
	if e > 0 {
		return t.Addr(e)
	}
	return t.ClientAddr(-e)
}

func verb(on bool) string {
	if on {
		return "add"
	}
	return "delete"
}

// Drop loses every packet from one end to another, until it is off.
func (t *Net) Drop(from, to End, on bool) error {
	key := fmt.Sprint("drop ", from, " ", to)
	if slices.Contains(t.seen, key) == on {
		return nil
	}
	set := t.at(to)
	host := from
	if from <= 0 {
		host, set = 0, t.at(from)+" . "+t.at(to)
	}
	if err := t.nft(host, fmt.Sprintf("%s element inet nemesis lost { %s }\n", verb(on), set)); err != nil {
		return err
	}
	t.mark(key, on)
	return nil
}

// Refuse answers all that host a hears from b with a reset, until it is off: b loses its
// connections when it speaks next, and a is told nothing of it.
func (t *Net) Refuse(a, b End, on bool) error {
	key := fmt.Sprint("refuse ", a, " ", b)
	if slices.Contains(t.seen, key) == on {
		return nil
	}
	if err := t.nft(a, fmt.Sprintf("%s element inet nemesis cut { %s }\n", verb(on), t.at(b))); err != nil {
		return err
	}
	t.mark(key, on)
	return nil
}

func (t *Net) mark(key string, on bool) {
	if on {
		t.seen = append(t.seen, key)
	} else {
		t.seen = slices.DeleteFunc(t.seen, func(k string) bool { return k == key })
	}
}

// Slow makes what a host sends slow, until it is off: late by some milliseconds where the kernel
// can do that, and no faster than so many kilobits in a second.
func (t *Net) Slow(i, delayMS, kbit int, on bool) error {
	key := fmt.Sprint("slow ", i)
	if slices.Contains(t.seen, key) == on {
		return nil
	}
	args := []string{"tc", "qdisc", "del", "dev", "eth0", "root"}
	switch {
	case on && t.netem:
		args = []string{"tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", fmt.Sprintf("%dms", delayMS),
			fmt.Sprintf("%dms", delayMS/2), "rate", fmt.Sprintf("%dkbit", kbit), "loss", "1%"}
	case on:
		// The queue holds what comes in a second; what is more is lost and sent again.
		args = []string{"tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", fmt.Sprintf("%dkbit", kbit), "burst", "8kb", "latency", "1s"}
	}
	if err := run(t.name(i), args...); err != nil {
		return err
	}
	t.mark(key, on)
	return nil
}

// nft runs a script on a host, 0 for the clients'.
func (t *Net) nft(i int, script string) error {
	args := []string{"nft", "-f", "-"}
	if i > 0 {
		args = append(t.Prefix(i), args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s\n%s", strings.Join(args, " "), err, out, script)
	}
	return nil
}

// run runs a command, on a host if one is named.
func run(host string, args ...string) error {
	if host != "" {
		args = append([]string{"nsenter", "--net=/run/netns/" + host, "--"}, args...)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
