// Worker is the workload of the kill tests: it leaves one line in /out for
// each time it is started, works for a moment, and succeeds. A second start of
// one attempt would leave a second line.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	f, err := os.OpenFile("/out/starts", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString("start\n")
	}
	if err == nil {
		err = f.Sync()
	}
	fmt.Println("started")
	<-time.After(300 * time.Millisecond)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
