//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// readOOM is how many out-of-memory kills the memory cgroup of this process
// has counted; 0 where nothing counts them.
func readOOM() int {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if f[1] == "" {
			if n, ok := counter(filepath.Join("/sys/fs/cgroup", f[2], "memory.events")); ok {
				return n
			}
		}
		if f[1] == "memory" {
			if n, ok := counter(filepath.Join("/sys/fs/cgroup/memory", f[2], "memory.oom_control")); ok {
				return n
			}
		}
	}
	return 0
}

func counter(path string) (int, bool) {
	b, err := os.ReadFile(path) //nolint:gosec // a file of the cgroup file system
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			n, err := strconv.Atoi(v)
			return n, err == nil
		}
	}
	return 0, false
}
