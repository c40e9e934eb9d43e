package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
)

// linkLocalWait bounds the wait for the kernel's look for a duplicate of the
// link-local address.
const linkLocalWait = 10 * time.Second

// awaitLinkLocal waits until the pod's interface has a link-local address to
// send from.
func awaitLinkLocal(ctx context.Context, k *kernel.Kernel, link string) error {
	err := k.Await(ctx, kernel.Pod, unix.RTNLGRP_IPV6_IFADDR, linkLocalWait, func() (bool, error) {
		return addr.HasLinkLocal(k, kernel.Pod, link)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s has no link-local address after %v: is the link's other end up?", link, linkLocalWait)
	}
	return err
}

// routerWait is how long a router has for its answer to a solicitation (RFC 4861
// section 10, RTR_SOLICITATION_INTERVAL).
const routerWait = 4 * time.Second

// solicitRouters asks for router advertisements, which the kernel then follows
// (RFC 4861 section 6.3.7). Its own question may be a while away.
func solicitRouters(k *kernel.Kernel, l *kernel.Link) error {
	c, err := openNeighbours(k, l, ipv6.ICMPTypeRouterAdvertisement)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo([]byte{byte(ipv6.ICMPTypeRouterSolicitation), 0, 0, 0, 0, 0, 0, 0}, &net.IPAddr{IP: net.IPv6linklocalallrouters})
	return err
}

// awaitRouter gives a router a moment to answer, so that a pod has its default
// route from the start. A segment without one is nobody's fault.
func awaitRouter(ctx context.Context, k *kernel.Kernel, until time.Time) error {
	err := k.Await(ctx, kernel.Pod, unix.RTNLGRP_IPV6_ROUTE, time.Until(until), func() (bool, error) { return route.HasDefault(k, kernel.Pod, true) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
