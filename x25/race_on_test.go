//go:build race

package x25

// The package has no concurrency for the detector to find; it makes each world some ten times slower.
const defaultSeeds = 6
