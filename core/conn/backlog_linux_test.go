package conn

import (
	"net"
	"syscall"
	"testing"
	"unsafe"
)

// TestBacklog: the queue of connections that wait to be accepted is as long as is asked for.
func TestBacklog(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := setBacklog(l, 7); err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info [104]byte
	size := uint32(len(info))
	raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			t.Error(errno)
		}
	})
	// Of a listener tcpi_sacked is the length of its queue.
	if n := *(*uint32)(unsafe.Pointer(&info[28])); n != 7 {
		t.Errorf("the queue takes %d", n)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
