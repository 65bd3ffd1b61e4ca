package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// A child is a module's process. It is known by its handle, never by its number: nobody else
// can be meant.
type child struct {
	cmd     *exec.Cmd
	file    *os.File   // what is started
	sockets []*os.File // what a member's frames travel on, its end of it; nil: it has none
	args    []string
	running *Running
	path    string
	stdin   *os.File // closing it tells the module to end
	stdout  *os.File
	log     *logReader

	// go-plugin waits for some things without end: who stops answering meanwhile is killed
	// when that is over, and so is the wait.
	late  time.Duration
	timer *time.Timer

	killOnce sync.Once
	stopOnce sync.Once
	done     chan struct{} // closed when the process is dead and waited for
	err      error         // how it ended; read after done
}

var _ runner.Runner = (*child)(nil)

// Start starts the process. It is the child of the thread that starts it: on Linux it gets a
// signal when that thread ends, so the thread is kept until the process is dead.
func (c *child) Start(context.Context) error {
	in, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		return err
	}
	stderr, errs, err := os.Pipe()
	if err != nil {
		return err
	}
	theirs := []*os.File{in, out, errs, c.file}
	program, err := apart(c.file, append([]*os.File{in, out, errs}, c.sockets...))
	if err != nil {
		closeAll(append(theirs, c.sockets...))
		closeAll([]*os.File{stdin, stdout, stderr})
		close(c.done)
		return err
	}
	theirs = append(theirs, program)
	c.cmd.Path, c.cmd.Args = opened(program), append([]string{c.path}, c.args...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, out, errs
	if c.sockets != nil {
		theirs = append(theirs, c.sockets...)
		c.cmd.ExtraFiles = c.sockets
		c.cmd.Env = append(c.cmd.Env, fmt.Sprintf("%s=%d", socketKey, 3)) // behind stdin, stdout and stderr
	}
	c.cmd.SysProcAttr = attributes()
	c.stdin, c.stdout = stdin, stdout

	keepOwn()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		relax()
		err := c.cmd.Start()
		for _, f := range theirs {
			f.Close()
		}
		started <- err
		if err != nil {
			return
		}
		c.err = c.cmd.Wait()
		c.log.wait(time.Second) // its last words, if nobody else holds its stderr open
		stderr.Close()
		stdout.Close()
		c.stop()
		close(c.done)
	}()
	if err := <-started; err != nil {
		stdin.Close()
		stdout.Close()
		stderr.Close()
		close(c.done)
		return err
	}
	c.running.add(c)
	c.timer = time.AfterFunc(c.late, c.kill)
	go c.log.run(stderr)
	return nil
}

// inTime ends the time that a start may take. It says whether it has not passed yet.
func (c *child) inTime() bool { return c.timer == nil || c.timer.Stop() }

// stop closes the process's stdin, which asks it to end.
func (c *child) stop() {
	c.stopOnce.Do(func() { c.stdin.Close() })
}

// kill ends the process, whatever it is doing. It does not wait.
func (c *child) kill() {
	c.killOnce.Do(func() {
		if p := c.cmd.Process; p != nil {
			p.Kill()
		}
	})
}

// end gives the process a while to end by itself, kills it if it does not, and returns when
// it is dead.
func (c *child) end(patience time.Duration) {
	c.stop()
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case <-c.done:
			return
		case <-t.C:
		}
	}
	c.kill()
	<-c.done
}

// how is how the process ended, in one line.
func (c *child) how() error {
	if c.err == nil {
		return errors.New("the process has ended by itself")
	}
	if word := c.log.lastWord(); word != "" {
		return fmt.Errorf("the process has ended (%v): %s", c.err, word)
	}
	return fmt.Errorf("the process has ended (%v)", c.err)
}

// The rest is what go-plugin wants of a runner.

func (c *child) Wait(context.Context) error { <-c.done; return c.err }
func (c *child) Kill(context.Context) error { c.kill(); <-c.done; return nil }
func (c *child) Stdout() io.ReadCloser      { return c.stdout }
func (c *child) Name() string               { return c.path }

// Stderr has nothing for go-plugin: the log is read here.
func (c *child) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

func (c *child) ID() string {
	if c.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(c.cmd.Process.Pid)
}

func (c *child) Diagnose(context.Context) string { return c.log.lastWord() }

func (c *child) PluginToHost(network, addr string) (string, string, error) {
	if network != "unix" {
		return "", "", fmt.Errorf("it listens on %s, and not on a socket in its own directory", network)
	}
	return network, addr, nil
}

func (c *child) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
