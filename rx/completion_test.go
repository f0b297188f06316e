package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCompletion: what bash offers, with a netman that knows three machines.
func TestCompletion(t *testing.T) {
	const links = `netman() { printf '{"row":"link","machine":"%s","station":"x"}\n' moon mars web1; }; `
	for words, want := range map[string]string{
		"rx m":             "mars moon",
		"rx -n -l alice m": "mars moon",
		"rx alice@mo":      "moon",
		"rx web1,m":        "web1,mars web1,moon",
		"rx --j":           "--json",
		"rx moon unam":     "uname",
		"rx -a unam":       "uname",
		"rx -e n":          "none",
		"rx moon ls compl": "completion_test.go",
		"ncu m":            "mars moon",
		"ncu -l alice w":   "web1",
		"ncu --v":          "--version",
	} {
		tool, _, _ := strings.Cut(words, " ")
		script := links + "source ../" + tool + "/" + tool + ".bash; COMP_WORDS=(" + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); " +
			"_" + tool + "; printf '%s\n' \"${COMPREPLY[@]}\" | sort -u | paste -sd ' '"
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", words, got, err, want)
		}
	}
}
