package agent

import (
	"fmt"
	"maps"
	"slices"

	"github.com/valico-hpc/valico/broker"
)

// nobodyUID is the kernel's overflow user: whoever owns nothing else is it.
const nobodyUID = 65534

// Identities say as whom jobs may run at a site (promise P11): as the account
// of exactly one natural person, never as root or a service user. Whether an
// account has a login shell says nothing: those of a secure environment have none.
type Identities struct {
	// MinUID is the lowest number of a person's account; below are root and the
	// users of services. Required.
	MinUID int
	// Self is the number of this process's own user. Unless it is root's, the
	// process can run jobs as itself alone.
	Self int
	// Lookup gives the numbers of an account of the machine.
	Lookup func(account string) (uid, gid int, err error)
}

// Account gives the numbers of an account that may own jobs. It satisfies
// Config.Accounts.
func (i Identities) Account(account string) (uid, gid int, err error) {
	uid, gid, err = i.Lookup(account)
	switch {
	case err != nil:
		return 0, 0, refuseAccount("account_unknown", account, "a mapped account exists at the site", err)
	case uid == 0 || uid < i.MinUID || uid == nobodyUID || gid <= 0:
		return 0, 0, refuseAccount("account_system", account,
			fmt.Sprintf("jobs never run as root, nobody or a service user, whose numbers are below %d", i.MinUID), nil)
	case i.Self != 0 && i.Self != uid:
		return 0, 0, refuseAccount("account_not_ours", account, "an agent without root serves its own account only", nil)
	}
	return uid, gid, nil
}

// Check refuses a map from persons to accounts in which an account may not own
// jobs or two persons share one, by name or by number.
func (i Identities) Check(accounts map[broker.PersonID]string) error {
	owner := map[int]broker.PersonID{}
	for _, person := range slices.Sorted(maps.Keys(accounts)) {
		uid, _, err := i.Account(accounts[person])
		if err != nil {
			return err
		}
		if other, taken := owner[uid]; taken {
			return refuseAccount("account_shared", accounts[person],
				fmt.Sprintf("an account is one person's; this one is %s's and %s's", other, person), nil)
		}
		owner[uid] = person
	}
	return nil
}

func refuseAccount(code, account, rule string, err error) error {
	return &broker.Error{
		Kind: broker.KindForbidden, Code: code, Message: "the account may not own jobs", Value: account, Rule: rule,
		Help: "map each person to an account of their own", Who: "the site operator", Err: err,
	}
}
