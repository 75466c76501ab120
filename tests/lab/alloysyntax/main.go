// Command alloysyntax reports what is wrong with files in Alloy's configuration language: syntax, and form that is not
// canonical. It knows no component; names and types of arguments are not looked at.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
)

// check returns what is wrong with one file, nil if nothing is.
func check(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(path, text)
	if err != nil {
		return err
	}
	var canonical bytes.Buffer
	if err := printer.Fprint(&canonical, tree); err != nil {
		return err
	}
	wanted := append(bytes.TrimRight(canonical.Bytes(), "\n"), '\n')
	if !bytes.Equal(wanted, text) {
		return fmt.Errorf("%s: not in canonical form, which is:\n%s", path, wanted)
	}
	return nil
}

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}
