package main

const (
	addKey = 248
	keyctl = 250
	bpf    = 321
)
