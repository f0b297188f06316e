package session

import (
	"os"
	"strings"
	"unsafe"
)

// WipeArgs overwrites the arguments of this process in which a secret stands: anybody may read them who may list
// processes, and os.Args has the very octets that the kernel shows.
func WipeArgs(secret string) {
	secret = strings.Clone(secret) // it stands in what is about to be wiped
	for _, arg := range os.Args {
		if strings.Contains(arg, secret) {
			clear(unsafe.Slice(unsafe.StringData(arg), len(arg)))
		}
	}
}
