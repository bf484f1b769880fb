use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a store may use and how long it keeps what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory for the index and for samples that no part holds yet; past it writes are refused until a flush is done.
    /// Default: 2,400 MiB.
    pub memory_max_bytes: usize,
    /// Time between two flushes; a flush also begins when half of the memory is used. Default: five minutes.
    pub flush_interval: Duration,
    /// How long samples are kept, by their own time; `None`: for ever. Default: 30 days.
    pub retention: Option<Duration>,
    /// How far ahead of the clock a sample's time may be. Later ones are dropped and counted, since one wrong clock
    /// would otherwise fill the folder with windows that no one asks for. `None`: any time. Default: one day.
    pub future_max: Option<Duration>,
    /// The clock, in milliseconds since the Unix epoch.
    pub now_ms: fn() -> i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_max_bytes: 2400 << 20,
            flush_interval: Duration::from_secs(300),
            retention: Some(Duration::from_secs(30 * 86_400)),
            future_max: Some(Duration::from_secs(86_400)),
            now_ms: system_now_ms,
        }
    }
}

fn system_now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
