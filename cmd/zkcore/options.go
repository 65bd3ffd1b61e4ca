package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zkcore/zkcore/core/config"
)

// options are what the command line says.
type options struct {
	file       string
	consensus  string
	storage    string
	set        []string
	properties []string
	crashes    int
}

func (o *options) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.file, "config", "", "the configuration file, zoo.cfg")
	fs.StringVar(&o.consensus, "consensus", "", "what orders the writes: raft or zab, or the path of a module's program")
	fs.StringVar(&o.storage, "storage", "", "what keeps the znodes: mem, bolt, or the path of a module's program")
	fs.StringArrayVar(&o.set, "set", nil, "a key of zoo.cfg, as key=value (may be repeated)")
	fs.IntVar(&o.crashes, crashesFlag, 0, "")
	_ = fs.MarkHidden(crashesFlag)
	fs.StringArrayVarP(&o.properties, "define", "D", nil, "one of Apache's properties, as -Dname=value (may be repeated)")
}

// load puts the sources over each other: flags over environment over file over
// properties.
func (o *options) load(fs *pflag.FlagSet, args []string, environ []string) (*config.Config, error) {
	var flags config.Settings
	flag := func(key, text, name string) {
		flags.Put(config.Value{Key: key, Text: text, Origin: config.Origin{Name: name}})
	}
	file := o.file
	if n, err := strconv.Atoi(first(args)); err == nil && len(args) >= 2 {
		// The form of old: PORT DATADIR [TICKTIME] [MAXCNXNS].
		flag("clientPort", strconv.Itoa(n), "first argument")
		flag("dataDir", args[1], "second argument")
		if len(args) > 2 {
			flag("tickTime", args[2], "third argument")
		}
		if len(args) > 3 {
			flag("maxClientCnxns", args[3], "fourth argument")
		}
	} else if len(args) > 0 {
		if len(args) > 1 || file != "" {
			return nil, &config.Error{Reason: fmt.Sprintf("one configuration file is enough: %s", strings.Join(args, " "))}
		}
		file = args[0]
	}
	for _, kv := range o.set {
		key, text, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, &config.Error{Origin: config.Origin{Name: "flag --set"}, Reason: fmt.Sprintf("%q is not key=value", kv)}
		}
		flag(key, text, "flag --set")
	}
	if fs.Changed("consensus") {
		flag("consensus", o.consensus, "flag --consensus")
	}
	if fs.Changed("storage") {
		flag("storage", o.storage, "flag --storage")
	}
	properties, warnings := config.FromProperties(o.properties)
	env, more := config.FromEnviron(environ)
	cfg, err := config.OpenWith(file, properties, env, flags)
	if err != nil && file == "" {
		return nil, fmt.Errorf("no configuration file is given (--config=conf/zoo.cfg), and so: %w", err)
	}
	if err != nil {
		return nil, err
	}
	cfg.Warnings = append(append(cfg.Warnings, warnings...), more...)
	return cfg, nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
