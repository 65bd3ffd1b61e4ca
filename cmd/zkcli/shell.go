package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
)

// A shell holds the connection and the history of commands.
type shell struct {
	set      settings
	host     string
	zk       *client.Client
	exitCode int
	quit     bool

	history []string // every line so far; a redo stands as what it did

	mu           sync.Mutex // of what follows: events come from another goroutine
	out, err     io.Writer
	printWatches bool
}

func newShell(set settings, stdout, stderr io.Writer) *shell {
	return &shell{set: set, out: stdout, err: stderr, printWatches: true}
}

// printf prints what a command has to say. The server's events came before its reply: they are
// printed before it too.
func (sh *shell) printf(format string, args ...any) {
	sh.drain()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	fmt.Fprintf(sh.out, format, args...)
}

func (sh *shell) errorln(s string) {
	sh.drain()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	fmt.Fprintln(sh.err, s)
}

func (sh *shell) drain() {
	if sh.zk != nil {
		sh.zk.DrainEvents()
	}
}

// connect opens a session in place of the one there may be.
func (sh *shell) connect(host string) error {
	sh.closeSession()
	sh.host = host
	zk, err := client.Open(strings.Split(host, ","), sh.set.timeout, client.Options{
		ReadOnly: sh.set.readOnly,
		FailFast: true,
		OnEvent:  sh.event,
	})
	if err != nil {
		return err
	}
	sh.zk = zk
	if !sh.set.wait {
		return nil
	}
	ctx, cancel := sh.deadline()
	defer cancel()
	if err := zk.WaitConnected(ctx); err != nil {
		zk.Abandon()
		return errors.New(keeperMessage(zkerr.ConnectionLoss, ""))
	}
	return nil
}

// deadline bounds a command: without an answer for so long the session is gone anyway.
func (sh *shell) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), sh.set.timeout+sh.set.timeout/3)
}

// closeSession ends the session if there is one. The server need not be waited for long: a session
// that it does not hear of expires.
func (sh *shell) closeSession() {
	if sh.zk == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(sh.set.timeout, 5*time.Second))
	defer cancel()
	sh.zk.Close(ctx)
}

// leave ends the session without a word about it.
func (sh *shell) leave() {
	sh.mu.Lock()
	sh.printWatches = false
	sh.mu.Unlock()
	sh.closeSession()
}

func (sh *shell) alive() bool {
	if sh.zk == nil {
		return false
	}
	switch sh.zk.State() {
	case client.Closed, client.Expired, client.AuthFailed:
		return false
	}
	return true
}

// event prints what watches and the connection report.
func (sh *shell) event(e client.Event) {
	path := e.Path
	if e.Type == client.None {
		path = "null"
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.printWatches {
		fmt.Fprintf(sh.out, "\nWATCHER::\n\nWatchedEvent state:%v type:%v path:%s zxid: %d\n", e.State, e.Type, path, e.Zxid)
	}
}

func (sh *shell) prompt() string {
	state := "CLOSED"
	if sh.zk != nil {
		switch sh.zk.State() {
		case client.Disconnected:
			state = "CONNECTING"
		case client.Connected:
			state = "CONNECTED"
		case client.ConnectedReadOnly:
			state = "CONNECTEDREADONLY"
		case client.AuthFailed:
			state = "AUTH_FAILED"
		}
	}
	return fmt.Sprintf("[zk: %s(%s) %d] ", sh.host, state, len(sh.history))
}

// loop reads commands until the input ends or one of them quits.
func (sh *shell) loop(stdin io.Reader) {
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if sh.loopTerminal(f) {
			return
		}
	}
	// From a pipe the lines are shown as if they had been typed, so that what is kept of the
	// output can be read.
	r := bufio.NewScanner(stdin)
	r.Buffer(nil, 64<<20)
	for !sh.quit {
		prompt := sh.prompt()
		if !r.Scan() {
			sh.printf("%s\n", prompt)
			if err := r.Err(); err != nil {
				sh.errorln(err.Error())
				sh.exitCode = 1
			}
			return
		}
		sh.printf("%s%s\n", prompt, r.Text())
		sh.line(r.Text())
	}
}

// loopTerminal reads with line editing. It says no when the terminal can't be had.
func (sh *shell) loopTerminal(f *os.File) bool {
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{f, sh.out}, "")
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		return sh.complete(line, pos)
	}
	plainOut, plainErr := sh.out, sh.err
	for !sh.quit {
		// Raw only while a line is read: commands print as everywhere else, and Ctrl-C ends one that
		// hangs.
		state, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return false
		}
		t.SetPrompt(sh.prompt())
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			t.SetSize(w, h)
		}
		sh.mu.Lock()
		sh.out, sh.err = t, t // events meanwhile go above the line that is being edited
		sh.mu.Unlock()
		line, err := t.ReadLine()
		sh.mu.Lock()
		sh.out, sh.err = plainOut, plainErr
		sh.mu.Unlock()
		term.Restore(int(f.Fd()), state)
		if err != nil && err != term.ErrPasteIndicator {
			sh.printf("\n")
			return true
		}
		sh.line(line)
	}
	return true
}

// complete fills in a command or, in a word that begins with a slash, a znode, as far as all that
// fit agree.
func (sh *shell) complete(line string, pos int) (string, int, bool) {
	head := line[:pos]
	start := strings.LastIndexByte(head, ' ') + 1
	word := head[start:]
	var fits []string
	switch {
	case strings.HasPrefix(word, "/"):
		dir, prefix := "/", word[1:]
		if i := strings.LastIndexByte(word, '/'); i > 0 {
			dir, prefix = word[:i], word[i+1:]
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if !sh.alive() {
			return "", 0, false
		}
		r, err := sh.zk.Children(ctx, dir)
		if err != nil {
			return "", 0, false
		}
		for _, name := range r.Children {
			if strings.HasPrefix(name, prefix) {
				fits = append(fits, strings.TrimSuffix(dir, "/")+"/"+name)
			}
		}
	case start == 0:
		for name := range usages {
			if strings.HasPrefix(name, word) {
				fits = append(fits, name)
			}
		}
	}
	if len(fits) == 0 {
		return "", 0, false
	}
	common := fits[0]
	for _, f := range fits[1:] {
		for !strings.HasPrefix(f, common) {
			common = common[:len(common)-1]
		}
	}
	if len(fits) == 1 && start == 0 {
		common += " "
	}
	return line[:start] + common + line[pos:], start + len(common), true
}

var (
	wordPattern   = regexp.MustCompile(`\s*([^"']\S*|"[^"]*"|'[^']*')\s*`)
	quotedPattern = regexp.MustCompile(`^(?:'.*'|".*")$`)
)

// words splits a line. Blanks separate, and a word that begins with a quote goes on to the next one.
func words(line string) []string {
	var args []string
	for _, m := range wordPattern.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
		w := m[1]
		if len(w) >= 2 && quotedPattern.MatchString(w) {
			w = w[1 : len(w)-1]
		}
		args = append(args, w)
	}
	return args
}

// line runs one line of input.
func (sh *shell) line(line string) {
	args := words(line)
	if len(args) == 0 {
		return
	}
	sh.history = append(sh.history, line)
	sh.process(args)
}

// process runs a command, prints its error and keeps its exit code.
func (sh *shell) process(args []string) {
	err := sh.execute(args)
	sh.drain()
	if err == nil {
		if !sh.quit {
			sh.exitCode = 0
		}
		return
	}
	var fail *failure
	if !errors.As(err, &fail) {
		fail = &failure{text: message(err), code: 1}
	}
	if fail.usage {
		sh.errorln(usageText())
	}
	sh.errorln(fail.text)
	sh.exitCode = fail.code
}

// A failure is an error whose text is for the user as it stands.
type failure struct {
	text  string
	code  int
	usage bool // the list of commands goes before it
}

func (f *failure) Error() string { return f.text }

func failf(format string, args ...any) error {
	return &failure{text: fmt.Sprintf(format, args...), code: 1}
}

func (sh *shell) execute(args []string) error {
	name := args[0]
	cmd, known := commands[name]
	if _, listed := usages[name]; !known && !listed {
		return &failure{text: "Command not found: Command not found " + name, code: 127, usage: true}
	}
	switch name {
	case "quit":
		sh.quit = true
		sh.closeSession()
		return nil
	case "redo":
		if len(args) >= 2 {
			return sh.redo(args[1])
		}
	case "history":
		for i := max(0, len(sh.history)-11); i < len(sh.history); i++ {
			sh.printf("%d - %s\n", i, sh.history[i])
		}
	case "printwatches":
		sh.mu.Lock()
		on := sh.printWatches
		if len(args) > 1 {
			sh.printWatches = args[1] == "on"
		}
		sh.mu.Unlock()
		if len(args) == 1 {
			word := "off"
			if on {
				word = "on"
			}
			sh.printf("printwatches is %s\n", word)
		}
	case "connect":
		host := sh.host
		if len(args) >= 2 {
			host = args[1]
		}
		if err := sh.connect(host); err != nil {
			return err
		}
	}
	if !sh.alive() {
		sh.printf("Not connected\n")
		return nil
	}
	if !known {
		return nil
	}
	opts, err := parseOptions(cmd.options, args)
	if err != nil {
		return err
	}
	ctx, cancel := sh.deadline()
	defer cancel()
	return cmd.run(&call{shell: sh, ctx: ctx, cmd: cmd, raw: args, opts: opts})
}

// redo runs a line of the history again. Its own line becomes that line.
func (sh *shell) redo(arg string) error {
	n, err := strconv.ParseInt(arg, 0, 32)
	if err != nil || n < 0 || int(n) >= len(sh.history)-1 {
		return failf("Command index out of range")
	}
	line := sh.history[n]
	args := words(line)
	if args[0] == "redo" {
		return failf("No redoing redos")
	}
	sh.history[len(sh.history)-1] = line
	sh.process(args)
	if !sh.alive() && !sh.quit {
		sh.printf("Not connected\n")
	}
	return nil
}
