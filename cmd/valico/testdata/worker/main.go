// Worker is the workload of the kill and chaos tests: it leaves one line in
// /out/starts for each time it is started, works for a moment, leaves one in
// /out/ends, and ends as it was told. A second start of one attempt would leave
// a second line.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	work := flag.Duration("work", 300*time.Millisecond, "how long to work")
	code := flag.Int("exit", 0, "the exit code")
	flag.Parse()
	note("starts", "start\n")
	fmt.Println("started")
	<-time.After(*work)
	note("ends", "end\n")
	os.Exit(*code)
}

func note(name, line string) {
	f, err := os.OpenFile("/out/"+name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
