package main

const (
	addKey = 217
	keyctl = 219
	bpf    = 280
)
