package agent_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func identities(self int) agent.Identities {
	numbers := map[string]int{"root": 0, "toor": 0, "slurm": 64, "nobody": 65534, "ada": 2001, "bob": 2002, "ada-too": 2001}
	return agent.Identities{MinUID: 1000, Self: self, Lookup: func(name string) (int, int, error) {
		n, ok := numbers[name]
		if !ok {
			return 0, 0, errors.New("no such user")
		}
		return n, max(n, 1), nil
	}}
}

// P11: each job runs as an account of exactly one natural person.
func TestJobsRunAsOnePersonsAccountOrNotAtAll(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		self     int
		accounts map[broker.PersonID]string
		code     string
	}{
		"two persons, two accounts":        {0, map[broker.PersonID]string{"ada@x": "ada", "bob@x": "bob"}, ""},
		"the agent's own account":          {2001, map[broker.PersonID]string{"ada@x": "ada"}, ""},
		"root":                             {0, map[broker.PersonID]string{"ada@x": "root"}, "account_system"},
		"root by another name":             {0, map[broker.PersonID]string{"ada@x": "toor"}, "account_system"},
		"a service user":                   {0, map[broker.PersonID]string{"ada@x": "slurm"}, "account_system"},
		"nobody":                           {0, map[broker.PersonID]string{"ada@x": "nobody"}, "account_system"},
		"nobody who exists":                {0, map[broker.PersonID]string{"ada@x": "eve"}, "account_unknown"},
		"two persons on one account":       {0, map[broker.PersonID]string{"ada@x": "ada", "bob@x": "ada"}, "account_shared"},
		"two persons on one number":        {0, map[broker.PersonID]string{"ada@x": "ada", "bob@x": "ada-too"}, "account_shared"},
		"another's account without root":   {2001, map[broker.PersonID]string{"bob@x": "bob"}, "account_not_ours"},
		"two persons of an unprivileged":   {2001, map[broker.PersonID]string{"ada@x": "ada", "bob@x": "bob"}, "account_not_ours"},
		"the service user that it runs as": {64, map[broker.PersonID]string{"ada@x": "slurm"}, "account_system"},
	} {
		err := identities(tc.self).Check(tc.accounts)
		require.Equal(t, tc.code, broker.CodeOf(err), name)
		if tc.code != "" {
			require.Equal(t, broker.KindForbidden, broker.KindOf(err), name)
		}
	}
}
