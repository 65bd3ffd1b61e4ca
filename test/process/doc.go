// Package process is tests only: see main_test.go.
package process

import "time"

// waitForIt is a time within which every module answers, however busy the machine is.
const waitForIt = 60 * time.Second
