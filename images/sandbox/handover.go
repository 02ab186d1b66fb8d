//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The names by which a program recognises that it is the helper. They are all
// that its argv says.
const (
	nameSetup     = "sandbox-setup"
	namePivot     = "sandbox-pivot"
	nameSupervise = "sandbox-supervise"
)

// Files of the helper, beside stdin, stdout and stderr.
const (
	fdHandover = 3 + iota // sealed memfd: a handover as JSON
	fdControl             // bytes from the launcher; its end means that the launcher is gone
	fdStatus              // messages to the launcher, one JSON value each
	fdMetrics             // only when the handover says so
	fdGo                  // between the supervisor and the one that pivots
)

// controlTerm asks the supervisor to send TERM to the workload. A byte with the
// top bit set asks it to send the signal of that number to its first process.
const (
	controlTerm   = 'T'
	controlSignal = 0x80
)

// handover is everything the helper needs to know.
type handover struct {
	Plain      bool // isolation none
	Probe      bool // set up, then end
	Root       string
	Mounts     []Mount
	Out        string
	Ckpt       string
	Env        []string
	Argv       []string
	Program    string // host path of the program, when Plain
	WorkDir    string
	Hostname   string
	TmpSizeMiB int
	Metrics    bool
	// NodeNetwork says that there is no network namespace of its own.
	NodeNetwork bool
}

// message is what the helper tells the launcher.
type message struct {
	Started bool
	Ended   bool
	Exit    int
	Signal  int
	Step    string // a step that failed
	Error   string
	Errno   int
}

func (h handover) file() (*os.File, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("sandbox", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sandbox")
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(fmt.Errorf("seal memfd: %w", err), f.Close())
	}
	return f, nil
}

// readHandover leaves the file open, for the next stage to read again.
func readHandover() (handover, error) {
	var h handover
	b, err := io.ReadAll(io.NewSectionReader(fdReader(fdHandover), 0, 16<<20))
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(b, &h)
}

// fdReader reads a file that stays open whatever the garbage collector thinks.
type fdReader int

func (r fdReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := unix.Pread(int(r), b, off)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

func tell(m message) {
	b, err := json.Marshal(m)
	if err != nil {
		return // a message of plain fields always encodes
	}
	_, _ = unix.Write(fdStatus, append(b, '\n')) // nobody to tell when the launcher is gone; the lifeline ends us
}

// fail tells the launcher which step failed and ends the helper.
func fail(step string, err error) {
	m := message{Step: step, Error: err.Error()}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		m.Errno = int(errno)
	}
	tell(m)
	unix.Exit(70)
}

func (m message) err() error {
	if m.Step == "" {
		return nil
	}
	if m.Errno == 0 {
		return &SetupError{Step: m.Step, Err: errors.New(m.Error)}
	}
	return &SetupError{Step: m.Step, Err: &remoteError{text: m.Error, errno: unix.Errno(m.Errno)}}
}

// remoteError is an error of the helper with its errno.
type remoteError struct {
	text  string
	errno unix.Errno
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.errno }

// procFD is a path that names an open file exactly, whatever is mounted or
// linked on the way to it.
func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
