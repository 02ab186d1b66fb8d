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
	segments := flag.Int("segments", 0, "end with 85 until /ckpt counts so many")
	flag.Parse()
	note("starts", "start\n")
	fmt.Println("started")
	<-time.After(*work)
	note("ends", "end\n")
	if *segments > 0 && count() < *segments {
		os.Exit(85)
	}
	os.Exit(*code)
}

// count adds one to the segments that /ckpt knows of.
func count() int {
	b, err := os.ReadFile("/ckpt/n")
	if err == nil || os.IsNotExist(err) {
		b = append(b, 'x')
		err = os.WriteFile("/ckpt/n", b, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return len(b)
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
