// Package custody is the HTTP resource by which operators see what is deleted,
// put it back, and say what must not be deleted. It turns requests into calls
// of the gateway's Custodian, and knows no store.
package custody
