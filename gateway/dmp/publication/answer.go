package publication

import (
	"encoding/json"
	"log/slog"
	"net/http"
)

// writeJSON answers with a value, or with an error.
func writeJSON(w http.ResponseWriter, log *slog.Logger, v any, err error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	status := http.StatusOK
	if err != nil {
		text := err.Error()
		if status = statusOf(err); status == http.StatusInternalServerError {
			log.Error("publication", "error", err)
			text = "internal error"
		}
		v = map[string]string{"error": text}
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client has gone
}
