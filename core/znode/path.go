package znode

import (
	"strconv"
	"strings"
)

// The znodes that every tree has and that can't be deleted.
const (
	Root      = "/"
	ZooKeeper = "/zookeeper"
	Quota     = "/zookeeper/quota"
	Config    = "/zookeeper/config"
)

// Special says whether path is one of them.
func Special(path string) bool {
	switch path {
	case Root, ZooKeeper, Quota, Config:
		return true
	}
	return false
}

// Parent is the path of the znode above path: what is before the last slash,
// with "/" for the root. There must be a slash.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return Root
}

// Sequential is the name of a sequential znode: the counter of the parent behind
// the path, in ten digits at least, with its sign if it has passed 2³¹.
func Sequential(path string, counter int32) string {
	var buf [16]byte
	b := buf[:0]
	v := int64(counter)
	if v < 0 {
		b, v = append(b, '-'), -v
	}
	var digits [10]byte
	d := strconv.AppendInt(digits[:0], v, 10)
	for n := len(b) + len(d); n < 10; n++ {
		b = append(b, '0')
	}
	b = append(b, d...)
	return path + string(b)
}
