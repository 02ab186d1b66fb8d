package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// startMark is what a start mark says: which process, by pid and start time,
// started which order.
type startMark struct {
	PID        int           `json:"pid"`
	StartTicks uint64        `json:"start_ticks"` // field 22 of /proc/PID/stat
	At         time.Time     `json:"at"`
	Order      broker.Digest `json:"order"`
}

// writeMark makes the start mark durable, or refuses because it exists. From
// here on the attempt is never started again.
func writeMark(a attempt, digest broker.Digest, now time.Time) error {
	ticks, err := startTicks()
	if err != nil {
		return failed(codeInternal, "the launcher does not know its own start time", err)
	}
	b, err := json.Marshal(startMark{PID: os.Getpid(), StartTicks: ticks, At: now.UTC(), Order: digest})
	if err != nil {
		return failed(codeInternal, "the start mark cannot be encoded", err)
	}
	f, err := os.OpenFile(a.mark(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if errors.Is(err, fs.ErrExist) {
		return order.Refuse(order.CodeSecondStart, "", err)
	}
	if err != nil {
		return failed(codeInternal, "the start mark cannot be made", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(a.mark()))); err != nil {
		return failed(codeInternal, "the start mark is not durable", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the attempt's own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func startTicks() (uint64, error) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before may hold anything
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/self/stat has %d fields", len(f))
	}
	return strconv.ParseUint(string(f[19]), 10, 64)
}
