package nemesis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/test/harness"
	"github.com/zkcore/zkcore/test/history"
)

// An archive keeps the transaction logs of a run. A server that takes a snapshot from another
// removes its log, and when all have done so once nobody has the beginning any more. So each log
// file that shows up gets a second name, which keeps it.
//
// A file kept that way may have an end that was never committed. Which it is shows where the next
// epoch begins: nobody logs a transaction of an epoch before it has been brought up to date with
// that epoch's leader, so what stands before the first one of an epoch, in one server's log at one
// moment, is the end of the committed history before it.
type archive struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	files map[uint64]string  // by inode, of all servers: where it is kept
	pairs map[[2]uint64]bool // files that stood one behind the other in a server's log
	bad   map[uint64]bool    // files of a server whose files were spoiled, as they were then
}

// archiveDir is beside version-2, since a second name must be on the same disk.
const archiveDir = "archive"

func newArchive(e *harness.Ensemble) *archive {
	a := &archive{stop: make(chan struct{}), files: make(map[uint64]string), pairs: make(map[[2]uint64]bool), bad: make(map[uint64]bool)}
	for _, s := range e.Servers {
		a.wg.Go(func() {
			for {
				a.look(s)
				select {
				case <-a.stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return a
}

// close ends the archive, behind a last look.
func (a *archive) close(e *harness.Ensemble) {
	close(a.stop)
	a.wg.Wait()
	for _, s := range e.Servers {
		a.look(s)
	}
}

// look keeps the log files that a server has now. Any of it may fail: files go while it looks, and
// disks are full.
func (a *archive) look(s *harness.Server) {
	dir := filepath.Join(s.DataDir, txnlog.VersionDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var live []logFile
	for _, e := range entries {
		hex, ok := strings.CutPrefix(e.Name(), "log.")
		zxid, err := strconv.ParseUint(hex, 16, 64)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return // its place between the others is not known
		}
		live = append(live, logFile{zxid, inode(s, info), e.Name()})
	}
	slices.SortFunc(live, func(x, y logFile) int { return int(min(max(int64(x.zxid-y.zxid), -1), 1)) })
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := filepath.Join(s.DataDir, archiveDir)
	for i, f := range live {
		if a.files[f.inode] == "" {
			if os.Mkdir(kept, 0o755) != nil && !isDir(kept) {
				return
			}
			to := filepath.Join(kept, fmt.Sprintf("%s.%d", f.name, len(a.files)))
			if os.Link(filepath.Join(dir, f.name), to) != nil {
				continue
			}
			a.files[f.inode] = to
		}
		if i > 0 && a.files[live[i-1].inode] != "" {
			a.pairs[[2]uint64{live[i-1].inode, f.inode}] = true
		}
	}
}

// A logFile is one of a server's.
type logFile struct {
	zxid  uint64
	inode uint64
	name  string
}

// inode names a file among those of all servers, whose disks may be different ones.
func inode(s *harness.Server, info fs.FileInfo) uint64 {
	return info.Sys().(*syscall.Stat_t).Ino | uint64(s.ID)<<56
}

// spoil lets somebody change a server's files behind its back: those that are new then are not what
// the server wrote.
func (a *archive) spoil(s *harness.Server, change func()) {
	a.look(s)
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	files, _ := filepath.Glob(filepath.Join(s.DataDir, txnlog.VersionDir, "log.*"))
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && a.files[inode(s, info)] == "" {
			a.bad[inode(s, info)] = true
		}
	}
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// txns returns all that was committed, from the first one on, as the kept files and the logs of the
// servers, which have been stopped, have it. It is nil if some of it can't be told. What two files
// have under one zxid must be equal.
//
// It reads the files by itself, as they are described: the servers' own reader starts at a
// snapshot, and repairs what it finds.
func (w *world) txns() []history.Txn {
	a := w.archive
	a.close(w.e)
	all := make(map[int64][]byte)
	ends := make(map[int64]int64)    // of an epoch: its last committed zxid
	firsts := make(map[uint64]int64) // of a file
	lasts := make(map[uint64]int64)
	boundary := func(last, next int64) {
		if epoch := last >> 32; epoch < next>>32 {
			if other, ok := ends[epoch]; ok && other != last {
				w.t.Errorf("epoch %d ends at 0x%x in one log and at 0x%x in another", epoch, other, last)
			}
			ends[epoch] = last
		}
	}
	for inode, name := range a.files {
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Error(err)
			continue
		}
		err = readLog(b, func(zxid int64, data []byte) {
			if other, ok := all[zxid]; ok && !bytes.Equal(other, data) {
				w.t.Errorf("%s has another transaction as 0x%x than another log", name, zxid)
			}
			all[zxid] = data
			if last, ok := lasts[inode]; ok {
				boundary(last, zxid)
			} else {
				firsts[inode] = zxid
			}
			lasts[inode] = zxid
		})
		if err != nil && !a.bad[inode] {
			w.t.Errorf("%s: %v", name, err)
		}
	}
	for pair := range a.pairs {
		last, ok := lasts[pair[0]]
		first, ok2 := firsts[pair[1]]
		// A file that was damaged by being taken away may have stood between the two.
		between := false
		for other, z := range firsts {
			between = between || other>>56 == pair[0]>>56 && last < z && z < first
		}
		if ok && ok2 && last < first && !a.bad[pair[0]] && !between {
			boundary(last, first)
		}
	}
	zxids := slices.Sorted(maps.Keys(all))
	if len(zxids) == 0 {
		w.t.Error("nobody has a log")
		return nil
	}
	newest := zxids[len(zxids)-1] >> 32
	out := []history.Txn{}
	prev := int64(0)
	for _, zxid := range zxids {
		end, known := ends[zxid>>32]
		switch {
		case known && zxid > end:
			continue // it was never committed
		case zxid == prev+1 && prev > 0, zxid>>32 > prev>>32 && zxid&0xffffffff == 1 && (prev == 0 || ends[prev>>32] == prev):
		default:
			w.t.Logf("the logs don't tell what was committed between 0x%x and 0x%x (end of that epoch: 0x%x): judged without them", prev, zxid, ends[prev>>32])
			return nil
		}
		if !known && zxid>>32 < newest {
			w.t.Logf("the logs don't tell where epoch %d ends: judged without them", zxid>>32)
			return nil
		}
		out = append(out, history.Txn{Zxid: zxid, Data: all[zxid]})
		prev = zxid
	}
	return out
}

// sameLogs compares what the servers, which have been stopped, have in their logs now: what one
// has as a zxid all have as that, and none has a hole.
func (w *world) sameLogs() {
	all := make(map[int64][]byte)
	for _, s := range w.e.Servers {
		dir := filepath.Join(s.DataDir, txnlog.VersionDir)
		files, err := filepath.Glob(filepath.Join(dir, "log.*"))
		if err != nil || len(files) == 0 {
			w.t.Errorf("server %d has no log: %v", s.ID, err)
			continue
		}
		slices.SortFunc(files, func(x, y string) int {
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			return strings.Compare(x, y)
		})
		prev := int64(0)
		for _, file := range files {
			b, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = readLog(b, func(zxid int64, data []byte) {
					if other, ok := all[zxid]; ok && !bytes.Equal(other, data) {
						w.t.Errorf("server %d has another transaction as 0x%x than a server before it", s.ID, zxid)
					}
					all[zxid] = data
					if prev > 0 && zxid > prev+1 && zxid&0xffffffff != 1 && !w.damaged[s.ID] {
						w.t.Errorf("%s: 0x%x comes after 0x%x", file, zxid, prev)
					}
					prev = max(prev, zxid)
				})
			}
			// Below its snapshot a server does not read: damage there stays.
			if err != nil && !w.damaged[s.ID] {
				w.t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// readLog calls take with each record of a log file.
func readLog(b []byte, take func(zxid int64, data []byte)) error {
	const head, frame = 16, 12
	if len(b) < head || string(b[:4]) != "ZKLG" {
		if len(bytes.TrimRight(b, "\x00")) == 0 {
			return nil // it was begun and nothing written
		}
		return errors.New("it does not begin as a log does")
	}
	for at := head; at+frame <= len(b); {
		sum, n := binary.BigEndian.Uint64(b[at:]), int(int32(binary.BigEndian.Uint32(b[at+8:])))
		if n == 0 {
			return nil
		}
		if n < 0 || at+frame+n+1 > len(b) {
			return fmt.Errorf("offset %d: a record of %d bytes", at, n)
		}
		body := b[at+frame : at+frame+n]
		if uint64(adler32.Checksum(body)) != sum || b[at+frame+n] != 'B' {
			return fmt.Errorf("offset %d: a record whose checksum or end is wrong", at)
		}
		take(int64(binary.BigEndian.Uint64(body[12:])), body)
		at += frame + n + 1
	}
	return nil
}
