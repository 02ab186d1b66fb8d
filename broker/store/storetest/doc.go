// Package storetest is the contract that every store passes: one suite over the
// ports that the parts of the broker declare, and a fixture to fill a store.
//
// It knows no SQL. A new store gives Run a function that opens an empty one and
// passes; what is particular to a store (its file, its crashes, its disk) is
// tested beside it with the same Fixture.
//
//	store.go    the union of the ports, and Run
//	fixture.go  a tenant, a site, a grant, and records that belong together
//	*_suite.go  one file per noun
//
// What the suite holds above all: no admission takes more than a grant holds
// (P3), nothing becomes ready without an allowed clearance and its receipt (P1),
// and a stale holder moves nothing (P4). A store that fails here must not be
// wired.
package storetest
