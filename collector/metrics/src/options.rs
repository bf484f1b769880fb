use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tenantscope_table::Location;

use crate::retention::Retention;

/// What a store may use and how long it keeps what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory for the index and for samples that no part holds yet; past it writes are refused until a flush is done. Of
    /// it an eighth is for the metadata of families; past that new ones are dropped. Default: 2,400 MiB.
    pub memory_max_bytes: usize,
    /// Time between two flushes; a flush also begins when half of the memory is used. Default: five minutes.
    pub flush_interval: Duration,
    /// How long samples are kept, by their own time; `None`: for ever. Default: 30 days.
    pub retention: Option<Duration>,
    /// Other classes of retention, and which tenants have them.
    pub classes: Retention,
    /// How closed windows become blocks.
    pub blocks: BlockOptions,
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
            classes: Retention::default(),
            blocks: BlockOptions::default(),
            future_max: Some(Duration::from_secs(86_400)),
            now_ms: system_now_ms,
        }
    }
}

/// Blocks: the table of what is no longer written to.
#[derive(Debug, Clone)]
pub struct BlockOptions {
    /// Whether windows become blocks at all. Default: yes.
    pub enabled: bool,
    /// Where the table lies; `None`: in the store's folder `blocks`.
    pub location: Option<Location>,
    /// How long after a window's end it becomes a block. Default: two hours.
    pub after: Duration,
    /// How long a closed window's parts must not have changed before, so that a backfill is not rewritten with every
    /// flush. Default: five minutes.
    pub settle: Duration,
    /// The same where the window is a block already, and late data rewrite it. Default: one hour.
    pub late_settle: Duration,
    /// Small files of one day become one up to this size. Default: 64 MiB.
    pub compact_max_bytes: u64,
    /// How long a removed file stays for readers that know it. Default: one hour.
    pub removed_grace: Duration,
    /// Series of blocks in memory, so that queries find them; what a query needs stays. Default: 256 MiB.
    pub index_cache_bytes: usize,
    /// Footers of blocks in memory. Default: 64 MiB.
    pub footer_cache_bytes: usize,
}

impl Default for BlockOptions {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            enabled: true,
            location: None,
            after: HOUR * 2,
            settle: Duration::from_secs(300),
            late_settle: HOUR,
            compact_max_bytes: 64 << 20,
            removed_grace: HOUR,
            index_cache_bytes: 256 << 20,
            footer_cache_bytes: 64 << 20,
        }
    }
}

fn system_now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
