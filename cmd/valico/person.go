package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func newPersonCommand(e *env) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the persons of your organisation", Args: args(),
		Long: help("List prints the persons that the broker knows. Needs the role operator.", "valico person list"),
		RunE: func(c *cobra.Command, _ []string) error { return runPersonList(c.Context(), e) },
	}
	return group("person", "Make persons known to the broker", newPersonAddCommand(e), list)
}

func newPersonAddCommand(e *env) *cobra.Command {
	var p wire.Person
	c := &cobra.Command{
		Use: "add PERSON", Short: "Make a natural person known", Args: args("PERSON"),
		Long: help("Add makes a person known under the identifier that permits use. Needs the role operator.\n"+
			"Roles are developer (submits jobs), reviewer (releases outputs) and operator (sites, persons, permits).",
			`valico person add ada@biotech.example --name "Ada Example" --role developer`),
		RunE: func(c *cobra.Command, a []string) error {
			p.ID = a[0]
			return runPersonAdd(c.Context(), p, e)
		},
	}
	c.Flags().StringVar(&p.Name, "name", "", "the person's name")
	c.Flags().StringArrayVar(&p.Roles, "role", []string{broker.RoleDeveloper}, "role; may be repeated")
	c.Flags().StringVar(&p.Project, "project", "", "project; yours otherwise")
	_ = c.MarkFlagRequired("name") // the flag was made above
	return c
}

func runPersonAdd(ctx context.Context, p wire.Person, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	out, err := c.AddPerson(ctx, p)
	if err != nil {
		return err
	}
	return e.emit(out, func(w io.Writer) {
		table(w, []string{"PERSON", out.ID}, []string{"NAME", out.Name}, []string{"ROLES", strings.Join(out.Roles, ", ")},
			[]string{"NEXT", "valico token new " + out.ID + " --out FILE"})
	})
}

func runPersonList(ctx context.Context, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	ps, err := c.Persons(ctx)
	if err != nil {
		return err
	}
	return e.emit(ps, func(w io.Writer) {
		rows := [][]string{{"PERSON", "NAME", "ROLES", "PROJECT", "SINCE"}}
		for _, p := range ps.Persons {
			rows = append(rows, []string{p.ID, p.Name, strings.Join(p.Roles, ", "), p.Project, stamp(p.CreatedAt)})
		}
		table(w, rows...)
	})
}
