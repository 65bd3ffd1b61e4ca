//go:build !unix

package conn

func (c *Conn) openRaw() {}

func (c *Conn) read() (int, error) { return c.readPlain() }

func (c *Conn) write(b []byte, wait bool) ([]byte, error) { return c.writePlain(b, wait) }

func descriptors() (conns, spare int) { return 0, unlimited }
