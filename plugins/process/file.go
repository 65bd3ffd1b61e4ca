package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-plugin"
)

// CheckDir says whether dir may hold modules: it is a directory and no link, by an absolute
// path, and nobody but its owner and group can put something into it.
func CheckDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%s is not an absolute path", dir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a link", dir)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s can be written to by everybody (mode %04o)", dir, info.Mode().Perm())
	}
	return nil
}

// CheckFile says the same of a module's file, and of the directory that it is in.
func CheckFile(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s is not an absolute path", path)
	}
	if err := CheckDir(filepath.Dir(path)); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a link", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s can't be executed (mode %04o)", path, info.Mode().Perm())
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s can be written to by everybody (mode %04o)", path, info.Mode().Perm())
	}
	return nil
}

// Sum is the SHA-256 of a file, in hex.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// verify opens a module's file, if it is the one that the configuration names. What is
// started is what was opened: the name may mean another file by then.
func verify(path, sum string) (*os.File, error) {
	if err := CheckFile(path); err != nil {
		return nil, err
	}
	if sum == "" {
		have, err := Sum(path)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("no checksum is configured; the file's is sha256 %s", have)
	}
	want, err := hex.DecodeString(strings.TrimSpace(sum))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("%q is not a SHA-256 in hex", sum)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	secure := plugin.SecureConfig{Checksum: want, Hash: sha256.New()}
	ok, err := secure.Check(opened(f))
	if err == nil && !ok {
		err = fmt.Errorf("its SHA-256 is not the configured one, %s", hex.EncodeToString(want))
		if have, serr := Sum(opened(f)); serr == nil {
			err = fmt.Errorf("its SHA-256 is %s, and the configured one %s", have, hex.EncodeToString(want))
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
