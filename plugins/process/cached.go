package process

import (
	"log/slog"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/behind"
)

// CachedStorage is Storage with what makes a read seldom cross, and a commit wait for nothing: a
// cache of so many bytes, and commits that are written behind.
func CachedStorage(cfg Config, cacheBytes int64, log *slog.Logger) storage.Open {
	open := Storage(cfg)
	return func(sc storage.Config) (storage.Store, error) {
		s, err := open(sc)
		if err != nil {
			return nil, err
		}
		fail := sc.Fail
		return behind.Open(s, behind.Options{CacheBytes: cacheBytes, Fail: func(err error) {
			log.Error("what is committed can't be written to the store any more", "error", err)
			if fail != nil {
				fail(err)
			}
		}})
	}
}
