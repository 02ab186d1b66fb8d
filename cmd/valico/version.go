package main

import (
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// versions is version's answer.
type versions struct {
	Client wire.Version  `json:"client"`
	Broker *wire.Version `json:"broker,omitempty"`
}

func newVersionCommand(e *env) *cobra.Command {
	var ask bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(),
		Long: help("Version prints what this program is, and with --broker what the broker is.", "valico version", "valico version --broker"),
		RunE: func(c *cobra.Command, _ []string) error {
			out := versions{Client: wire.Version{Version: broker.Build(), Go: runtime.Version()}}
			if ask {
				cl, err := e.client()
				if err != nil {
					return err
				}
				v, err := cl.Version(c.Context())
				if err != nil {
					return err
				}
				out.Broker = &v
			}
			return e.emit(out, func(w io.Writer) {
				rows := [][]string{{"valico", out.Client.Version, out.Client.Go}}
				if out.Broker != nil {
					rows = append(rows, []string{"broker", out.Broker.Version, out.Broker.Go, out.Broker.Origin})
				}
				table(w, rows...)
			})
		},
	}
	c.Flags().BoolVar(&ask, "broker", false, "ask the broker too")
	return c
}
