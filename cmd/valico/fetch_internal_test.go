package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// liar is a broker that lists one released file and serves bytes of its own.
func liar(t *testing.T, f wire.OutputFile, serve func(http.ResponseWriter)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/outputs") {
			serve(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(wire.Outputs{Outputs: []wire.Sealed{{Attempt: "att_1", Released: true, Files: []wire.OutputFile{f}}}})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestFetchWritesBelowItsFolderAndNoMoreThanWasReleased(t *testing.T) {
	t.Parallel()
	digest := string(broker.DigestOf([]byte("true")))
	endless := func(w http.ResponseWriter) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	say := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = w.Write([]byte(text)) }
	}
	for name, c := range map[string]struct {
		path  string
		serve func(http.ResponseWriter)
		ok    bool
	}{
		"as released":           {"model.bin", say("true"), true},
		"other bytes":           {"model.bin", say("fals"), false},
		"a byte more":           {"model.bin", say("true!"), false},
		"a byte less":           {"model.bin", say("tru"), false},
		"without end":           {"model.bin", endless, false},
		"above the folder":      {"../model.bin", say("true"), false},
		"above, in the middle":  {"a/../../model.bin", say("true"), false},
		"at the root":           {"/model.bin", say("true"), false},
		"through a link":        {"out/model.bin", say("true"), false},
		"the folder itself":     {".", say("true"), false},
		"a name without a name": {"", say("true"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := t.TempDir()
			dir := filepath.Join(world, "results")
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.Symlink(world, filepath.Join(dir, "out")))
			e, _, errs := testEnv(liar(t, wire.OutputFile{Path: c.path, SizeBytes: 4, Digest: digest}, c.serve))
			got := run(t.Context(), e, []string{"fetch", "job_1", "--dir", dir})
			require.Equal(t, c.ok, got == exitOK, errs.String())
			kept := []string{}
			require.NoError(t, filepath.WalkDir(world, func(p string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					kept = append(kept, p)
				}
				return err
			}))
			if c.ok {
				require.Equal(t, []string{filepath.Join(dir, "model.bin")}, kept)
			} else {
				require.Empty(t, kept, errs.String())
			}
		})
	}
}
