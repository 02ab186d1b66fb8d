//go:build linux

package sandbox

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOtherUsersSeeAWorkloadUnlessProcHidesIt(t *testing.T) {
	t.Parallel()
	for options, visible := range map[string]bool{
		"rw,relatime":                    true,
		"rw,nosuid,hidepid=0":            true,
		"rw,hidepid=off":                 true,
		"rw,hidepid=3":                   true, // nobody knows it
		"rw,gid=9,hidepid=invisible":     false,
		"rw,hidepid=2":                   false,
		"rw,hidepid=1,gid=9":             false,
		"rw,hidepid=noaccess":            false,
		"rw,hidepid=ptraceable,relatime": false,
	} {
		got, _ := visibleIn("sys /sys sysfs rw,hidepid=2 0 0\nproc /proc proc " + options + " 0 0\nx /x proc rw,hidepid=2 0 0\n")
		require.Equal(t, visible, got, options)
	}
	got, _ := visibleIn("proc /proc proc rw,hidepid=2 0 0\nproc /proc proc rw 0 0\n")
	require.True(t, got, "the uppermost counts")
	got, _ = visibleIn("")
	require.True(t, got)
	_, _, err := Visible()
	require.NoError(t, err)
}
