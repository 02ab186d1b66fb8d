package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/valico-hpc/valico/broker"
)

// translate turns the driver's errors into ours, by code. Errors that are ours
// already, of the state machines and of a context pass with the operation.
func translate(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*broker.Error](err); ok {
		return fmt.Errorf("%s: %w", op, err)
	}
	if _, ok := errors.AsType[*broker.TransitionError](err); ok {
		return fmt.Errorf("%s: %w", op, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", op, err)
	}
	if errors.Is(err, errDamaged) {
		return &broker.Error{
			Kind: broker.KindInternal, Code: "record_damaged", Message: "something in the record is not what was stored",
			Rule: "what is read back is byte for byte what was written", Help: "compare the record with a backup and with the ledger",
			Who: "the broker's operator", Err: fmt.Errorf("%s: %w", op, err),
		}
	}
	if e, ok := errors.AsType[*driver.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT {
		return constraint(op, e.Code(), err)
	}
	return unavailable(op, err)
}

// constraint is a rule of the schema that a write would have broken.
func constraint(op string, code int, err error) error {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return &broker.Error{
			Kind: broker.KindConflict, Code: "already_exists", Message: "it exists already",
			Rule: "an identifier or name is used once", Help: "list what exists and choose another name", Who: "you",
			Err: fmt.Errorf("%s: %w", op, err),
		}
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return &broker.Error{
			Kind: broker.KindNotFound, Code: "not_found", Message: "it refers to something that does not exist here",
			Rule: "what is referred to exists and belongs to the same project",
			Help: "list yours and check the identifier", Who: "the person who gave you the identifier",
			Err: fmt.Errorf("%s: %w", op, err),
		}
	}
	return &broker.Error{
		Kind: broker.KindInternal, Code: "invariant", Message: "the record refused a change that would break one of its rules",
		Help: "nothing was changed; report this with the request id", Who: "the broker's operator",
		Err: fmt.Errorf("%s: %w", op, err),
	}
}

func unavailable(op string, err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "store_unavailable", Message: "the record does not answer; nothing ran",
		Rule: "a decision counts once it is on disk", Help: "try again later", Who: "the broker's operator",
		Err: fmt.Errorf("%s: %w", op, err),
	}
}

// missing turns no row into not-found.
func missing(err error, what, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return broker.NotFound(what, id)
	}
	return err
}

// errDamaged is a row that cannot be what was written.
var errDamaged = errors.New("the row is damaged")

var errRowMissing = errors.New("the row is not there")

// rowMissing is why an update that must change one row did not.
func rowMissing(err error) error {
	if err != nil {
		return err
	}
	return errRowMissing
}

func conflict(code, message, value string) error {
	return &broker.Error{
		Kind: broker.KindConflict, Code: code, Message: message, Value: value,
		Rule: "a change is made to the state that its maker has seen", Help: "read it again and repeat the change", Who: "you",
	}
}

// invalid is a programmer's mistake that the store refuses before SQL does.
func invalid(code, message, value string) error {
	return &broker.Error{Kind: broker.KindInvalid, Code: code, Message: message, Value: value}
}
