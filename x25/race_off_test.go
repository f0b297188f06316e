//go:build !race

package x25

const defaultSeeds = 36
