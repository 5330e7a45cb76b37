// Enforces NetworkPolicies on the real node: SIG Network's kube-network-policies decides about the first packet of
// each connection. Its own nftables rules need the kernel's nft_queue; the rule below reaches the same queue by the
// older NFQUEUE target, so that kernels with either will do.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const queue = 100

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the API server's address and our identity")
	node := flag.String("hostname-override", "", "name of the Node")
	flag.Parse()
	if err := run(*kubeconfig, *node); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, node string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := sendToQueue(); err != nil {
		fmt.Fprintln(os.Stderr, "no NFQUEUE target here, nftables' own queue is left:", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{QueueID: queue, NodeName: node},
	)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	return controller.Run(ctx)
}

// sendToQueue gives the first packet of every connection to or from a pod to the controller, and drops it while there
// is none. What root on the node itself sends passes, as kubelets' probes must.
func sendToQueue() error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: "ingle-policies", Family: nftables.TableFamilyIPv4}
	connection.AddTable(table)
	connection.DelTable(table)
	connection.AddTable(table)
	chain := connection.AddChain(&nftables.Chain{
		Name:     "postrouting",
		Table:    table,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource - 5),
	})
	known := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	for _, expressions := range [][]expr.Any{
		{
			&expr.Meta{Key: expr.MetaKeySKUID, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
			accept,
		},
		{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: known, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			accept,
		},
		{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: queueTarget()}},
	} {
		connection.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: expressions})
	}
	return connection.Flush()
}

// queueTarget is the kernel's struct xt_NFQ_info_v3: first queue, how many, flags; padded to 8 bytes.
func queueTarget() *xt.Unknown {
	words := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(words[0:], queue)
	binary.NativeEndian.PutUint16(words[2:], 1)
	return &words
}
