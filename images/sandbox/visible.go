//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"strings"
)

// Visible reports whether other users of this machine can look at a workload's
// process from outside, and what /proc is mounted with. Where they can, they
// read its command line and, in its mountinfo, where each mount comes from and
// goes to; nothing inside a sandbox can hide that.
func Visible() (visible bool, found string, err error) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return true, "", fmt.Errorf("read what is mounted: %w", err)
	}
	visible, found = visibleIn(string(b))
	return visible, found, nil
}

// visibleIn reads the options of the uppermost /proc in a table of mounts.
func visibleIn(mounts string) (visible bool, found string) {
	visible, found = true, "no /proc of its own"
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 4 || f[1] != "/proc" || f[2] != "proc" {
			continue
		}
		visible, found = true, "hidepid=off"
		for o := range strings.SplitSeq(f[3], ",") {
			switch o {
			case "hidepid=1", "hidepid=noaccess", "hidepid=2", "hidepid=invisible", "hidepid=4", "hidepid=ptraceable":
				visible, found = false, o
			}
		}
	}
	return visible, found
}
