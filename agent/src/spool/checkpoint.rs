//! Two small files beside the journal, each replaced as a whole: `checkpoint` (every source's progress up to one
//! record) and `epoch`. Both begin with a magic line and belong to one journal, by its id: beside another journal they
//! count for nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use prost::Message;

use super::record::MoveMessage;
use super::{Key, Move, Progress, SpoolError};

const CHECKPOINT: &str = "checkpoint";
const EPOCH: &str = "epoch";
const CHECKPOINT_MAGIC: &[u8] = b"tenantscope-agent checkpoint 1\n";
const EPOCH_MAGIC: &[u8] = b"tenantscope-agent epoch 1\n";

/// Every source's progress up to one record.
#[derive(Default)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) progress: BTreeMap<String, Progress>,
}

#[derive(Clone, PartialEq, Message)]
struct CheckpointMessage {
    #[prost(bytes = "vec", tag = "1")]
    journal: Vec<u8>,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(message, repeated, tag = "3")]
    progress: Vec<MoveMessage>,
    #[prost(uint64, tag = "4")]
    epoch: u64,
}

impl Checkpoint {
    pub(super) fn load(dir: &Path, journal: u128) -> Result<Self, SpoolError> {
        let Some(message) = read(dir, CHECKPOINT, CHECKPOINT_MAGIC, journal)? else { return Ok(Self::default()) };
        let progress = message.progress.into_iter().map(Move::from).map(|step| {
            let mut progress = Progress::default();
            progress.apply(&step);
            (step.source, progress)
        });
        Ok(Self { position: message.position, progress: progress.collect() })
    }

    pub(super) fn save(&self, dir: &Path, journal: u128) -> Result<(), SpoolError> {
        let progress = self.progress.iter().map(|(source, progress)| {
            let seen: Vec<Key> = progress.seen().collect();
            let (position_ms, floor_ms) = (progress.position_ms, progress.floor_ms);
            MoveMessage::from(&Move { source: source.clone(), position_ms, floor_ms, seen })
        });
        let message = CheckpointMessage {
            journal: journal.to_be_bytes().to_vec(),
            position: self.position,
            progress: progress.collect(),
            epoch: 0,
        };
        write(dir, CHECKPOINT, CHECKPOINT_MAGIC, &message)
    }
}

pub(super) fn load_epoch(dir: &Path, journal: u128) -> Result<Option<u64>, SpoolError> {
    Ok(read(dir, EPOCH, EPOCH_MAGIC, journal)?.map(|message| message.epoch))
}

pub(super) fn save_epoch(dir: &Path, journal: u128, epoch: u64) -> Result<(), SpoolError> {
    let message = CheckpointMessage { journal: journal.to_be_bytes().to_vec(), epoch, ..CheckpointMessage::default() };
    write(dir, EPOCH, EPOCH_MAGIC, &message)
}

/// A file that is damaged or another journal's is as good as none: it is logged, and the sources begin anew from what
/// the collector kept.
fn read(dir: &Path, name: &str, magic: &[u8], journal: u128) -> Result<Option<CheckpointMessage>, SpoolError> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SpoolError::File { path, source }),
    };
    let message = bytes.strip_prefix(magic).and_then(|body| CheckpointMessage::decode(body).ok());
    match message {
        Some(message) if message.journal == journal.to_be_bytes() => Ok(Some(message)),
        _ => {
            tracing::warn!(file = %path.display(), "not this spool's file, ignored");
            Ok(None)
        }
    }
}

fn write(dir: &Path, name: &str, magic: &[u8], message: &CheckpointMessage) -> Result<(), SpoolError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(magic)?;
        file.write_all(&message.encode_to_vec())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    })();
    written.map_err(|source| SpoolError::File { path, source })
}
