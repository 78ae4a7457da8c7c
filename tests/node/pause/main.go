// pause waits to be ended, and buries the processes that are left to it: the first process of a node, and of each Pod there.
// It is also what the tests run in Pods: with `listen` it answers on a port meanwhile, and `dial` asks such a port.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const dialLimit = 10 * time.Second

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "dial":
		if err := dial(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(os.Args) == 3 && os.Args[1] == "listen":
		listener, err := net.Listen("tcp", os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go answer(listener)
		wait()
	case len(os.Args) == 1:
		wait()
	default:
		fmt.Fprintln(os.Stderr, "usage: pause [listen ADDRESS | dial ADDRESS]")
		os.Exit(2)
	}
}

func wait() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	fmt.Println("waiting")
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			// Several may have ended for one signal.
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}

// Each caller is told who answered and what its address looked like from here.
func answer(listener net.Listener) {
	name, _ := os.Hostname()
	for {
		connection, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, _ = fmt.Fprintf(connection, "%s answers %s\n", name, connection.RemoteAddr())
		_ = connection.Close()
	}
}

func dial(address string) error {
	connection, err := net.DialTimeout("tcp", address, dialLimit)
	if err != nil {
		return err
	}
	defer connection.Close()
	fmt.Println("reached", connection.RemoteAddr())
	// A server that waits for the caller to speak first says nothing, and that is an answer too.
	_ = connection.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(os.Stdout, connection)
	return nil
}
