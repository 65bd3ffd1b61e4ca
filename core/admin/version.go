package admin

import (
	"runtime/debug"
	"time"
)

// Compat is the release of Apache ZooKeeper whose behaviour this is. Clients
// parse it out of srvr and choose by it what they may use.
const Compat = "3.9.5"

// Set by the linker; see the Makefile.
var (
	version  = ""
	revision = ""
	built    = ""
)

// builtLayout is the form of the build time that clients know.
const builtLayout = "01/02/2006 15:04 MST"

// Release is zkcore's own version.
func Release() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// VersionText is what follows "Zookeeper version: " in srvr: Apache's number,
// ours and the revision, and when it was built.
func VersionText() string {
	rev, when := revision, built
	if info, ok := debug.ReadBuildInfo(); ok && (rev == "" || when == "") {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && rev == "" && len(s.Value) >= 12:
				rev = s.Value[:12]
			case s.Key == "vcs.time" && when == "":
				if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
					when = t.UTC().Format(builtLayout)
				}
			}
		}
	}
	if rev == "" {
		rev = "unknown"
	}
	if when == "" {
		when = time.Unix(0, 0).UTC().Format(builtLayout)
	}
	return Compat + "-zkcore-" + Release() + "-" + rev + ", built on " + when
}
