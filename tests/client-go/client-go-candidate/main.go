// Command candidate campaigns for a Lease as operators written with client-go do, and while it leads writes to a ConfigMap.
//
// Owns no rule of its own: what it does about the Lease is client-go's leaderelection, unchanged. What happens it says on
// stdout, one JSON object a line; client-go's own log goes to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type settings struct {
	kubeconfig      string
	lease           objectName
	identity        string
	leaseDuration   time.Duration
	renewDeadline   time.Duration
	retryPeriod     time.Duration
	releaseOnCancel bool
	writeConfigMap  objectName
	writeEvery      time.Duration
	stay            bool
}

// objectName is what a flag of the form namespace/name says.
type objectName struct{ namespace, name string }

func (n *objectName) String() string { return n.namespace + "/" + n.name }

func (n *objectName) Set(text string) error {
	namespace, name, found := strings.Cut(text, "/")
	if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%q is not namespace/name", text)
	}
	n.namespace, n.name = namespace, name
	return nil
}

func (n *objectName) isGiven() bool { return n.name != "" }

func parse(arguments []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("candidate", flag.ContinueOnError)
	flags.StringVar(&s.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "which `file` says where the API server is")
	flags.Var(&s.lease, "lease", "the Lease to campaign for, `namespace/name`")
	flags.StringVar(&s.identity, "identity", "", "this candidate's `name` in the Lease (default the host's name and a number)")
	flags.DurationVar(&s.leaseDuration, "lease-duration", 15*time.Second, "client-go's LeaseDuration")
	flags.DurationVar(&s.renewDeadline, "renew-deadline", 10*time.Second, "client-go's RenewDeadline")
	flags.DurationVar(&s.retryPeriod, "retry-period", 2*time.Second, "client-go's RetryPeriod")
	flags.BoolVar(&s.releaseOnCancel, "release-on-cancel", true, "client-go's ReleaseOnCancel")
	flags.Var(&s.writeConfigMap, "write-configmap", "while leading, write to this ConfigMap, `namespace/name`")
	flags.DurationVar(&s.writeEvery, "write-every", 50*time.Millisecond, "how often to write")
	flags.BoolVar(&s.stay, "stay", false, "campaign again after leadership was lost, instead of exiting as operators do")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("%q is one argument too many: all are flags", flags.Arg(0))
	case !s.lease.isGiven():
		return s, errors.New("--lease is missing: say which Lease to campaign for, as namespace/name")
	case s.writeEvery <= 0:
		return s, fmt.Errorf("--write-every %s must be longer than nothing", s.writeEvery)
	}
	if s.identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return s, fmt.Errorf("--identity is missing and this host has no name: %w", err)
		}
		s.identity = fmt.Sprintf("%s_%08x", host, rand.Uint32())
	}
	return s, nil
}

// errLost ends the process when leadership ended and nobody asked for it.
var errLost = errors.New("leadership was lost")

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "candidate:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "candidate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot use kubeconfig %q: %w", s.kubeconfig, err)
	}
	config.UserAgent = "client-go-candidate/" + s.identity
	report := newReport(os.Stdout, s.identity)
	writer, err := newWriter(config, s, report)
	if err != nil {
		return err
	}
	defer report.ended()
	for {
		if err := campaign(ctx, config, s, report, writer); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if !s.stay {
			return errLost
		}
	}
}

// campaign returns when leadership ended, or nobody asks for it any more.
func campaign(ctx context.Context, config *rest.Config, s settings, report *report, writer *writer) error {
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, s.lease.namespace, s.lease.name,
		resourcelock.ResourceLockConfig{Identity: s.identity}, rest.AddUserAgent(config, "leader-election"), s.renewDeadline)
	if err != nil {
		return fmt.Errorf("cannot make a lock of Lease %s: %w", &s.lease, err)
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   s.leaseDuration,
		RenewDeadline:   s.renewDeadline,
		RetryPeriod:     s.retryPeriod,
		ReleaseOnCancel: s.releaseOnCancel,
		Name:            s.lease.name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				report.acquired()
				writer.run(ctx)
			},
			OnStoppedLeading: report.stopped,
			OnNewLeader:      report.newLeader,
		},
	})
	if err != nil {
		return fmt.Errorf("client-go refuses these settings: %w", err)
	}
	// Nobody waits for the workload, as with client-go: it is told through its context, after the release was tried.
	elector.Run(ctx)
	return nil
}
