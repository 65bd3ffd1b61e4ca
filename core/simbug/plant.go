//go:build simbug

package simbug

import bug "github.com/zkcore/zkcore/plugins/simbug"

// Plant makes name the mistake to be made from now on; "" is none. Nothing that asks On may
// run meanwhile.
func Plant(name string) { bug.Plant(name) }
