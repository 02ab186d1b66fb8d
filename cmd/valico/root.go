package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exitStatus ends every help text.
const exitStatus = `
EXIT STATUS
  0    done
  1    an error inside valico
  2    wrong usage, or input that is not valid or in conflict
  3    not admitted
  4    the budget does not suffice
  5    not found, or not yours
  6    the broker or a site does not answer
  7    the job did not succeed
  8    not signed in
  130  interrupted`

func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "valico",
		Short: "From a data permit to a supercomputer's GPUs",
		Long: help("Valico checks jobs against data permits, packages what was approved and runs it on GPU nodes.",
			"valico plan job.yaml", "valico submit job.yaml --wait", "valico why JOB", "valico fetch JOB --dir results"),
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			// cobra would look at these only after this function.
			if err := errors.Join(c.ValidateRequiredFlags(), c.ValidateFlagGroups(), e.resolve(c.Annotations[annotationCSV] != "")); err != nil {
				return err
			}
			e.started = true
			return nil
		},
		Args: cobra.ArbitraryArgs, RunE: needsCommand,
	}
	root.SetIn(e.Stdin)
	root.SetOut(e.Stdout)
	root.SetErr(e.Stderr)
	root.CompletionOptions.HiddenDefaultCmd = false
	e.opts.addFlags(root)
	root.AddCommand(
		newPlanCommand(e), newSubmitCommand(e), newJobsCommand(e), newShowCommand(e), newWatchCommand(e), newLogsCommand(e),
		newCancelCommand(e), newWhyCommand(e), newFetchCommand(e), newOutputsCommand(e), newPermitCommand(e), newSiteCommand(e),
		newAllocationCommand(e), newUsageCommand(e),
		newPersonCommand(e), newTokenCommand(e), newLedgerCommand(e), newServeCommand(e), newAgentCommand(e), newConnectCommand(e), newDemoCommand(e), newVersionCommand(e),
	)
	return root
}

// group is a command that only holds others.
func group(name, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Long: help(short+".", name2examples(name, sub)...), RunE: needsCommand}
	c.AddCommand(sub...)
	return c
}

func name2examples(name string, sub []*cobra.Command) []string {
	out := make([]string, 0, len(sub))
	for _, s := range sub {
		out = append(out, "valico "+name+" "+s.Name()+" --help")
	}
	return out
}

// needsCommand is run by a command that only holds others: cobra would show its
// help and call that a success.
func needsCommand(c *cobra.Command, args []string) error {
	names := make([]string, 0, len(c.Commands()))
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() && s.Name() != "help" {
			names = append(names, s.Name())
		}
	}
	what, value, helps := c.CommandPath()+" needs a command", "", "run "+c.CommandPath()+" --help"
	if len(args) > 0 {
		what, value = "unknown command for "+c.CommandPath(), args[0]
		c.SuggestionsMinimumDistance = 2
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			helps = "did you mean " + strings.Join(near, " or ") + "? Else " + helps
		}
	}
	return invalid("usage", what, "the commands are "+strings.Join(names, ", "), value, helps)
}

// help is a long help text: what it does, examples, exit status.
func help(what string, examples ...string) string {
	return what + "\n\nEXAMPLES\n  " + strings.Join(examples, "\n  ") + "\n" + exitStatus
}

// args wants so many arguments, each with its name.
func args(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, got []string) error {
		if len(got) < len(names) {
			return fmt.Errorf("%s is missing", names[len(got)])
		}
		if len(got) > len(names) {
			return fmt.Errorf("too many arguments, from %q on", got[len(names)])
		}
		return nil
	}
}

// argsFrom wants at least so many arguments.
func argsFrom(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, got []string) error {
		if len(got) < len(names) {
			return errors.New(names[len(got)] + " is missing")
		}
		return nil
	}
}
