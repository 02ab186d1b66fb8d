package slurmrest

import (
	"errors"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

func refused(code, value, rule string) *broker.Error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: code, Message: "the Slurm adapter refuses the launch", Value: value, Rule: rule,
		Help: "this is a matter of the site's agent or its configuration", Who: "the site operator",
	}
}

func unavailable(message string, err error) *broker.Error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "scheduler_unavailable", Message: message,
		Rule: "an answer that was not had is not guessed", Help: "wait, or look at the site's Slurm", Who: "the site operator", Err: err,
	}
}

// translate turns a failure of the client into one of the port. Only what Slurm
// refused for good is invalid; everything else may go better later.
func translate(op string, err error) error {
	e, ok := errors.AsType[*slurm.Error](err)
	if !ok {
		return unavailable(op+": no answer from Slurm", err)
	}
	switch e.Class() {
	case slurm.ClassForbidden:
		return &broker.Error{
			Kind: broker.KindForbidden, Code: "slurm_forbidden", Message: op + ": Slurm forbids it to this account", Value: e.Name,
			Rule: "an account acts on its own jobs, and in the accounts and partitions that Slurm lets it use",
			Help: "check the account's associations: sacctmgr show assoc user=ACCOUNT", Who: "the site operator", Err: err,
		}
	case slurm.ClassVersion:
		b := unavailable(op+": slurmrestd and this agent speak no API version in common", err)
		b.Code, b.Value = "slurm_version", e.Description
		b.Rule = "an agent speaks an API version that slurmrestd serves"
		b.Help = "correct api_version in the site's configuration, or run a slurmrestd that serves one of them"
		return b
	case slurm.ClassRefused:
		b := refused("slurm_refused", e.Name, "Slurm accepts a job as a whole or not at all")
		b.Message, b.Err = op+": Slurm refused", err
		return b
	case slurm.ClassAuth:
		b := unavailable(op+": Slurm does not accept who asks", err)
		b.Code = "slurm_credential"
		b.Rule = "Slurm believes a request whose credential is valid and not expired"
		b.Help = "Slurm itself is there; check that munge runs and that the clocks of all machines agree, or renew the token"
		return b
	case slurm.ClassOutage, slurm.ClassNotFound, slurm.ClassFinished, slurm.ClassProtocol:
		return unavailable(op+": no answer from Slurm that can be used", err)
	}
	return unavailable(op+": no answer from Slurm", err)
}

func classOf(err error) slurm.Class {
	if e, ok := errors.AsType[*slurm.Error](err); ok {
		return e.Class()
	}
	return ""
}
