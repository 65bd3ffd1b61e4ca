package conn

import "fmt"

// Large requests are those longer than Config.LargeOver. What they have in all, from when
// one is read until it is answered, is bounded by Config.MaxLarge; a connection that asks
// for more is closed.

// IsLarge says whether a frame of that length is one.
func (s *Server) IsLarge(n int) bool { return s.cfg.LargeOver > 0 && n > s.cfg.LargeOver }

// TakeLarge counts a large frame that was read. An error says that there is no room for it.
func (s *Server) TakeLarge(n int) error {
	if s.underWay.Add(int64(n)) > s.cfg.MaxLarge {
		s.underWay.Add(-int64(n))
		return s.tooLarge(n)
	}
	return nil
}

// GiveLarge says that a large frame has been answered, or never will be.
func (s *Server) GiveLarge(n int) { s.underWay.Add(-int64(n)) }

// mayRead says whether there would be room for a frame that is coming.
func (s *Server) mayRead(n int) error {
	if s.IsLarge(n) && s.underWay.Load()+int64(n) > s.cfg.MaxLarge {
		return s.tooLarge(n)
	}
	return nil
}

func (s *Server) tooLarge(n int) error {
	s.add("large_requests_rejected", 1)
	return fmt.Errorf("a request of %d bytes, and more large ones than largeRequestMaxBytes, %d, under way already", n, s.cfg.MaxLarge)
}
