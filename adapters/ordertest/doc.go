// Package ordertest makes work orders for tests: an Authority has every key that
// stands behind an order, and issues orders with permit, status, clearance,
// receipt and image signature as a site that trusts it asks for.
//
// Everything is real but the parties: the documents are encoded and signed by the
// packages that do so in production, so an order passes order.Verify. A test
// breaks one thing of it and sees what is refused.
//
// It is for tests of the packages in adapters. Start at authority.go.
package ordertest
