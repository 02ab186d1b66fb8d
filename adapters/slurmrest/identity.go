package slurmrest

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// Identity are an account's numbers.
type Identity struct{ UID, GID int }

func lookup(name string) (Identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return Identity{}, fmt.Errorf("look up account: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return Identity{}, fmt.Errorf("look up account: %w", err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return Identity{}, fmt.Errorf("look up account: %w", err)
	}
	return Identity{UID: uid, GID: gid}, nil
}

// identify returns the numbers of an account that may own jobs: a person's, and
// one whose uid this process can take.
func identify(c Config, name string) (Identity, error) {
	who, err := c.Lookup(name)
	if err != nil {
		e := refused("account_unknown", name, "a mapped account exists at the site")
		e.Err = err
		return Identity{}, e
	}
	if who.UID < c.MinUID || who.GID <= 0 {
		return Identity{}, refused("account_system", name, fmt.Sprintf("jobs never run as root or a system account, whose numbers are below %d", c.MinUID))
	}
	if euid := os.Geteuid(); euid != 0 && euid != who.UID {
		return Identity{}, refused("account_not_ours", name, "an agent without root serves its own account only")
	}
	return who, nil
}
