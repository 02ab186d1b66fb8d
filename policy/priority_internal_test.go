package policy

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestTheClassesOfPriorityAreData(t *testing.T) {
	t.Parallel()
	cs, err := Priorities()
	require.NoError(t, err)
	require.NotEmpty(t, cs)
	defaults := 0
	for i, c := range cs {
		if i > 0 {
			require.LessOrEqual(t, c.Weight, cs[i-1].Weight, "the heaviest first")
		}
		if c.Default {
			defaults++
			require.Nil(t, c.Purposes, "every job may take the default")
			require.Nil(t, c.AccessModes)
		}
		require.NotEqual(t, BasisInForce, c.Basis, "%s: no law in force gives a job its place", c.Name)
	}
	require.Equal(t, 1, defaults)
}

func TestDataThatIsNotSoundDoesNotLoad(t *testing.T) {
	t.Parallel()
	sound := string(packFiles(t)[dataFile].Data)
	for name, change := range map[string][2]string{
		"a misspelled member":        {`"purposes": ["53(1)(a)"]`, `"purpose": ["53(1)(a)"]`},
		"a list without an entry":    {`["53(1)(a)"]`, `[]`},
		"an entry without a name":    {`["53(1)(a)"]`, `[""]`},
		"another word than any":      {`["53(1)(a)"]`, `"all"`},
		"a number for a list":        {`["53(1)(a)"]`, `1`},
		"no weight":                  {`"weight": 16,`, ``},
		"a weight of nothing":        {`"weight": 16`, `"weight": 0`},
		"a weight out of bounds":     {`"weight": 16`, `"weight": 101`},
		"a weight that is no whole":  {`"weight": 16`, `"weight": 1.5`},
		"law in force":               {`"basis": "contract"`, `"basis": "in_force"`},
		"a default that is no class": {`"default": "standard"`, `"default": "first"`},
		"a name with a colon":        {`"background": {`, `"a:b": {`},
		"no words":                   {`"rule": "open to every job; for work that nobody waits for"`, `"rule": ""`},
		"a class twice":              {`"background": {`, `"standard": {`},
		"another document":           {`"priority": {`, `"other": {}, "priority": {`},
	} {
		require.Contains(t, sound, change[0], name)
		files := packFiles(t)
		files[dataFile] = &fstest.MapFile{Data: []byte(strings.Replace(sound, change[0], change[1], 1))}
		_, err := newEngine(t.Context(), files)
		require.Error(t, err, name)
	}
	files := packFiles(t)
	delete(files, dataFile)
	_, err := newEngine(t.Context(), files)
	require.Error(t, err)
}

func TestAResultGivesExactlyOnePlace(t *testing.T) {
	t.Parallel()
	p, err := Result{Obligations: []string{"outputs_marked_sandbox", "priority:standard:4"}}.Priority()
	require.NoError(t, err)
	require.Equal(t, Priority{Class: "standard", Weight: 4}, p)
	for _, bad := range [][]string{
		nil,
		{"outputs_marked_sandbox"},
		{"priority:a:1", "priority:b:2"},
		{"priority:a"},
		{"priority:a:x"},
		{"priority::4"},
		{"priority:a:0"},
		{"priority:a:-1"},
		{"priority:a:101"},
		{"priority:a:1:2"},
	} {
		_, err := Result{Obligations: bad}.Priority()
		require.ErrorIs(t, err, ErrNoDecision, "%v", bad)
	}
}

// Who is let in has a place, whatever the packs' data say.
func TestEveryAllowedFixtureHasAPlace(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for name, in := range decisions() {
		r, err := e.Evaluate(t.Context(), encode(t, in))
		require.NoError(t, err)
		if r.Verdict != VerdictAllow {
			continue
		}
		p, err := r.Priority()
		require.NoError(t, err, name)
		require.Equal(t, "standard", p.Class, name)
	}
}
