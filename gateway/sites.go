package gateway

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"path"
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
}

// Sites tells which site a peer belongs to. The zero value knows none.
type Sites struct {
	sites         []Site
	byCredential  map[[sha256.Size]byte]storage.Sender
	senders       []storage.Sender // of sites
	refuseUnknown bool
}

// maxIssuer is the most characters of an LO and of what names an issuer.
const maxIssuer = 64

// NewSites returns the sites of a configuration. With refuseUnknown, instances
// from others are refused with storage.ErrForbidden; otherwise each of them has
// an issuer of its own, that begins with storage.AssumedIssuer. Sites that
// cannot be told apart are storage.ErrInvalid.
func NewSites(list []Site, refuseUnknown bool) (*Sites, error) {
	s := &Sites{sites: list, byCredential: map[[sha256.Size]byte]storage.Sender{}, refuseUnknown: refuseUnknown}
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
		for _, c := range site.Credentials {
			if _, ok := s.byCredential[c]; ok {
				return nil, fmt.Errorf("%w: a credential of the site %q is another's, too", storage.ErrInvalid, site.Name)
			}
			s.byCredential[c] = sender
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
		if _, err := path.Match(title, ""); err != nil || strings.ContainsAny(title, `[]\/`) {
			return fmt.Errorf("%w: the AE title %q of the site %q", storage.ErrInvalid, title, s.Name)
		}
	}
	return nil
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
			if ok, err := path.Match(pattern, title); err == nil && ok && len(pattern) > length {
				best, length = i, len(pattern)
			}
		}
	}
	return best
}

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
