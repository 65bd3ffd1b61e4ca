package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretFile(t *testing.T) {
	for _, tc := range []struct {
		name, file, more string
		secret, since    string
		err, warning     string
	}{
		{"a line", "0123456789abcdef\n", "", "0123456789abcdef", "", "", ""},
		{"since", "0123456789abcdef\nsince=2026-11-28T12:00:00Z\n", "", "0123456789abcdef", "2026-11-28T12:00:00Z", "", ""},
		{"too short", "0123456789abcde\n", "", "", "", "has 15 characters", ""},
		{"too long", strings.Repeat("x", 5000), "", "", "", "needs 16 to 4096", ""},
		{"no time", "0123456789abcdef\nsince=today", "", "", "", "the second line is not since=", ""},
		{"something else", "0123456789abcdef\nfrom", "", "", "", "the second line is not since=", ""},
		{"mixed", "0123456789abcdef\n", "zkcore.ensemble.mixed=true\n", "", "", "", "has no effect while zkcore.ensemble.mixed is true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(name, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := loadText(t, "dataDir=DATA\nclientPort=2181\nzkcore.session.secretFile="+name+"\n"+tc.more, "")
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "zkcore.session.secretFile") {
					t.Fatalf("%v", err)
				}
				if strings.Contains(err.Error(), "0123456789") {
					t.Errorf("the secret is shown: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			since := ""
			if !c.SecretSince.IsZero() {
				since = c.SecretSince.Format(time.RFC3339)
			}
			if string(c.SessionSecret) != tc.secret || since != tc.since {
				t.Errorf("%q since %q", c.SessionSecret, since)
			}
			if tc.warning == "" && len(c.Warnings) > 0 || tc.warning != "" && (len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), tc.warning)) {
				t.Errorf("warnings %v", c.Warnings)
			}
		})
	}
	if _, err := loadText(t, "dataDir=DATA\nclientPort=2181\nzkcore.session.secretFile=/no/such/file\n", ""); err == nil {
		t.Error("a file that is not there is passed over")
	}
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := loadText(t, "dataDir=DATA\nclientPort=2181\nzkcore.session.secretFile="+name+"\n", ""); err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "by everybody") {
		t.Errorf("%v, %v", c.Warnings, err)
	}
}
