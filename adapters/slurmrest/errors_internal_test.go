package slurmrest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

func TestACredentialAndWhatIsForbiddenAreNoOutage(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		status int
		body   string
		kind   broker.Kind
		code   string
	}{
		{511, `{"errors":[{"error_number":1007,"error":"Protocol authentication error"}]}`, broker.KindUnavailable, "slurm_credential"},
		{401, "Authentication failure", broker.KindUnavailable, "slurm_credential"},
		{500, `{"errors":[{"error_number":2002,"error":"Access/permission denied"}]}`, broker.KindForbidden, "slurm_forbidden"},
		{504, `{"errors":[{"error_number":5004,"error":"timed out"}]}`, broker.KindUnavailable, "scheduler_unavailable"},
		{404, "not found", broker.KindUnavailable, "slurm_version"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(x.status)
			_, _ = w.Write([]byte(x.body))
		}))
		t.Cleanup(s.Close)
		c, err := slurm.New(slurm.Config{BaseURL: s.URL, Version: "v0.0.42"})
		require.NoError(t, err)
		_, err = c.Job(t.Context(), 1)
		err = translate("get job", err)
		require.Equal(t, x.kind, broker.KindOf(err), "%d", x.status)
		require.Equal(t, x.code, broker.CodeOf(err), "%d", x.status)
		var e *broker.Error
		require.ErrorAs(t, err, &e)
		require.NotEmpty(t, e.Help)
		require.Equal(t, "the site operator", e.Who)
	}
}
