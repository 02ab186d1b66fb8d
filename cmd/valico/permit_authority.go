package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/cmd/valico/authority"
	"github.com/valico-hpc/valico/policy/permit"
)

type authorityOptions struct {
	dir      string
	hdab     string
	prefixes []string
	holders  []string
	reviewer string
}

func newPermitAuthorityCommand(e *env) *cobra.Command {
	t := permit.Template(e.Now())
	o := authorityOptions{hdab: t.Issuer.HDAB, holders: []string{t.Datasets[0].Holder}}
	c := &cobra.Command{
		Use: "authority DIR", Short: "Make the keys of a SANDBOX authority", Args: args("DIR"),
		Long: help("Authority makes one key per role (permit, status, reviewer) and authorities.json, which pins them for brokers and\n"+
			"sites. It is for synthetic data: what it makes is trusted for regime SANDBOX and nothing else.",
			"valico permit authority keys --dataset-prefix https://data.example/dataset/ --reviewer rita@authority.example",
			"valico serve --data-dir ./broker --authorities keys/authorities.json"),
		RunE: func(_ *cobra.Command, a []string) error {
			o.dir = a[0]
			return runPermitAuthority(o, e)
		},
	}
	f := c.Flags()
	f.StringVar(&o.hdab, "hdab", o.hdab, "the authority's id, as its permits name it")
	f.StringArrayVar(&o.prefixes, "dataset-prefix", nil, "datasets it may give access to; may be repeated")
	f.StringArrayVar(&o.holders, "holder", o.holders, "whose data; may be repeated")
	f.StringVar(&o.reviewer, "reviewer", "", "who reviews outputs")
	for _, name := range []string{"dataset-prefix", "reviewer"} {
		_ = c.MarkFlagRequired(name) // the flags were made above
	}
	return c
}

func runPermitAuthority(o authorityOptions, e *env) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fileError("make the folder", o.dir, err)
	}
	a, err := authority.New(o.dir, authority.Scope{
		HDAB: o.hdab, DatasetPrefixes: o.prefixes, Holders: o.holders, Reviewer: broker.PersonID(o.reviewer),
	})
	if err != nil {
		return err
	}
	files := map[string]string{
		"permit": a.KeyFile("permit"), "status": a.KeyFile("status"), "reviewer": a.KeyFile("reviewer"), "authorities": a.AuthoritiesFile(),
	}
	return e.emit(files, func(w io.Writer) {
		table(w, []string{"PERMIT KEY", files["permit"]}, []string{"STATUS KEY", files["status"]},
			[]string{"REVIEWER KEY", files["reviewer"] + ", for " + o.reviewer}, []string{"TO PIN", files["authorities"]})
		fmt.Fprintf(w, "\nNext: valico permit new --out permit.json; valico permit sign permit.json --key %s --out permit.jws\n", files["permit"])
	})
}
