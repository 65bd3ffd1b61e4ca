// Command zkcli is the shell: it runs one command, or reads commands from a terminal or a pipe. Its
// words, outputs and exit codes are those of Apache's zkCli.sh.
//
//	zkcli -server host:2181[,host:2181…][/chroot] get -s /a
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// settings are the flags before the command.
type settings struct {
	server   string
	timeout  time.Duration
	readOnly bool
	wait     bool
	command  []string // empty: read commands
}

// parseSettings reads flags up to the first word that is none. As in Apache's shell a flag that is
// not known is passed over.
func parseSettings(args []string) (settings, error) {
	s := settings{server: "localhost:2181", timeout: 30 * time.Second}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		value := func() (string, error) {
			if i++; i >= len(args) {
				return "", fmt.Errorf("Error: no argument found for option %s", arg)
			}
			return args[i], nil
		}
		switch arg {
		case "-server":
			v, err := value()
			if err != nil {
				return s, err
			}
			s.server = v
		case "-timeout":
			v, err := value()
			if err != nil {
				return s, err
			}
			ms, err := strconv.ParseInt(v, 10, 32)
			if err != nil || ms <= 0 {
				return s, fmt.Errorf("Error: -timeout %s is not a number of milliseconds", v)
			}
			s.timeout = time.Duration(ms) * time.Millisecond
		case "-client-configuration":
			if _, err := value(); err != nil {
				return s, err
			}
			return s, fmt.Errorf("Error: -client-configuration is not supported")
		case "-r":
			s.readOnly = true
		case "-waitforconnection":
			s.wait = true
		default:
			if !strings.HasPrefix(arg, "-") {
				s.command = args[i:]
				return s, nil
			}
		}
	}
	return s, nil
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	set, err := parseSettings(args)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	sh := newShell(set, stdout, stderr)
	defer sh.leave()
	sh.printf("Connecting to %s\n", set.server)
	if err := sh.connect(set.server); err != nil {
		sh.errorln(err.Error())
		return 1
	}
	if len(set.command) > 0 {
		sh.process(set.command)
		return sh.exitCode
	}
	sh.printf("Welcome to ZooKeeper!\nJLine support is enabled\n")
	sh.loop(stdin)
	return sh.exitCode
}
