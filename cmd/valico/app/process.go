package app

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// process is one process of this machine.
type process struct {
	pid, parent int
	name        string
}

// descendants lists the processes that this one started, and theirs, in order.
func descendants() ([]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]process{}
	for _, path := range stats {
		b, err := os.ReadFile(path) //nolint:gosec // a fixed place
		if err != nil {
			continue // it ended
		}
		if p, ok := parseStat(string(b)); ok {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	var out []process
	for next := []int{os.Getpid()}; len(next) > 0; next = next[1:] {
		for _, p := range children[next[0]] {
			out, next = append(out, p), append(next, p.pid)
		}
	}
	slices.SortFunc(out, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return out, nil
}

// parseStat reads "pid (name) state parent …"; a name may hold anything.
func parseStat(s string) (process, bool) {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 1 || end < open {
		return process{}, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(s[:open]))
	fields := strings.Fields(s[end+1:])
	if err != nil || len(fields) < 2 {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return process{pid: pid, parent: parent, name: s[open+1 : end]}, err == nil
}

// listeners lists where this process listens: TCP addresses and paths of Unix
// sockets.
func listeners() ([]string, error) {
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list open files: %w", err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil {
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				mine[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	var out []string
	for _, file := range []string{"tcp", "tcp6", "unix"} {
		f, err := os.Open("/proc/self/net/" + file) //nolint:gosec // one of the three names above
		if err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if at, inode, ok := listening(file, strings.Fields(lines.Text())); ok && mine[inode] {
				out = append(out, at)
			}
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// listening reads a line of /proc/net: where a socket listens, and its inode.
func listening(file string, fields []string) (at, inode string, ok bool) {
	if file == "unix" { // Num RefCount Protocol Flags Type St Inode Path; flag 00010000 is one that accepts
		if len(fields) < 8 || fields[3] != "00010000" {
			return "", "", false
		}
		return "unix " + fields[7], fields[6], true
	}
	if len(fields) < 10 || fields[3] != "0A" { // TCP_LISTEN
		return "", "", false
	}
	addr, port, found := strings.Cut(fields[1], ":")
	b, err := hex.DecodeString(addr)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !found || err != nil || perr != nil || len(b)%4 != 0 {
		return "", "", false
	}
	for i := 0; i < len(b); i += 4 { // words of the host's byte order, which is little-endian wherever GPUs are
		slices.Reverse(b[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return "", "", false
	}
	return "tcp " + netip.AddrPortFrom(ip.Unmap(), uint16(n)).String(), fields[9], true
}

// walkMost bounds how many files one report looks at.
const walkMost = 200_000

// kept sums the files below a folder by their first path element; whole is false
// when there were too many to look at, or some could not be.
func kept(dir string) (sizes map[string]int64, whole bool) {
	sizes, whole = map[string]int64{}, true
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			whole = false
			return nil //nolint:nilerr // what cannot be read is said to be so, and the rest is summed
		}
		rel, _ := filepath.Rel(dir, path) // path is below dir
		top, _, _ := strings.Cut(rel, "/")
		if rel == "." {
			return nil
		}
		if n++; n > walkMost {
			whole = false
			return fs.SkipAll
		}
		size := int64(0)
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			size = fi.Size()
		}
		sizes[top] += size
		return nil
	})
	return sizes, whole && err == nil
}

// capabilities are the effective capabilities of this process, as the kernel
// writes them.
func capabilities() (string, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", fmt.Errorf("read capabilities: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("read capabilities: the kernel does not say")
}
