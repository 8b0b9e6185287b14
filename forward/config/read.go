package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const (
	longest   = 16 << 20         // bytes of a configuration
	patience  = 10 * time.Second // for the next byte of a pipe
	nobody    = time.Second      // for somebody to write to a pipe
	lookAgain = 20 * time.Millisecond
)

// readFile reads a configuration, from a pipe or a terminal too, but not for ever.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDONLY
	piped := info.Mode()&fs.ModeNamedPipe != 0
	switch {
	case piped:
		flags |= syscall.O_NONBLOCK // or the opening itself would wait
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0:
		return nil, errors.New("it is neither a file nor a pipe")
	}
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var from io.Reader = f
	if piped {
		from = &pipe{file: f, until: time.Now().Add(nobody)}
	}
	text, err := io.ReadAll(io.LimitReader(from, longest+1))
	if err == nil && len(text) > longest {
		err = fmt.Errorf("it is longer than %d bytes", longest)
	}
	return text, err
}

// pipe reads from a pipe whose writer may be about to open it, or may not exist.
type pipe struct {
	file  *os.File
	until time.Time // when somebody has to have written; zero: somebody has
}

// Read is that of io.Reader.
func (p *pipe) Read(b []byte) (int, error) {
	for {
		if err := p.file.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
			return 0, err
		}
		n, err := p.file.Read(b)
		switch {
		case n > 0:
			p.until = time.Time{}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, fmt.Errorf("it is a pipe, and nothing came from it for %v", patience)
		case err == io.EOF && !p.until.IsZero() && time.Now().Before(p.until):
			time.Sleep(lookAgain)
			continue
		case err == io.EOF && !p.until.IsZero():
			return 0, errors.New("it is a pipe that nobody writes to")
		}
		return n, err
	}
}
