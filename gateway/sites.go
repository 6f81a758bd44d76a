package gateway

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// Site is a structure that sends instances, and what its peers are known by.
type Site struct {
	storage.SenderInfo
	// CallingAETitles are its AE titles; '*' and '?' stand for any characters
	// and any one.
	CallingAETitles []string
	// Credentials are the SHA-256 sums of the bearer tokens of its HTTP
	// clients.
	Credentials [][sha256.Size]byte
	// Networks are the addresses from which only it sends.
	Networks []netip.Prefix
	// Addresses are where its AE titles listen, HOST:PORT.
	Addresses map[string]string
}

// Sites tells which site a peer belongs to. The zero value knows none.
type Sites struct {
	sites         []Site
	byCredential  map[[sha256.Size]byte]storage.Sender
	addresses     map[string]string // by AE title
	senders       []storage.Sender  // of sites
	refuseUnknown bool
}

const (
	maxIssuer = 64 // characters of an LO and of what names an issuer
	maxTitle  = 16 // and of an AE
)

// NewSites returns the sites of a configuration. With refuseUnknown, instances
// from others are refused with storage.ErrForbidden; otherwise each of them has
// an issuer of its own, that begins with storage.AssumedIssuer. Sites that
// cannot be told apart are storage.ErrInvalid.
func NewSites(list []Site, refuseUnknown bool) (*Sites, error) {
	s := &Sites{sites: list, byCredential: map[[sha256.Size]byte]storage.Sender{}, addresses: map[string]string{}, refuseUnknown: refuseUnknown}
	issuers, titles := map[string]string{}, map[string]string{}
	for _, site := range list {
		if err := site.check(); err != nil {
			return nil, err
		}
		key := site.Issuer.Key()
		if other, ok := issuers[key]; ok {
			return nil, fmt.Errorf("%w: the sites %q and %q have one issuer, %q: they would share their patients", storage.ErrInvalid, other, site.Name, key)
		}
		issuers[key] = site.Name
		sender := storage.NewSender(site.SenderInfo)
		s.senders = append(s.senders, sender)
		for _, title := range site.CallingAETitles {
			if other, ok := titles[title]; ok {
				return nil, fmt.Errorf("%w: the AE title %q is that of the sites %q and %q", storage.ErrInvalid, title, other, site.Name)
			}
			titles[title] = site.Name
		}
		for title, address := range site.Addresses {
			if _, ok := s.addresses[title]; ok {
				return nil, fmt.Errorf("%w: the AE title %q has two addresses", storage.ErrInvalid, title)
			}
			s.addresses[title] = address
		}
		for _, c := range site.Credentials {
			if _, ok := s.byCredential[c]; ok {
				return nil, fmt.Errorf("%w: a credential of the site %q is another's, too", storage.ErrInvalid, site.Name)
			}
			s.byCredential[c] = sender
		}
	}
	for title := range s.addresses {
		if i := s.titled(title); i < 0 || list[i].Addresses[title] == "" {
			return nil, fmt.Errorf("%w: the AE title %q has an address, and is not one of that site's calling AE titles", storage.ErrInvalid, title)
		}
	}
	return s, nil
}

// List are the sites of the configuration, in its order.
func (s *Sites) List() []Site {
	if s == nil {
		return nil
	}
	return s.sites
}

func (s Site) check() error {
	switch {
	case s.Name == "" || len(s.Name) > maxIssuer || len(s.FINESS) > 16:
		return fmt.Errorf("%w: a site has a name of up to %d bytes and a FINESS number of up to 16, not %q, %q", storage.ErrInvalid, maxIssuer, s.Name, s.FINESS)
	case s.Issuer.Key() == "":
		return fmt.Errorf("%w: the site %q has no issuer", storage.ErrInvalid, s.Name)
	case strings.HasPrefix(s.Issuer.Name, storage.AssumedIssuer):
		return fmt.Errorf("%w: the issuer %q of the site %q begins with %q", storage.ErrInvalid, s.Issuer.Name, s.Name, storage.AssumedIssuer)
	}
	for _, v := range []string{s.Issuer.Name, s.Issuer.UniversalID, s.Issuer.UniversalIDType} {
		if len(v) > maxIssuer || strings.ContainsAny(v, "\\\x00\r\n") || strings.TrimSpace(v) != v {
			return fmt.Errorf("%w: the issuer of the site %q: %q", storage.ErrInvalid, s.Name, v)
		}
	}
	for _, title := range s.CallingAETitles {
		if _, err := path.Match(title, ""); err != nil || strings.ContainsAny(title, `[]\`) {
			return fmt.Errorf("%w: the AE title %q of the site %q", storage.ErrInvalid, title, s.Name)
		}
	}
	return s.checkAddresses()
}

func (s Site) checkAddresses() error {
	for title, address := range s.Addresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil || host == "" || title == "" || len(title) > maxTitle || strings.TrimSpace(title) != title {
			return fmt.Errorf("%w: the address %q of the AE title %q of the site %q: write HOST:PORT", storage.ErrInvalid, address, title, s.Name)
		}
	}
	return nil
}

// Address is where an AE title listens, HOST:PORT, or "".
func (s *Sites) Address(title string) string {
	if s == nil {
		return ""
	}
	return s.addresses[strings.TrimSpace(title)]
}

// issuersOf are the issuers by which patients of the one that is named may be
// known, it first: a site that has an identifier and a name records the
// identifier, a Data Set may say the name alone, and people say either. A name
// of several sites is storage.ErrConflict.
func (s *Sites) issuersOf(named string) ([]string, error) {
	all := []string{named}
	for _, site := range s.List() {
		is := site.Issuer
		if is.UniversalID == "" || is.Name == "" || named != is.UniversalID && named != is.Name {
			continue
		}
		if slices.ContainsFunc(s.sites, func(o Site) bool { return o.Issuer.Name == is.Name && o.Issuer.UniversalID != is.UniversalID }) {
			if named == is.Name {
				return nil, fmt.Errorf("%w: the issuer %q is that of several sites: name its identifier", storage.ErrConflict, named)
			}
			continue
		}
		for _, other := range []string{is.UniversalID, is.Name} {
			if !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
	}
	return all, nil
}

// SenderOf is the site of who sent something, or asks for something, as it is
// recorded there; for one that was of no site then, as the configuration has it
// now. It is the zero Sender for one of no site, and storage.ErrForbidden for
// one of no site when those are refused.
func (s *Sites) SenderOf(o storage.Origin) (storage.Sender, error) {
	if o.Sender.Info().Name != "" {
		return o.Sender, nil
	}
	sender, ok := s.Of(o.CallingAETitle, "", o.RemoteAddr)
	if !ok && s != nil && s.refuseUnknown {
		return sender, fmt.Errorf("%w: the sender is of no site", storage.ErrForbidden)
	}
	return sender, nil
}

// Of is the sender that a peer is: by its credential, then by its AE title,
// then by its address; ok is false for one that is of no site.
func (s *Sites) Of(callingAETitle, credential, remoteAddr string) (_ storage.Sender, ok bool) {
	if s == nil {
		return storage.Sender{}, false
	}
	if credential != "" {
		if sender, ok := s.byCredential[sha256.Sum256([]byte(credential))]; ok {
			return sender, true
		}
	}
	if title := strings.TrimSpace(callingAETitle); title != "" {
		if i := s.titled(title); i >= 0 {
			return s.senders[i], true
		}
	}
	if i := s.at(hostOf(remoteAddr)); i >= 0 {
		return s.senders[i], true
	}
	return storage.Sender{}, false
}

// titled is the site of an AE title: one that is written out goes before one
// with wildcards, and of these the longest.
func (s *Sites) titled(title string) int {
	best, length := -1, -1
	for i, site := range s.sites {
		for _, pattern := range site.CallingAETitles {
			if pattern == title {
				return i
			}
			if ok, err := path.Match(noPath(pattern), noPath(title)); err == nil && ok && len(pattern) > length {
				best, length = i, len(pattern)
			}
		}
	}
	return best
}

// noPath has no '/', which is a character like others in an AE title, and for
// which no '*' stands in a path.
func noPath(title string) string { return strings.ReplaceAll(title, "/", "\x00") }

// at is the site of an address: that with the narrowest network.
func (s *Sites) at(host string) int {
	best, bits := -1, -1
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return best
	}
	addr = addr.Unmap()
	for i, site := range s.sites {
		for _, n := range site.Networks {
			if n.Contains(addr) && n.Bits() > bits {
				best, bits = i, n.Bits()
			}
		}
	}
	return best
}

func hostOf(remoteAddr string) string {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return remoteAddr
	}
	return host
}

// sender is Of, for what is being received: one that is of no site has an
// issuer of its own, or is refused.
func (s *Sites) sender(o storage.Origin, credential string) (storage.Sender, error) {
	if o.Transport == storage.TransportManifest { // it is the gateway itself
		return storage.Sender{}, nil
	}
	if sender, ok := s.Of(o.CallingAETitle, credential, o.RemoteAddr); ok {
		return sender, nil
	}
	if s != nil && s.refuseUnknown {
		return storage.Sender{}, fmt.Errorf("%w: the sender is of no site", storage.ErrForbidden)
	}
	own := strings.TrimSpace(o.CallingAETitle)
	if own == "" {
		own = hostOf(o.RemoteAddr)
	}
	name := storage.AssumedIssuer + strings.Map(printable, own)
	return storage.NewSender(storage.SenderInfo{Issuer: storage.Issuer{Name: name[:min(len(name), maxIssuer)]}}), nil
}

// printable keeps what may stand in an LO of any character set.
func printable(r rune) rune {
	if r < ' ' || r > '~' || r == '\\' {
		return '_'
	}
	return r
}
