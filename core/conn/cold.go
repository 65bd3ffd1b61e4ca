package conn

import (
	"runtime"
)

// warmAfter is how often something comes on a connection until its own goroutine carries it out.
const warmAfter = 8

// coldAtOnce is how many connections that say little are looked after at the same time.
func coldAtOnce() int { return 2 * runtime.GOMAXPROCS(0) }

// handle is frames, of a connection with a goroutine.
//
// Of one that says little another goroutine does it: for what a request needs the stack has to
// grow, and it does not shrink again while the connection is silent. And of those only a few are
// looked after at the same time. When ten thousand clients come at once, or are told of the same
// change and ask what it was, they wait for each other and not those for them who are
// at work.
func (c *Conn) handle() error {
	if c.warm.Load() >= warmAfter {
		return c.frames()
	}
	c.warm.Add(1)
	c.cold = true
	defer func() { c.cold = false }()
	done := make(chan error, 1)
	for {
		c.srv.cold <- struct{}{}
		go func() {
			err := c.frames()
			<-c.srv.cold
			done <- err
		}()
		if err := <-done; err != errStalled {
			return err
		}
		c.awaitTurn()
	}
}

// awaitTurn waits until frames may be handed over, or the connection is closing.
func (c *Conn) awaitTurn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mustWait() {
		c.waiting++
		c.cond.Wait()
		c.waiting--
	}
}

// Cool says that the connection has been silent for a while.
func (c *Conn) Cool() { c.warm.Store(0) }
