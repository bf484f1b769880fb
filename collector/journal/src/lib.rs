//! A durable, append-only log of records: checksummed segments, group commit, named cursors.
