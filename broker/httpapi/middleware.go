package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Limits of a request. Streams (events, blobs, outputs) have no deadline but an
// idle one, and blobs their own size.
const (
	maxBodyBytes   = 1 << 20
	maxHeaderBytes = 32 << 10
	requestTimeout = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	streamIdle     = 60 * time.Second
)

// Handler is the whole API. This is the one place that knows the order of the
// middlewares, outermost first.
func (s *Server) Handler() http.Handler {
	var h http.Handler = s.mux
	h = s.withDeadline(h)
	h = s.withLog(h)
	h = s.withRecover(h)
	return withRequestID(h)
}

// NewHTTP is an http.Server for the API with its limits set.
func (s *Server) NewHTTP() *http.Server {
	return &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.d.Log.Handler(), slog.LevelWarn),
	}
}

type requestIDKey struct{}

// requestID names the request at hand in answers and logs.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// withRequestID names each request. A client's own name is not taken: it would
// reach the log.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [12]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error
		id := "req_" + hex.EncodeToString(b[:])
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// withRecover turns a panic into an internal error. http.ErrAbortHandler goes on:
// it is how a broken stream is ended.
func (s *Server) withRecover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		defer func() { //nolint:contextcheck // the request carries it
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // the value that net/http compares, too
				panic(v)
			}
			s.d.Log.ErrorContext(r.Context(), "panic", slog.String("request_id", requestID(r.Context())),
				slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
			if rec.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			s.writeProblem(rec, r, &broker.Error{Kind: broker.KindInternal, Code: "panic"})
		}()
		next.ServeHTTP(rec, r)
	})
}

// withLog writes one line per request: never a header, a query or a body.
func (s *Server) withLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() { //nolint:contextcheck // the request carries it
			s.d.Log.InfoContext(r.Context(), "request", slog.String("request_id", requestID(r.Context())),
				slog.String("method", r.Method), slog.String("route", route(r)), slog.Int("status", rec.status),
				slog.Duration("took", time.Since(start)))
		}()
		next.ServeHTTP(rec, r)
	})
}

// route is the pattern that matched; the path itself may hold anything.
func route(r *http.Request) string {
	if _, path, ok := strings.Cut(r.Pattern, " "); ok {
		return path
	}
	return "unknown"
}

// withDeadline bounds whatever is not a stream.
func (s *Server) withDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := s.mux.Handler(r); s.streams[pattern] {
			next.ServeHTTP(w, r)
			return
		}
		rc := http.NewResponseController(w)
		now := time.Now()
		_ = rc.SetReadDeadline(now.Add(requestTimeout))  // not every writer of a test has deadlines
		_ = rc.SetWriteDeadline(now.Add(requestTimeout)) // as above
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		r2 := r.WithContext(ctx)
		next.ServeHTTP(w, r2)
		r.Pattern = r2.Pattern
	})
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write sends bytes, and status 200 before them if none was sent.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines and Flush.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
