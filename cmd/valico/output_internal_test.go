package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForeignTextSteersNoTerminalAndTurnsNoLineAround(t *testing.T) {
	t.Parallel()
	e, _, errs := testEnv("http://127.0.0.1:1")
	var out bytes.Buffer
	for _, bad := range []string{
		"\x1b[2J", "\x07", "\r", "\u009b2J", "\x7f", "\n", "\u202e", "\u2066", "\u200f", "\u061c", "\u2028", "\u2029",
	} {
		name := "report" + bad + "txt.exe"
		table(&out, []string{name, "1 B"})
		e.say("job %s", name)
		require.NotContains(t, strings.TrimSuffix(out.String(), "\n"), bad)
		require.NotContains(t, strings.TrimSuffix(errs.String(), "\n"), bad)
		out.Reset()
		errs.Reset()
	}
	require.Equal(t, "Zoë – 日本 👩‍🔬", clean("Zoë – 日本 👩‍🔬"), "what is only foreign stays")
}
