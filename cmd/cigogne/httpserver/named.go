package httpserver

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Named refuses requests for another server than this one: those whose Host is
// neither an address, nor a name of this network, nor one of the names. Anybody
// can have a name of theirs lead to the address of a node; a page of that name
// would be, to the browser of who looks at it, the node's own, and could read
// and change what the node holds.
func Named(next http.Handler, names []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := hostOf(r.Host); !within(host) && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) }) {
			http.Error(w, "this node is not known by that name, see 'cigogne serve --http-name'", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf is the name or the address in a Host, without the port and the dot of
// the root.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// within tells whether nobody outside can have a page under the host: an
// address leads where it says, and a name without a dot is none of the public
// ones. Who sends no Host is no browser.
func within(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || !strings.Contains(host, ".") || strings.HasSuffix(strings.ToLower(host), ".localhost")
}
