package policy

//go:generate go run ./schema/generate rego
