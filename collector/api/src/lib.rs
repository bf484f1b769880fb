//! HTTP for readers: Prometheus, Loki, Tempo and our own; the built-in pages.
