// Package ledger is the transparency log of every decision and human act.
package ledger
