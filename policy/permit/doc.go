// Package permit owns the permit document: its JWS form, its issuers and its status.
package permit
