package httpapi

//go:generate go test -run ^TestOpenAPIIsFresh$ . -update
