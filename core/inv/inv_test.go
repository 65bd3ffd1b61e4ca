package inv

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckThatHolds(t *testing.T) {
	Check("I01", true, "never printed %d", 1)
}

func TestCheckNamesTheInvariant(t *testing.T) {
	defer func() {
		err, ok := recover().(error)
		if !ok {
			t.Fatal("a broken invariant did not panic with an error")
		}
		var b Broken
		if !errors.As(err, &b) || b.No != "I22" {
			t.Errorf("panic value is %#v", err)
		}
		if want := "I22"; !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "txn 7 after close") {
			t.Errorf("line is %q", err)
		}
	}()
	Check("I22", false, "txn %d after close", 7)
}
