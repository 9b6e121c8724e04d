package serving

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// NewLogger makes the log that the configuration asks for. Its level can be changed
// while the program runs, through the returned variable.
func NewLogger(w io.Writer, c config.Log) (*slog.Logger, *slog.LevelVar, error) {
	level := &slog.LevelVar{}
	if err := setLevel(level, c.Level); err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options)), level, nil
	}
	return slog.New(slog.NewJSONHandler(w, options)), level, nil
}

func setLevel(level *slog.LevelVar, name string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return fmt.Errorf("log level %q: use debug, info, warn or error", name)
	}
	level.Set(l)
	return nil
}

// maxLevelName is the longest body of a request for another level, in bytes.
const maxLevelName = 32

// levelHandler tells the level of the log, and changes it with PUT.
func levelHandler(level *slog.LevelVar, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodPut:
			body, err := io.ReadAll(io.LimitReader(r.Body, maxLevelName))
			if err == nil {
				err = setLevel(level, strings.TrimSpace(string(body)))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			log.Info("log level changed", "level", level.Level().String())
		default:
			w.Header().Set("Allow", "GET, PUT")
			http.Error(w, "use GET or PUT", http.StatusMethodNotAllowed)
			return
		}
		fmt.Fprintln(w, strings.ToLower(level.Level().String()))
	}
}
