// Package work is what the measured controllers do, whatever library drives them: the label-propagator's work, or a write
// every few milliseconds. Owns no election, no cache and no queue.
package work

import (
	"errors"
	"flag"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Kind says which work is done.
type Kind string

const (
	// Labels copies labels of a Namespace to its ConfigMaps, as plugins/label-propagator does.
	Labels Kind = "labels"
	// Beat writes to one ConfigMap again and again.
	Beat Kind = "beat"
)

// Workers is how many objects are worked on at once.
const Workers = 10

// Settings is what was typed.
type Settings struct {
	Lease         string
	Identity      string
	LeaseDuration time.Duration
	RenewDeadline time.Duration
	RetryPeriod   time.Duration
	// Namespace holds the Lease's and the work's objects alike: nothing else is watched but Namespaces.
	Namespace string
	// LeaseNamespace holds the Lease.
	LeaseNamespace string
	Work           Kind
	Every          time.Duration
	// Warm: caches are filled before the election is won.
	Warm   bool
	Config *rest.Config
}

// Parse reads the flags of a program.
func Parse(program string, arguments []string) (Settings, error) {
	var s Settings
	var kubeconfig, work string
	flags := flag.NewFlagSet(program, flag.ContinueOnError)
	flags.StringVar(&kubeconfig, "kubeconfig", "", "which `file` says where the API server is")
	flags.StringVar(&s.Lease, "lease", "peer", "the Lease's `name`")
	flags.StringVar(&s.LeaseNamespace, "lease-namespace", "default", "the Lease's `namespace`")
	flags.StringVar(&s.Identity, "identity", "", "this candidate's `name` in the Lease")
	flags.DurationVar(&s.LeaseDuration, "lease-duration", 15*time.Second, "LeaseDuration")
	flags.DurationVar(&s.RenewDeadline, "renew-deadline", 10*time.Second, "RenewDeadline")
	flags.DurationVar(&s.RetryPeriod, "retry-period", 2*time.Second, "RetryPeriod")
	flags.StringVar(&s.Namespace, "namespace", "", "the `namespace` whose ConfigMaps are worked on")
	flags.StringVar(&work, "work", string(Labels), "what to do while leading: labels or beat")
	flags.DurationVar(&s.Every, "every", 50*time.Millisecond, "how often beat writes")
	flags.BoolVar(&s.Warm, "warm", true, "fill caches before the election is won")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	s.Work = Kind(work)
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("%q is one argument too many: all are flags", flags.Arg(0))
	case s.Identity == "" || s.Namespace == "":
		return s, errors.New("--identity and --namespace must be given")
	case s.Work != Labels && s.Work != Beat:
		return s, fmt.Errorf("--work %q is neither labels nor beat", work)
	case s.Every <= 0:
		return s, fmt.Errorf("--every %s must be longer than nothing", s.Every)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return s, fmt.Errorf("cannot use kubeconfig %q: %w", kubeconfig, err)
	}
	config.UserAgent = program + "/" + s.Identity
	// No limit of the client's own: ours has none that would be met here, and the API server has its.
	config.QPS = -1
	s.Config = config
	return s, nil
}
